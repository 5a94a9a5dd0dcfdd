"""The errors of ssh when a connection fails, each as a message with its remedy. Pure."""

import re
import shlex

from core.errors import BackendError

# Pattern of ssh's output, message, remedy; the first that matches counts. {host} is user and host,
# {file} the key file that the pattern finds. sshconnect.c, sshconnect2.c, auth.c and misc.c of ssh.
_FAILURES = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key .* has changed",
        "The host key of {host} has changed.",
        "If the cluster was created again, remove the old key (ssh-keygen -R with the host's name)"
        " and sign in once by hand. Otherwise somebody may be intercepting the connection.",
    ),
    (
        r"Host key verification failed|No \S+ host key is known",
        "The host key of {host} is not known here.",
        "Sign in once by hand (ssh {host}), compare the fingerprint with the one in the instance's"
        " system log, and accept it.",
    ),
    (
        r"Permissions \d+ for '(?P<file>[^\r\n]+)' are too open"
        r'|Load key "(?P<file2>[^\r\n]+)": bad permissions',
        "ssh does not use a key that others can read: {file}.",
        "Run chmod 600 {file}.",
    ),
    (
        r'Load key "(?P<file>[^\r\n]+)": Permission denied'
        r"|Identity file (?P<file2>[^\r\n]+) not accessible: Permission denied",
        "You have no permission to read the key file {file}.",
        "Make it your own (chown, chmod 600), or give another one with --aws-ssh-key.",
    ),
    (
        r"Identity file (?P<file>[^\r\n]+) not accessible"
        r'|Load key "(?P<file2>[^\r\n]+)": (No such file|Is a directory)',
        "The key file {file} could not be read.",
        "Correct --aws-ssh-key, or the IdentityFile in your ssh config.",
    ),
    (
        r'Load key "(?P<file>[^\r\n]+)": (invalid format|error in libcr)',
        "{file} is not a private key that ssh can read.",
        "Give the private key as it was downloaded with --aws-ssh-key, not its .pub.",
    ),
    (
        r"Too many authentication failures",
        "{host} refused the connection after too many keys.",
        "Name the right one with --aws-ssh-key.",
    ),
    # The methods that may still be tried stand in parentheses; publickey is gone once it succeeded.
    (
        r"with partial success"
        r"|Permission denied \((?!(\S*,)?publickey\b)\S*(keyboard-interactive|password)\S*\)",
        "{host} requires a password or a second factor, which cannot be typed here.",
        "Use a login that needs only a key, or a connection that needs no typing, such as a"
        " ProxyCommand of your own.",
    ),
    (
        r"Permission denied",
        "{host} rejected the key.",
        "Give the cluster's key with --aws-ssh-key and the login name (ec2-user, ubuntu, rocky)"
        " with --aws-ssh-user. Load a key that has a passphrase into your agent (ssh-add).",
    ),
    (
        r"Could not resolve hostname|Name or service not known",
        "The host name in {host} could not be resolved.",
        "Correct --aws-head-node, or check your network and VPN.",
    ),
    (
        r"Connection refused",
        "{host} refused the connection: its port is closed.",
        "Check that the head node runs, and which port its sshd has (Port in your ssh config).",
    ),
    (
        r"timed out|No route to host|Network is unreachable|Host is down",
        "{host} did not answer.",
        "Allow your address in the head node's security group (SSH, port 22), connect to the VPN,"
        " or set a jump host in your ssh config.",
    ),
    (
        r"[Cc]onnection (closed|reset)|kex_exchange_identification|Broken pipe|banner exchange",
        "{host} closed the connection during the sign-in.",
        "If this does not pass, check its sshd, and your ProxyCommand if you use one.",
    ),
)


_DEBUG_LINE = re.compile(r"^debug\d: .*\r?\n?", re.MULTILINE)


def other_key(log: str, key: str) -> str:
    """The file of the key that the other side took, where it is not `key` or its certificate;
    empty otherwise. ssh also tries those that its configuration names."""
    taken = re.findall(r"^debug1: Server accepts key: (.+) \S+ SHA256:", log, re.MULTILINE)
    return "" if not taken or taken[-1].startswith(key) else str(taken[-1])


def explain_failure(output: str, host: str) -> BackendError:
    """The error for what ssh printed as a connection failed; empty `output` means a time-out."""
    output = _DEBUG_LINE.sub("", output)
    for pattern, message, remedy in _FAILURES:
        if found := re.search(pattern, output):
            file = next(filter(None, found.groupdict().values()), "")
            message = message.format(host=host, file=file)
            return BackendError(message, remedy.format(host=host, file=shlex.quote(file)))
    reason = " ".join(output.split())[-400:] or "ssh did not end in time"
    return BackendError(f"The connection to {host} failed: {reason}", f"Find out why: ssh {host}")

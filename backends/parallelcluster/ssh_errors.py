"""What ssh complains of when no connection comes about, as one message with what to do. Pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from core.errors import BackendError

NO_CLIENT = (
    "There is no ssh here.",
    "Install the OpenSSH client, and see that it is on PATH.",
)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """`pattern` is looked for in what ssh said. {who} is user and host, {file} the key's file where
    the pattern finds its name."""

    pattern: str
    what: str
    fix: str


# The first that fits counts. ssh's own words: sshconnect.c, sshconnect2.c, auth.c, misc.c.
_REFUSALS = (
    _Refusal(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key .* has changed",
        "The host key of {who} is not the one that is known.",
        "If the cluster was made anew, remove the old one (ssh-keygen -R, with the host's name)"
        " and sign in once by hand; if not, somebody may stand in between.",
    ),
    _Refusal(
        r"Host key verification failed|No \S+ host key is known",
        "The host key of {who} is not known here.",
        "Sign in once by hand (ssh {who}), compare the fingerprint with the one in the instance's"
        " system log, and accept it.",
    ),
    _Refusal(
        r"Permissions \d+ for '(?P<file>[^\r\n]+)' are too open"
        r'|Load key "(?P<file2>[^\r\n]+)": bad permissions',
        "ssh does not use a key that others may read: {file}.",
        "chmod 600 {file}",
    ),
    _Refusal(
        r'Load key "(?P<file>[^\r\n]+)": Permission denied'
        r"|Identity file (?P<file2>[^\r\n]+) not accessible: Permission denied",
        "You may not read the key's file {file}.",
        "Make it your own (chown, chmod 600), or name another with --aws-ssh-key.",
    ),
    _Refusal(
        r"Identity file (?P<file>[^\r\n]+) not accessible"
        r'|Load key "(?P<file2>[^\r\n]+)": (No such file|Is a directory)',
        "The key's file {file} cannot be read.",
        "Correct --aws-ssh-key, or the IdentityFile in your ssh config.",
    ),
    _Refusal(
        r'Load key "(?P<file>[^\r\n]+)": (invalid format|error in libcr)',
        "{file} holds no private key that ssh can read.",
        "Name the private key as it was downloaded with --aws-ssh-key, not its .pub.",
    ),
    _Refusal(
        r"Too many authentication failures",
        "{who} refused the connection after too many keys.",
        "Name the right one with --aws-ssh-key.",
    ),
    # What may still be tried stands in brackets: a key that was taken does not come again.
    _Refusal(
        r"with partial success"
        r"|Permission denied \((?!(\S*,)?publickey\b)\S*(keyboard-interactive|password)\S*\)",
        "{who} wants more than a key: a password or a second factor, which nobody can type here.",
        "Use a login that a key alone is enough for, or sign in by a way that needs no typing, such"
        " as a ProxyCommand of your own.",
    ),
    _Refusal(
        r"Permission denied",
        "{who} does not accept the key.",
        "Name the cluster's key with --aws-ssh-key (one with a passphrase works only from your"
        " agent: ssh-add), and the login name with --aws-ssh-user (ec2-user, ubuntu, rocky).",
    ),
    _Refusal(
        r"Could not resolve hostname|Name or service not known",
        "There is no host of the name in {who}.",
        "Correct --aws-head-node, or look at your network and VPN.",
    ),
    _Refusal(
        r"Connection refused",
        "{who} takes no connection: its port is closed.",
        "See whether the head node runs and which port its sshd has (Port in your ssh config).",
    ),
    _Refusal(
        r"timed out|No route to host|Network is unreachable|Host is down",
        "{who} does not answer.",
        "Allow your address in the head node's security group (SSH, port 22), join the VPN, or"
        " set a jump host in your ssh config.",
    ),
    _Refusal(
        r"[Cc]onnection (closed|reset)|kex_exchange_identification|Broken pipe|banner exchange",
        "{who} closed the connection before the sign-in was done.",
        "Its sshd may be busy or stopping, or a ProxyCommand ended; it is tried again.",
    ),
)


def explain_refusal(said: str, who: str) -> BackendError:
    """The error for what ssh said as it opened no connection; nothing is said after a time-out."""
    for refusal in _REFUSALS:
        if found := re.search(refusal.pattern, said):
            names = found.groupdict()
            file = names.get("file") or names.get("file2") or ""
            what = refusal.what.format(who=who, file=file)
            return BackendError(what, refusal.fix.format(who=who, file=shlex.quote(file)))
    words = " ".join(said.split())[-400:] or "it did not come to an end"
    return BackendError(f"No connection to {who}: {words}", f"See why: ssh {who}")

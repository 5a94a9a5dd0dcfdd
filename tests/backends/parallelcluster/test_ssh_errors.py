"""What ssh complains of, each with a message and a remedy of its own."""

from __future__ import annotations

import pytest

from backends.parallelcluster.ssh_errors import explain_failure

WHO = "ec2-user@203.0.113.7"

# As OpenSSH 9.2 prints them.
CASES = {
    "unknown host key": (
        "No ED25519 host key is known for 203.0.113.7 and you have requested strict checking.\r\n"
        "Host key verification failed.",
        "is not known here",
        "compare the fingerprint",
    ),
    "changed host key": (
        "@@@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @@@\r\n"
        "Host key for cluster has changed and you have requested strict checking.\r\n"
        "Host key verification failed.",
        "has changed",
        "ssh-keygen -R",
    ),
    "wrong key": (
        f"{WHO}: Permission denied (publickey,gssapi-keyex,gssapi-with-mic).",
        "rejected the key",
        "--aws-ssh-key",
    ),
    "second factor": (
        f'Authenticated using "publickey" with partial success.\n{WHO}: Permission denied.',
        "second factor",
        "ProxyCommand",
    ),
    "second factor after the key": (
        f"{WHO}: Permission denied (password).",
        "requires a password",
        "key",
    ),
    "no key at all": (
        f"{WHO}: Permission denied (password,keyboard-interactive).",
        "requires a password or a second factor",
        "a login that needs only a key",
    ),
    "wrong key where a password would do": (
        f"{WHO}: Permission denied (publickey,password,keyboard-interactive).",
        "rejected the key",
        "ssh-add",
    ),
    "wrong key, publickey not the first": (
        f"{WHO}: Permission denied (gssapi-with-mic,publickey,password).",
        "rejected the key",
        "--aws-ssh-key",
    ),
    "open key": (
        "@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\n"
        "Permissions 0644 for 'my k.pem' are too open.\n"
        'This private key will be ignored.\nLoad key "my k.pem": bad permissions\r\n'
        f"{WHO}: Permission denied (publickey,password).",
        "others can read: my k.pem.",
        "chmod 600 'my k.pem'",
    ),
    "open key, in one line": (
        'Load key "k.pem": bad permissions',
        "others can read: k.pem.",
        "600",
    ),
    "key of somebody else": (
        f'Load key "/home/eve/k": Permission denied\r\n{WHO}: Permission denied (publickey).',
        "You have no permission to read the key file /home/eve/k.",
        "chown",
    ),
    "key in a closed folder": (
        "Warning: Identity file /root/k not accessible: Permission denied.\r\n"
        f"{WHO}: Permission denied (publickey,password).",
        "You have no permission to read the key file /root/k.",
        "--aws-ssh-key",
    ),
    "no key file": (
        "Warning: Identity file k.pem not accessible: No such file or directory.\n"
        f"{WHO}: Permission denied (publickey).",
        "The key file k.pem could not be read",
        "--aws-ssh-key",
    ),
    "no private key": (
        f'Load key "k.pub": error in libcrypto\r\n{WHO}: Permission denied (publickey).',
        "k.pub is not a private key",
        "not its .pub",
    ),
    "too many keys": (
        "Received disconnect from 203.0.113.7 port 22:2: Too many authentication failures",
        "too many keys",
        "--aws-ssh-key",
    ),
    "no such host": (
        "ssh: Could not resolve hostname head: Name or service not known",
        "could not be resolved",
        "--aws-head-node",
    ),
    "closed port": (
        "ssh: connect to host 203.0.113.7 port 22: Connection refused",
        "its port is closed",
        "the head node runs",
    ),
    "no answer": (
        "ssh: connect to host 203.0.113.7 port 22: Connection timed out",
        "did not answer",
        "security group",
    ),
    "closed too early": (
        "kex_exchange_identification: Connection closed by remote host",
        "closed the connection",
        "ProxyCommand",
    ),
}


@pytest.mark.parametrize(("output", "message", "remedy"), CASES.values(), ids=CASES)
def test_each_refusal_has_its_message(output: str, message: str, remedy: str) -> None:
    error = explain_failure(output, WHO)
    assert message in error.message
    assert remedy in error.remedy
    assert "{" not in str(error)


def test_what_is_not_known_is_passed_on() -> None:
    error = explain_failure("Bad configuration\n option: foo", WHO)
    assert error.message == f"The connection to {WHO} failed: Bad configuration option: foo"
    assert error.remedy == f"Find out why: ssh {WHO}"


def test_a_sign_in_that_hangs_is_reported_too() -> None:
    assert "did not end in time" in explain_failure("", WHO).message

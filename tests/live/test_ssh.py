"""Commands over a real sshd: one connection for all, and the errors when there is none."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from backends.parallelcluster.ssh import LinkLost, SshLink, SshTarget
from core.clock import SystemClock
from core.errors import BackendError
from parallel_task_orchestrator.conformance.fixtures import CANARY
from parallel_task_orchestrator.conformance.live_run import eventually
from tests.live.remote_cluster import Sshd, kill_master

pytestmark = pytest.mark.sshd
HERE = SshTarget("head")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Of our own, so that its connections can be counted."""
    with Sshd.of_its_own(tmp_path_factory.mktemp("sshd")).running() as sshd:
        yield sshd


@pytest.fixture
def link(sshd: Sshd) -> Iterator[SshLink]:
    made = SshLink(lambda: HERE, sshd.environ())
    yield made
    made.close()


def output_of(link: SshLink, command: str, feed: bytes = b"") -> bytes:
    with link.run(command, [feed]) as printed:
        return printed.read()


def folder_of(link: SshLink) -> Path:
    assert link._folder is not None
    return link._folder


def changed(sshd: Sshd, place: Path, **changes: str) -> Mapping[str, str]:
    """The environment of a laptop whose ssh config differs in some lines."""
    lines = (sshd.place / "ssh_config").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.split()[0] not in changes]
    kept += [f"  {name} {value}" for name, value in changes.items()]
    (place / "config").write_text("\n".join(kept) + "\n", encoding="utf-8")
    ssh = place / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F "{place}/config" "$@"\n', encoding="utf-8")
    ssh.chmod(0o755)
    return {**sshd.environ(), "PATH": f"{place}:{os.environ['PATH']}"}


def refusal(environ: Mapping[str, str], target: SshTarget = HERE) -> BackendError:
    link = SshLink(lambda: target, environ)
    with pytest.raises(BackendError) as caught, link.run("true"):
        pass
    assert link._folder is None, "the socket's folder is left"
    return caught.value


def test_a_command_takes_what_it_is_fed_and_its_output_comes_back(link: SshLink) -> None:
    data = os.urandom(3_000_000)
    assert output_of(link, "cat", data).endswith(data)


def test_a_connection_is_opened_again_though_nobody_can_tell_where_the_head_node_is(
    sshd: Sshd,
) -> None:
    known = [HERE]

    def find() -> SshTarget:
        if not known:
            raise BackendError("The token has expired.", "Log in again.")
        return known.pop()

    link = SshLink(find, sshd.environ())
    try:
        assert output_of(link, "echo one").endswith(b"one\n")
        kill_master(link)
        assert output_of(link, "echo two").endswith(b"two\n")
    finally:
        link.close()


def test_a_host_that_nobody_knows_is_refused_though_the_users_config_would_take_it(
    sshd: Sshd, tmp_path: Path
) -> None:
    lax = {"StrictHostKeyChecking": "no", "UserKnownHostsFile": f"{tmp_path}/known_hosts"}
    assert "host key" in refusal(changed(sshd, tmp_path, **lax)).message
    assert not (tmp_path / "known_hosts").exists()


def test_a_key_that_is_not_taken_is_told_though_another_of_the_users_is(
    sshd: Sshd, tmp_path: Path
) -> None:
    good, wrong = sshd.place / "user_key", tmp_path / "a wrong key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", wrong], check=True)
    refused = refusal(sshd.environ(), SshTarget("head", key=str(wrong)))
    assert refused.message == f"head does not take {wrong}, but {good} of ssh's own settings."
    assert "--aws-ssh-key" in refused.remedy
    link = SshLink(lambda: SshTarget("head", key=str(good)), sshd.environ())
    try:
        assert output_of(link, "echo one").endswith(b"one\n")
    finally:
        link.close()


def test_all_commands_go_over_one_connection(sshd: Sshd, link: SshLink) -> None:
    before = sshd.sign_ins
    threads = [threading.Thread(target=output_of, args=(link, "sleep 0.2")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert output_of(link, "echo done").endswith(b"done\n")
    assert sshd.sign_ins - before == 1


def test_the_socket_is_in_a_short_private_folder_that_goes(link: SshLink) -> None:
    output_of(link, "true")
    folder = folder_of(link)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(str(folder)) < 80
    for _ in range(2):
        link.close()
        assert not folder.exists()


def test_a_master_that_was_killed_is_replaced(sshd: Sshd, link: SshLink) -> None:
    output_of(link, "true")
    kill_master(link)
    before = sshd.sign_ins
    assert output_of(link, "echo back").endswith(b"back\n")
    assert sshd.sign_ins - before == 1


def read_on(link: SshLink, command: str, *, kill: bool = False) -> None:
    """Read until there is nothing more, as one who waits for an answer that does not come."""
    with link.run(command) as printed:
        while not printed.readline().endswith(b"begun\n"):
            pass
        if kill:
            kill_master(link)
        printed.read()
        raise EOFError


def test_a_connection_that_is_cut_in_the_middle_is_reported(link: SshLink) -> None:
    with pytest.raises(LinkLost, match="The connection to head was lost"):
        read_on(link, "echo begun; sleep 60", kill=True)


def test_a_command_that_says_nothing_for_long_is_given_up(sshd: Sshd) -> None:
    link = SshLink(lambda: HERE, sshd.environ(), idle_s=1.0)
    with pytest.raises(LinkLost):
        read_on(link, "echo begun; sleep 60")
    link.close()


def test_what_a_command_complains_of_is_reported(link: SshLink) -> None:
    with pytest.raises(BackendError, match=r"A command on head failed: .*no-such-command"):
        read_on(link, "echo begun; no-such-command")


def test_an_unknown_host_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    environ = changed(sshd, tmp_path, UserKnownHostsFile=str(tmp_path / "none"))
    error = refusal(environ)
    assert error.message == "The host key of head is not known here."
    assert "ssh head" in error.remedy
    assert not (tmp_path / "none").exists()


def test_a_changed_host_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    other = (sshd.place / "user_key.pub").read_text(encoding="utf-8").split()
    known = tmp_path / "known"
    known.write_text(f"cluster {other[0]} {other[1]}\n", encoding="utf-8")
    error = refusal(changed(sshd, tmp_path, UserKnownHostsFile=str(known)))
    assert "has changed" in error.message


def test_a_wrong_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    key = wrong_key(tmp_path)
    environ = changed(sshd, tmp_path, IdentityFile=key)
    error = refusal(environ, SshTarget("head", key=key))
    assert error.message == "head rejected the key."
    assert "--aws-ssh-key" in error.remedy


def key_file(sshd: Sshd, place: Path, kind: str) -> Path:
    """The right key, in a file that is wrong."""
    key = place / kind
    if kind == "key.pub":
        shutil.copy(sshd.place / "user_key.pub", key)
    elif kind != "absent":
        shutil.copy(sshd.place / "user_key", key)
    if kind == "locked":
        command = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)]
        subprocess.run(command, check=True, capture_output=True)
    if kind != "absent":
        key.chmod(0o644 if kind == "open" else 0o600)
    return key


@pytest.mark.parametrize(
    ("kind", "what", "fix"),
    [
        ("open", "ssh does not use a key that others can read: {}.", "chmod 600 {}"),
        ("key.pub", "{} is not a private key that ssh can read.", "not its .pub"),
        ("absent", "The key file {} could not be read.", "--aws-ssh-key"),
        ("locked", "head rejected the key.", "ssh-add"),
    ],
)
def test_a_keys_file_that_is_wrong_is_reported(
    sshd: Sshd, tmp_path: Path, kind: str, what: str, fix: str
) -> None:
    key = key_file(sshd, tmp_path, kind)
    environ = changed(sshd, tmp_path, IdentityFile=str(key))
    error = refusal(environ, SshTarget("head", key=str(key)))
    assert error.message == what.format(key)
    assert fix.format(key) in error.remedy


@contextmanager
def asking_for(sshd: Sshd, place: Path, *more: str) -> Iterator[str]:
    """The port of a host that wants other things than a key; they are asked for by nobody else."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    changes = {"Port": str(port), "PidFile": f"{place}/pid"}
    changes |= dict(line.split(" ", 1) for line in more)
    lines = (sshd.place / "sshd_config").read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line.split()[0] not in changes]
    kept += [f"{name} {value}" for name, value in changes.items()]
    (place / "sshd_config").write_text("\n".join(kept) + "\n", encoding="utf-8")
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(place / "sshd_config")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            until = time.monotonic() + 20
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
                    break
                assert time.monotonic() < until
                time.sleep(0.02)
            yield str(port)
        finally:
            process.terminate()


def wrong_key(place: Path) -> str:
    key = place / "wrong"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True)
    return str(key)


def test_a_wrong_key_is_reported_where_a_password_would_do_too(sshd: Sshd, tmp_path: Path) -> None:
    wanted = ("PasswordAuthentication yes", "KbdInteractiveAuthentication yes")
    with asking_for(sshd, tmp_path, *wanted) as port:
        key = wrong_key(tmp_path)
        error = refusal(changed(sshd, tmp_path, Port=port, IdentityFile=key))
    assert error.message == "head rejected the key."


@pytest.mark.parametrize(
    "wanted", ["AuthenticationMethods publickey,password", "PubkeyAuthentication no"]
)
def test_a_host_that_wants_more_than_the_right_key_says_so(
    sshd: Sshd, tmp_path: Path, wanted: str
) -> None:
    with asking_for(sshd, tmp_path, "PasswordAuthentication yes", wanted) as port:
        error = refusal(changed(sshd, tmp_path, Port=port))
    assert error.message.startswith("head requires a password")


def test_a_refused_port_is_reported(sshd: Sshd, tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        error = refusal(changed(sshd, tmp_path, Port=str(held.getsockname()[1])))
    assert "its port is closed" in error.message


def test_a_name_that_no_host_has_is_reported(sshd: Sshd, tmp_path: Path) -> None:
    error = refusal(changed(sshd, tmp_path, HostName="no-such-host.invalid"))
    assert "could not be resolved" in error.message


def test_a_wrong_user_is_reported_with_its_name(sshd: Sshd) -> None:
    error = refusal(sshd.environ(), SshTarget("head", user="nobody"))
    assert "nobody@head rejected the key." in error.message


def test_a_proxy_command_of_the_user_is_used(sshd: Sshd, tmp_path: Path) -> None:
    port = next(
        line.split()[1]
        for line in (sshd.place / "ssh_config").read_text().splitlines()
        if "Port" in line
    )
    script = tmp_path / "proxy.py"
    script.write_text(
        "import os, socket, sys, threading\n"
        f"s = socket.create_connection(('127.0.0.1', {port}))\n"
        "def up():\n"
        "    while (d := os.read(0, 65536)): s.sendall(d)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while (d := s.recv(65536)): os.write(1, d)\n"
    )
    link = SshLink(lambda: HERE, changed(sshd, tmp_path, ProxyCommand=f"python3 {script}"))
    assert output_of(link, "echo through").endswith(b"through\n")
    link.close()


def test_a_connection_that_is_given_up_takes_its_proxy_command_along(
    sshd: Sshd, tmp_path: Path
) -> None:
    script = tmp_path / "proxy"
    script.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 300\n", encoding="utf-8")
    script.chmod(0o755)
    environ = changed(sshd, tmp_path, ProxyCommand=str(script))
    link = SshLink(lambda: HERE, environ, open_s=2.0)
    with pytest.raises(BackendError, match="did not end in time"), link.run("true"):
        pass
    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    gone = partial(eventually, within_s=10, every_s=0.05, clock=SystemClock())
    gone(lambda: not _lives(pid), "the end of the proxy command")


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/status").read_text().partition("State:")[2][:3]
    except OSError:
        return False


def test_the_usual_login_name_is_for_hosts_that_the_config_does_not_know(
    sshd: Sshd, tmp_path: Path
) -> None:
    usual = SshTarget("head", default_user="ec2-user")
    assert "ec2-user@head rejected" in refusal(sshd.environ(), usual).message
    link = SshLink(lambda: usual, changed(sshd, tmp_path, User="somebody"))
    with pytest.raises(BackendError, match=r"^head rejected"), link.run("true"):
        pass


def test_a_machine_without_ssh_says_so(tmp_path: Path) -> None:
    assert refusal({"PATH": str(tmp_path)}).message == "The command ssh was not found."


def test_no_variable_of_ours_reaches_the_other_side_whatever_the_config_sends(
    sshd: Sshd, tmp_path: Path
) -> None:
    names = ("ANTHROPIC_API_KEY", "ORCHESTRATOR_MODEL", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE")
    mine = dict.fromkeys((*names, "AWS_BEARER_TOKEN_BEDROCK", "ANTHROPIC_AUTH_TOKEN"), CANARY)
    environ = {**changed(sshd, tmp_path, SendEnv="*"), **mine, "LC_NAME": "is sent"}
    link = SshLink(lambda: HERE, environ)
    there = output_of(link, "env").decode()
    link.close()
    assert "LC_NAME=is sent\n" in there
    assert CANARY not in there


def test_a_proxy_command_has_keys_for_aws_and_none_for_claude(sshd: Sshd, tmp_path: Path) -> None:
    script = tmp_path / "proxy"
    script.write_text(f"#!/bin/sh\nenv >{tmp_path}/env\nexit 1\n", encoding="utf-8")
    script.chmod(0o755)
    mine = {"AWS_PROFILE": "p", "AWS_BEARER_TOKEN_BEDROCK": CANARY, "ANTHROPIC_API_KEY": CANARY}
    refusal({**changed(sshd, tmp_path, ProxyCommand=str(script)), **mine})
    there = (tmp_path / "env").read_text(encoding="utf-8")
    assert "AWS_PROFILE=p\n" in there
    assert CANARY not in there

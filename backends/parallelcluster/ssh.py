"""Commands on another host by the system's OpenSSH client, all over one connection.

The connection is a master of our own, so that whatever the user's ssh config says (jump hosts, an
agent, a ProxyCommand, host keys) holds, and a command costs no new sign-in. It is opened when
needed, again if it has gone, and outlives a killed process by MASTER_IDLE_S at most.
"""

from __future__ import annotations

import getpass
import io
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from backends.parallelcluster.ssh_errors import NO_CLIENT, explain_refusal
from backends.parallelcluster.ssh_streams import Feeding, PatientReader, read_end
from core.errors import BackendError

CONNECT_S = 20
"""For each address, and for the other side to say who it is."""
OPEN_S = 120.0
"""For a connection as a whole; a jump host or a ProxyCommand may take its time."""
MASTER_IDLE_S = 900
QUIET_S = 180.0
"""A command that neither takes nor gives a byte for so long has gone; sbatch tries for a minute."""
LONGEST_FOLDER_CHARS = 60
"""A socket's path may have 108 bytes, and ssh adds to it."""
_SSH_ERROR = 255
_OURS = ("ANTHROPIC_", "ORCHESTRATOR_", "AWS_BEARER_TOKEN_")
"""Begin the names of variables that are for this program, and for nobody whom ssh starts."""


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where to sign in; what is empty is the ssh config's matter. `usual_user` is for a host of
    which that says nothing."""

    host: str
    user: str = ""
    key: str = ""
    usual_user: str = ""

    @property
    def words(self) -> str:
        """As it stands on a command line."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def arguments(self) -> Iterator[str]:
        if self.user:
            yield from ("-l", self.user)
        if self.key:
            yield from ("-i", self.key, "-o", "IdentitiesOnly=yes")


class LinkLost(BackendError):
    """The connection, or the command on it, ended before its answer was there."""


def connecting_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What of an environment the ssh that connects gets. Keys for AWS stay, since a ProxyCommand
    by SSM signs in with them; it opens no session, so that nothing of it goes to the other side."""
    return {name: value for name, value in environ.items() if not name.startswith(_OURS)}


def session_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What the ssh that runs a command gets: the user's config may send all of that to the other
    side (SendEnv), which no option of ssh prevents, since the config's patterns come after ours."""
    return {name: value for name, value in environ.items() if not name.startswith((*_OURS, "AWS_"))}


class SshLink:
    """`find` is asked for the host whenever a connection has to be opened. Several commands may
    run at once; sshd allows ten."""

    def __init__(
        self,
        find: Callable[[], SshTarget],
        environ: Mapping[str, str],
        *,
        quiet_s: float = QUIET_S,
        open_s: float = OPEN_S,
    ) -> None:
        self._find = find
        self._environ = connecting_environment(environ)
        self._quiet_s, self._open_s = quiet_s, open_s
        self._target: SshTarget | None = None
        self._last: SshTarget | None = None
        self._folder: Path | None = None
        self._opening = threading.Lock()

    @contextmanager
    def run(self, command: str, feed: Iterable[bytes] = ()) -> Iterator[IO[bytes]]:
        """Run `command` by the login shell there, with `feed` as its input; gives what it prints.

        Raises BackendError when there is no connection, LinkLost when it ends before its time;
        what the command itself came to is for its output to say.
        """
        with self._opening:
            target = self._open()
        with tempfile.TemporaryFile() as said:
            process = self._start([*self._on_master(target), command], said)
            feeding = Feeding(process, feed)
            reader = PatientReader(process, feeding, self._quiet_s)
            try:
                yield io.BufferedReader(reader)
            except EOFError as exc:
                feeding.end()
                raise self._lost(process, said, target) from exc
            finally:
                feeding.end()

    def close(self) -> None:
        """Idempotent. Commands on their way are cut."""
        with self._opening:
            self._drop()

    def _start(self, arguments: list[str], said: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603 - no shell here, and a list that we made
                arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env=session_environment(self._environ),
                start_new_session=True,  # Ctrl-C is for us
            )
        except OSError as exc:
            raise BackendError(*NO_CLIENT) from exc

    def _lost(
        self, process: subprocess.Popen[bytes], said: IO[bytes], target: SshTarget
    ) -> BackendError:
        why = read_end(said)
        if process.returncode == _SSH_ERROR or not why:
            ended = "The connection was lost" if process.returncode else "The answer was cut"
            return LinkLost(f"{ended} while {target.words} was at work.", "It is asked again.")
        return BackendError(
            f"A command on {target.words} failed: {why}",
            "See how the head node is, and whether --aws-shared-dir may be written there.",
        )

    # -- the connection

    def _open(self) -> SshTarget:
        """With `_opening` held: a connection that lives."""
        if self._target is not None and self._lives(self._target):
            return self._target
        self._drop()
        target = self._look_up()
        self._folder = _make_folder()
        try:
            self._connect(target)
        except BaseException:
            self._drop()
            raise
        self._target = target
        return target

    def _look_up(self) -> SshTarget:
        """Where the head node is; where it was, while nobody can tell: AWS credentials may have
        expired in the meantime."""
        try:
            self._last = self._settled(self._find())
        except BackendError:
            if self._last is None:
                raise
        return self._last

    def _settled(self, target: SshTarget) -> SshTarget:
        """With the usual login name, where neither an option nor the ssh config has one."""
        if target.user or not target.usual_user:
            return target
        with tempfile.TemporaryFile() as told:
            command = [*self._client("no"), "-G", "--", target.host]
            self._execute(command, subprocess.DEVNULL, told)
            found = re.search(r"^user (\S+)$", read_end(told), re.MULTILINE)
        own = getpass.getuser()
        return target if found and found[1] != own else replace(target, user=target.usual_user)

    def _connect(self, target: SshTarget) -> None:
        command = [*self._client("yes"), "-N", "-f", *target.arguments(), "--", target.host]
        with tempfile.TemporaryFile() as said:  # no pipe: a master of old ssh keeps it open
            code = self._execute(command, said)
            if code != 0:
                raise explain_refusal(read_end(said), target.words)

    def _lives(self, target: SshTarget) -> bool:
        return self._tell("check", target) == 0

    def _tell(self, order: str, target: SshTarget) -> int:
        """Ask the master itself."""
        return self._execute([*self._client("no"), "-O", order, "--", target.host])

    def _execute(
        self,
        command: list[str],
        said: IO[bytes] | int = subprocess.DEVNULL,
        told: IO[bytes] | int = subprocess.DEVNULL,
    ) -> int:
        try:
            process = subprocess.Popen(  # noqa: S603 - as above
                command,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=said,
                env=self._environ,
                start_new_session=True,
            )
        except OSError as exc:
            raise BackendError(*NO_CLIENT) from exc
        with process:
            try:
                return process.wait(self._open_s)
            except subprocess.TimeoutExpired:
                _end(process)
                return _SSH_ERROR
            except BaseException:  # Ctrl-C
                _end(process)
                raise

    def _client(self, master: str) -> list[str]:
        """The client with what holds for every call. `ssh` is looked up on our PATH."""
        ssh = shutil.which("ssh", path=self._environ.get("PATH")) or "ssh"
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",  # whatever the config says: a key may travel there
            "ConnectTimeout": CONNECT_S,
            "ServerAliveInterval": 15,
            "ServerAliveCountMax": 3,
            "ControlMaster": master,
            "ControlPersist": MASTER_IDLE_S,
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "RequestTTY": "no",
            "RemoteCommand": "none",
            "PermitLocalCommand": "no",
            "LogLevel": "ERROR",
        }
        pairs = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return [ssh, *pairs, "-S", f"{self._folder}/s"]

    def _on_master(self, target: SshTarget) -> list[str]:
        """Over the master or not at all: without it ssh would open a connection for each."""
        never = ["-o", "ProxyJump=none", "-o", "ProxyCommand=false"]
        return [*self._client("no"), *never, *target.arguments(), "--", target.host]

    def _drop(self) -> None:
        target, self._target = self._target, None
        folder = self._folder
        if folder is None:
            return
        if target is not None:
            with suppress(BackendError):
                self._tell("exit", target)
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = None


def _end(process: subprocess.Popen[bytes]) -> None:
    """By force, with a ProxyCommand that ssh has started, which is in the session of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _make_folder() -> Path:
    """For nobody else, and with a short name."""
    usual = tempfile.gettempdir()
    place = usual if len(usual) <= LONGEST_FOLDER_CHARS else "/tmp"  # noqa: S108 - mkdtemp's 0700
    return Path(tempfile.mkdtemp(prefix="orchestrator-", dir=place))

"""Commands on another host by the system's OpenSSH client, all over one connection.

The connection is a master process of our own, so that the user's ssh config holds (jump hosts, an
agent, a ProxyCommand, host keys) and a command costs no new sign-in. It is opened when needed,
again when it is lost, and outlives a killed orchestrator by MASTER_IDLE_S at most.
"""

from __future__ import annotations

import getpass
import io
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, TYPE_CHECKING, Any, cast

from backends.parallelcluster.ssh_errors import explain_failure, other_key
from core.errors import BackendError

if TYPE_CHECKING:
    from typing_extensions import Buffer

CONNECT_S = 20  # for each address, and for the other side to identify itself
OPEN_S = 120.0  # for a connection as a whole; a jump host or a ProxyCommand may take long
MASTER_IDLE_S = 900
IDLE_S = 180.0
"""A command without input and output for so long has failed; sbatch tries for a minute."""
MAX_FOLDER_CHARS = 60  # a socket's path may have 108 bytes, and ssh adds to it
_SSH_ERROR = 255
_POLL_S = 5.0
_END_S = 2.0
_MAX_TAIL_BYTES = 16 * 1024
_OWN_PREFIXES = ("ANTHROPIC_", "ORCHESTRATOR_", "AWS_BEARER_TOKEN_")
"""Of variables that ssh and what it starts must never get."""


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where to sign in; the ssh config decides what is empty. `default_user` is for a host for
    which that names no user."""

    host: str
    user: str = ""
    key: str = ""
    default_user: str = ""

    @property
    def destination(self) -> str:
        """As on a command line of ssh."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def arguments(self) -> Iterator[str]:
        if self.user:
            yield from ("-l", self.user)
        if self.key:
            yield from ("-i", self.key, "-o", "IdentitiesOnly=yes")


class LinkLost(BackendError):
    """The connection, or the command on it, ended before the answer was complete."""


def _without(environ: Mapping[str, str], *prefixes: str) -> dict[str, str]:
    return {n: value for n, value in environ.items() if not n.startswith(prefixes)}


class SshLink:
    """`find` is called for the host whenever a connection is opened. Several commands may run at
    once; sshd allows ten."""

    def __init__(
        self,
        find: Callable[[], SshTarget],
        environ: Mapping[str, str],
        *,
        idle_s: float = IDLE_S,
        open_s: float = OPEN_S,
    ) -> None:
        self._find = find
        # Keys for AWS stay, since a ProxyCommand over SSM needs them. The ssh that connects opens
        # no session, so that no variable is sent to the other side.
        self._environ = _without(environ, *_OWN_PREFIXES)
        self._idle_s, self._open_s = idle_s, open_s
        self._target: SshTarget | None = None
        self._last: SshTarget | None = None
        self._folder: Path | None = None
        self._opening = threading.Lock()

    @contextmanager
    def run(self, command: str, stdin: Iterable[bytes] = ()) -> Iterator[IO[bytes]]:
        """Run `command` by the login shell there; yields its output.

        Raises BackendError when there is no connection, and LinkLost when the caller's EOFError
        shows that it ended too early. How the command itself ended is for its output to say.
        """
        with self._opening:
            target = self._open()
        with tempfile.TemporaryFile() as stderr:
            # over the master or not at all: ssh would open a connection for each command otherwise
            never = ("-o", "ProxyJump=none", "-o", "ProxyCommand=false")
            options = (*self._client("no"), *never, *target.arguments())
            command_line = [*options, "--", target.host, command]
            # The user's config may send variables to the other side (SendEnv), and no option
            # prevents it, since the config's patterns come after ours.
            environ = _without(self._environ, "AWS_")
            process = _start(command_line, environ, stdin=PIPE, stdout=PIPE, stderr=stderr)
            feeder = InputFeeder(process, stdin)
            reader = TimeoutReader(process, feeder, self._idle_s)
            try:
                yield io.BufferedReader(reader)
            except EOFError as exc:
                feeder.end()
                raise _lost(process, read_tail(stderr), target) from exc
            finally:
                feeder.end()

    def close(self) -> None:
        """Idempotent. Running commands are cut off."""
        with self._opening:
            self._disconnect()

    # -- the connection

    def _open(self) -> SshTarget:
        """With `_opening` held: a connection that works."""
        if self._target is not None and self._control("check", self._target) == 0:
            return self._target
        self._disconnect()
        target = self._look_up()
        self._folder = _make_folder()
        try:
            self._connect(target)
        except BaseException:
            self._disconnect()
            raise
        self._target = target
        return target

    def _look_up(self) -> SshTarget:
        """Where it is, or last was if the look-up fails: AWS credentials may have expired."""
        try:
            self._last = self._with_user(self._find())
        except BackendError:
            if self._last is None:
                raise
        return self._last

    def _with_user(self, target: SshTarget) -> SshTarget:
        """With the default user, where neither an option nor the ssh config names one."""
        if target.user or not target.default_user:
            return target
        with tempfile.TemporaryFile() as stdout:
            self._execute([*self._client("no"), "-G", "--", target.host], stdout=stdout)
            found = re.search(r"^user (\S+)$", read_tail(stdout), re.MULTILINE)
        named = found and found[1] != getpass.getuser()
        return target if named else replace(target, user=target.default_user)

    def _connect(self, target: SshTarget) -> None:
        # DEBUG1 names the key that was taken, which may be another than the one that was given
        client = self._client("yes", "DEBUG1" if target.key else "ERROR")
        command = [*client, "-N", "-f", *target.arguments(), "--", target.host]
        with tempfile.TemporaryFile() as stderr:  # no pipe: a master of old ssh keeps it open
            if self._execute(command, stderr=stderr) != 0:
                raise explain_failure(read_tail(stderr), target.destination)
            if target.key and (other := other_key(read_tail(stderr), target.key)):
                self._control("exit", target)
                where = target.destination
                message = f"{where} does not take {target.key}, but {other} of ssh's own settings."
                raise BackendError(message, "Correct --aws-ssh-key, or leave it out.")

    def _control(self, order: str, target: SshTarget) -> int:
        return self._execute([*self._client("no"), "-O", order, "--", target.host])

    def _execute(self, command: list[str], **streams: Any) -> int:
        streams = {"stdout": DEVNULL, "stderr": DEVNULL, **streams}
        with _start(command, self._environ, stdin=DEVNULL, **streams) as process:
            try:
                return process.wait(self._open_s)
            except subprocess.TimeoutExpired:
                _kill(process)
                return _SSH_ERROR
            except BaseException:  # Ctrl-C
                _kill(process)
                raise

    def _client(self, master: str, log_level: str = "ERROR") -> list[str]:
        """The client from our PATH, with the options of every call."""
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
            "LogLevel": log_level,
        }
        pairs = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return [ssh, *pairs, "-S", f"{self._folder}/s"]

    def _disconnect(self) -> None:
        target, self._target = self._target, None
        if self._folder is None:
            return
        if target is not None:
            with suppress(BackendError):
                self._control("exit", target)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None


def _start(
    command: list[str], environ: Mapping[str, str], **streams: Any
) -> subprocess.Popen[bytes]:
    """In a session of its own, since Ctrl-C is for the orchestrator."""
    try:
        return subprocess.Popen(command, env=environ, start_new_session=True, **streams)  # noqa: S603 - no shell, and a list that we made
    except OSError as exc:
        remedy = "Install the OpenSSH client, and make sure that it is on PATH."
        raise BackendError("The command ssh was not found.", remedy) from exc


def _lost(process: subprocess.Popen[bytes], stderr: str, target: SshTarget) -> BackendError:
    if process.returncode == _SSH_ERROR or not stderr:
        event = "was lost" if process.returncode else "ended too early"
        remedy = "If this does not pass, check the network and the head node."
        return LinkLost(f"The connection to {target.destination} {event}.", remedy)
    remedy = "Check the head node, and that --aws-shared-dir can be written there."
    return BackendError(f"A command on {target.destination} failed: {stderr}", remedy)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With a ProxyCommand that ssh has started in the same session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _make_folder() -> Path:
    """Private, and with a short name."""
    usual = tempfile.gettempdir()
    parent = usual if len(usual) <= MAX_FOLDER_CHARS else "/tmp"  # noqa: S108 - mkdtemp's 0700
    return Path(tempfile.mkdtemp(prefix="orchestrator-", dir=parent))


class InputFeeder:
    """Feeds a process from a thread of its own, so that neither side waits for the other."""

    def __init__(self, process: subprocess.Popen[bytes], chunks: Iterable[bytes]) -> None:
        self.moved_at = time.monotonic()  # when the process last took something
        self._process, self._chunks = process, chunks
        self._stdin = cast("IO[bytes]", process.stdin)
        self._thread = threading.Thread(target=self._work, daemon=True, name="ssh-input")
        self._thread.start()

    def _work(self) -> None:
        with suppress(OSError, ValueError):  # the process has ended; its output says why
            for chunk in self._chunks:
                self._stdin.write(chunk)
                self._stdin.flush()
                self.moved_at = time.monotonic()
        with suppress(OSError):
            self._stdin.close()

    def end(self) -> None:
        """Wait for the process, and kill it if that takes long. Idempotent."""
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


class TimeoutReader(io.RawIOBase):
    """The output of a process, which ends after `idle_s` without any input or output."""

    def __init__(
        self, process: subprocess.Popen[bytes], feeder: InputFeeder, idle_s: float
    ) -> None:
        self._fd = cast("IO[bytes]", process.stdout).fileno()
        self._feeder, self._idle_s = feeder, idle_s
        self._ready = select.poll()
        self._ready.register(self._fd, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view, since = memoryview(buffer).cast("B"), time.monotonic()
        while not self._ready.poll(1000 * min(_POLL_S, self._idle_s)):
            if time.monotonic() - max(since, self._feeder.moved_at) >= self._idle_s:
                return 0
        data = os.read(self._fd, len(view))
        view[: len(data)] = data
        return len(data)


def read_tail(stream: IO[bytes]) -> str:
    """The end of a process's output file."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _MAX_TAIL_BYTES))
    return stream.read().decode(errors="replace").strip()

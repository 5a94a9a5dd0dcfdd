"""A shell for the model: one command at a time, in the workspace, beside the worker.

A command gets only the environment variables that programs need, has limits, and leaves no process
behind, which core.shell.supervisor, a process between the two, ensures.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from core.clock import Clock, time_left_s
from core.errors import WorkspaceError
from core.shell import supervisor
from core.shell.processes import (
    adopt_orphans,
    children,
    kill_children,
    kill_marked,
    pump,
    watch_pipe,
)
from core.workspace.confined import remove_tree

DEFAULT_TIMEOUT_S = 120
MAX_TIMEOUT_S = 600
MAX_COMMAND_BYTES = 100_000  # an argument of a program has 128 KiB at most
_HEAD_BYTES = 8 * 1024
_TAIL_BYTES = 16 * 1024
_TICK_S = 0.1
_LONGEST_END_S = 10.0  # more than the supervisor takes for an orderly end
_SHELLS = ("/bin/bash", "/bin/sh")
_PASSED = frozenset({"PATH", "LANG", "LANGUAGE", "TZ"})
_SCRATCH = ("home", "tmp")
# as an import it is compiled once for all
_SUPERVISE = (
    sys.executable,
    "-ISBc",
    "import sys; sys.path.append(sys.argv.pop(1)); import supervisor; supervisor.main()",
)
_DISK = "the free disk space fell"
_OTHERS_FACTOR = 4
_MEASURE_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a command ended, and what it printed.

    `exit_code` is negative for a signal, and None where the command was stopped, which `why` tells.
    `left` counts the processes that it left running, which were ended.
    """

    exit_code: int | None
    output: str
    seconds: float = 0.0
    why: str = ""
    left: int = 0

    @property
    def ran_out_of_disk(self) -> bool:
        """Or others did, meanwhile."""
        return self.why.startswith(_DISK)

    def outcome(self) -> str:
        """In a few words."""
        if self.exit_code is None:
            return f"stopped: {self.why}"
        if (code := self.exit_code) >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"ended by {name}" + (", as when memory runs out" if name == "SIGKILL" else "")


class Shell:
    """Runs commands in `root`; for one attempt, and closed at its end.

    `scratch` is a directory of its own outside of `root`, for the home and the temporary files of
    commands; it is removed at the end. A command may write files of `max_bytes`, print
    `max_printed_bytes`, and use `max_memory_bytes` of memory and `max_disk_bytes` of the disk, with
    what lies beside `scratch`, where these are given. `alone` says that this process has no other
    children and may end all that appear, so that not even what ended its supervisor gets away.
    """

    def __init__(
        self,
        root: Path,
        clock: Clock,
        *,
        environ: Mapping[str, str],
        scratch: Path,
        max_bytes: int = 256 * 1024 * 1024,
        max_printed_bytes: int = 256 * 1024 * 1024,
        max_memory_bytes: int = 0,
        max_disk_bytes: int = 0,
        alone: bool = False,
    ) -> None:
        self._root = root
        self._clock = clock
        self._scratch = scratch.absolute()
        self._environ = build_environment(environ, self._scratch)
        self._max_bytes = max_bytes
        self._max_printed_bytes = max_printed_bytes
        self._max_memory_bytes = max_memory_bytes
        self._max_disk_bytes = max_disk_bytes
        self._alone = alone
        self._spared: set[int] = set()
        self._measure_at = 0.0

    def __enter__(self) -> Self:
        remove_tree(self._scratch)
        if self._alone:
            self._spared = children(os.getpid())
            adopt_orphans()
        return self

    def __exit__(self, *_: object) -> None:
        self._sweep()
        if self._alone:
            adopt_orphans(False)
        remove_tree(self._scratch)

    def run(self, command: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> str:
        """How the command ended and what it printed, for the model. Raises as `execute` does."""
        return render_end(self.execute(command, timeout_s))

    def execute(self, command: str, timeout_s: float = DEFAULT_TIMEOUT_S) -> CommandEnd:
        """Raises WorkspaceError for a command that cannot run, and Interrupted from the clock."""
        _check(command, timeout_s)
        began = self._clock.monotonic()
        limit_s = min(timeout_s, MAX_TIMEOUT_S, time_left_s(self._clock))
        self._make_scratch()
        captured = _Captured()
        with self._started(command) as process:
            why = self._listen(process, captured, limit_s)
        return captured.end(self._clock.monotonic() - began, why)

    @contextmanager
    def _started(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """The supervisor with the command below it; both are ended on leaving."""
        with self._start(command) as process:
            try:
                yield process
            finally:
                _end(process)
                self._sweep()

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        most_of_user = 0 if self._alone else _count_threads() + supervisor.MAX_PROCESSES
        limits = (self._max_bytes, most_of_user, self._max_memory_bytes)
        arguments = (os.getpid(), *limits, find_shell(), command)
        try:
            if not stat.S_ISDIR(self._root.lstat().st_mode):
                raise NotADirectoryError(f"{self._root} is no directory any more")
            return subprocess.Popen(  # noqa: S603 - our own interpreter and our own file
                [*_SUPERVISE, os.path.dirname(supervisor.__file__), *map(str, arguments)],
                cwd=self._root,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as exc:
            raise WorkspaceError(f"The command could not be started: {exc}.") from exc

    def _make_scratch(self) -> None:
        """Keep what is there, unless something else was put in its place."""
        for place in (self._scratch, *(self._scratch / name for name in _SCRATCH)):
            with contextlib.suppress(OSError):
                if stat.S_ISDIR(place.lstat().st_mode):
                    continue
            remove_tree(place)
            place.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _listen(self, process: subprocess.Popen[bytes], captured: _Captured, limit_s: float) -> str:
        """Read until it ends or has to be ended; the reason for that, or ""."""
        until, free = self._clock.monotonic() + limit_s, self._free_bytes()
        with selectors.DefaultSelector() as selector:
            watch_pipe(selector, process.stdout, captured.add_output)
            watch_pipe(selector, process.stderr, captured.add_report)
            why = ""
            while not why and process.poll() is None:
                self._clock.sleep(0.0)  # a stopped clock, or one past its end, raises here
                why = self._excess(captured, until, limit_s, free)
                pump(selector, _TICK_S)
                if not selector.get_map():
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(_TICK_S)
            _end(process)
            while pump(selector, 0.0):
                if self._excess(captured, until, limit_s, free):
                    break
        return why

    def _excess(self, captured: _Captured, until: float, limit_s: float, free: int) -> str:
        if self._clock.monotonic() >= until:
            return f"it was not done within {limit_s:g} s"
        if captured.size > self._max_printed_bytes:
            return f"it printed more than {self._max_printed_bytes:,} bytes"
        most = self._max_disk_bytes
        if most and (left := self._free_bytes()) and self._holds_too_much(free - left):
            return f"{_DISK} by more than {most:,} bytes"
        return ""

    def _holds_too_much(self, fallen: int) -> bool:
        """Whether it is the command that has filled the disk, of which `fallen` bytes are gone: its
        files, or where these are gone but still open, far more than others are likely to write."""
        most, now = self._max_disk_bytes, self._clock.monotonic()
        if fallen <= most or now < self._measure_at:
            return fallen > most * _OTHERS_FACTOR
        self._measure_at = now + _MEASURE_EVERY_S
        return tree_bytes(self._scratch.parent) > most or fallen > most * _OTHERS_FACTOR

    def _free_bytes(self) -> int:
        """Of the disk; 0 where no limit is set, or a command has removed the place."""
        with contextlib.suppress(OSError):
            return shutil.disk_usage(self._root).free if self._max_disk_bytes else 0
        return 0

    def _sweep(self) -> None:
        """End what escaped its supervisor: by its mark, or as our own child."""
        kill_marked(os.fsencode(f"TMPDIR={self._environ['TMPDIR']}"))
        if self._alone:
            kill_children(self._spared)


class _Captured:
    """The head and tail of a command's output, and its supervisor's report."""

    def __init__(self) -> None:
        self.size = 0
        self._head = self._tail = self._report = b""

    def add_output(self, piece: bytes) -> None:
        self.size += len(piece)
        room = _HEAD_BYTES - len(self._head)
        self._head += piece[:room]
        self._tail = (self._tail + piece[room:])[-_TAIL_BYTES:]

    def add_report(self, piece: bytes) -> None:
        self._report = (self._report + piece)[-_TAIL_BYTES:]

    def end(self, seconds: float, why: str) -> CommandEnd:
        """`why` is the reason if the command had to be stopped."""
        report: Any = None
        with contextlib.suppress(ValueError):
            report = json.loads(self._report)
        report = report if isinstance(report, dict) else {}
        code, why = report.get("code"), report.get("excess") or why
        if why or not isinstance(code, int):
            why = why or "the process that watches over it was ended"
            return CommandEnd(None, self.text(), seconds, why)
        return CommandEnd(code, self.text(), seconds, left=report.get("left") or 0)

    def text(self) -> str:
        cut = self.size - len(self._head) - len(self._tail)
        head, tail = (part.decode(errors="replace") for part in (self._head, self._tail))
        note = f"\n[{cut:,} bytes left out here; print less, or only what matters]\n" if cut else ""
        return (head + note + tail).replace("\0", "\N{REPLACEMENT CHARACTER}")


def build_environment(environ: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """All that a command sees of the worker's environment, and a home of its own."""
    passed = {n: v for n, v in environ.items() if n in _PASSED or n.startswith("LC_")}
    return {
        "PATH": os.defpath,
        **passed,
        "HOME": str(scratch / "home"),
        "TMPDIR": str(scratch / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PAGER": "cat",
        "TERM": "dumb",
    }


def tree_bytes(root: Path) -> int:
    """What the files below take of the disk, hard links once for each name; as far as they can be
    looked at."""
    total = 0
    for directory, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total


def find_shell() -> str:
    """Bash where it is, else the system's own."""
    return next((path for path in _SHELLS if os.access(path, os.X_OK)), _SHELLS[-1])


def render_end(end: CommandEnd) -> str:
    """How it ended, then what it printed."""
    lines = [end.outcome()]
    if end.left:
        lines.append(f"[{end.left} process(es) that it left running were ended]")
    return "\n".join([*lines, end.output.rstrip("\n") or "(no output)"])


def _check(command: str, timeout_s: float) -> None:
    if timeout_s < 1:
        raise WorkspaceError("timeout_s counts from 1.", f"Leave it out for {DEFAULT_TIMEOUT_S}.")
    try:
        size = len(command.encode())
    except UnicodeEncodeError:
        size = -1
    if size < 0 or "\0" in command:
        raise WorkspaceError("The command is no valid text.", "Leave out what cannot be printed.")
    if size > MAX_COMMAND_BYTES:
        raise WorkspaceError(
            f"The command has {size:,} bytes; at most {MAX_COMMAND_BYTES:,}.",
            "Write a file and run that.",
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the supervisor to end all, and end it when it does not."""
    if process.poll() is None:
        process.terminate()
        process.send_signal(signal.SIGCONT)  # a command may have stopped it
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_LONGEST_END_S)
    process.kill()
    process.wait()


def _count_threads() -> int:
    """How many threads the processes of this user have, as far as that can be seen."""
    count, user = 0, os.getuid()
    for pid in supervisor.pids():
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}").st_uid == user:
                count += len(os.listdir(f"/proc/{pid}/task"))
    return count

"""Runs one shell command and leaves no process of it behind.

core.shell.shell starts this file alone, once for each command, so it imports little, and of the
standard library only. It adopts what the command starts, ends all of it when the command ends, on
SIGTERM and when the worker dies, and reports on standard error how it went: one line of JSON.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator

MAX_PROCESSES = 512
"""More at a time than any build of a task needs."""
_GRACE_S = 2.0
_LONGEST_END_S = 5.0
_TICK_S = 0.25
_OOM_SCORE = "1000"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_ON_LINUX = sys.platform == "linux"


class Supervisor:
    """The parent of one command, in a process of its own."""

    def __init__(
        self, worker: int, max_bytes: int, most_of_user: int, max_memory_bytes: int
    ) -> None:
        self._worker = worker
        self._max_bytes = max_bytes
        self._most_of_user = most_of_user
        self._max_memory_bytes = max_memory_bytes
        self._excess = ""
        self._stop_requested = False
        self._wake, waker = os.pipe()
        for end in (self._wake, waker):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        if _ON_LINUX:
            prctl = ctypes.CDLL(None).prctl
            prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)

    def run(self, shell: str, command: str) -> str:
        """The report: `code` (negative for a signal; null when it was stopped), `left`, how many
        processes outlived it, and `excess`, what was too much where it was stopped for that."""
        pid = os.fork()
        if pid == 0:
            self._exec(shell, command)
        code = self._wait(pid)
        if code is None and self._stop_requested:
            self._ask_to_end(pid)
        left = end_descendants() if _has_children() else 0
        shown = "null" if code is None else code
        return f'{{"code": {shown}, "left": {left}, "excess": "{self._excess}"}}'

    def _stop(self, *_: object) -> None:
        self._stop_requested = True

    def _wait(self, pid: int) -> int | None:
        """The command's exit code; None when it has to be stopped."""
        look_at = time.monotonic() + _TICK_S
        while (code := _reap(pid)) is None:
            if self._stop_requested or os.getppid() != self._worker:
                self._stop_requested = True
                return None
            if time.monotonic() >= look_at:
                if found := self._find_excess():
                    self._excess = found
                    return None
                look_at = time.monotonic() + _TICK_S
            select.select([self._wake], [], [], _TICK_S)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 1024)
        return code

    def _find_excess(self) -> str:
        """What the command has more of than it may; nothing while it keeps to its limits."""
        found = descendants()
        if len(found) > MAX_PROCESSES:
            return f"it started more than {MAX_PROCESSES} processes"
        most = self._max_memory_bytes
        if most and sum(map(resident_bytes, found)) > most:
            return f"it used more than {most:,} bytes of memory"
        return ""

    def _ask_to_end(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGTERM)
        until = time.monotonic() + _GRACE_S
        while time.monotonic() < until and _reap(pid) is None:
            time.sleep(0.02)

    def _exec(self, shell: str, command: str) -> None:
        """The child: its own session, its limits, then the shell."""
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._max_bytes, self._max_bytes))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            _limit_processes(self._most_of_user)
            if _ON_LINUX:
                with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
                    file.write(_OOM_SCORE)
            os.dup2(1, 2)
            os.execv(shell, [shell, "-c", command])  # noqa: S606 - running it is what this is for
        except BaseException as exc:  # noqa: BLE001 - a child that goes on would be a second parent
            os.write(1, f"{shell} cannot be run: {exc}\n".encode())
        finally:
            os._exit(126)


def descendants() -> list[int]:
    """All processes below this one; on Linux."""
    below: dict[int, list[int]] = {}
    for pid, parent in process_parents():
        below.setdefault(parent, []).append(pid)
    found: list[int] = []
    pending = [os.getpid()]
    while pending:
        born = below.get(pending.pop(), [])
        found += born
        pending += born
    return found


def resident_bytes(pid: int) -> int:
    """Of memory; 0 where that is not told."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
    return 0


def end_descendants(find: Callable[[], list[int]] = descendants) -> int:
    """End all that is below this process; how many processes there were."""
    until = time.monotonic() + _LONGEST_END_S
    stopped: set[int] = set()
    # stopped first, so that none can start another while the others are being ended
    while time.monotonic() < until and (running := set(find()) - stopped):
        for pid in running:
            _send(pid, signal.SIGSTOP)
        stopped |= running
    while time.monotonic() < until and (found := find()):
        for pid in found:
            _send(pid, signal.SIGKILL)
        _reap(0)
        time.sleep(0.002)
    return len(stopped)


def _has_children() -> bool:
    """None are left if there is nothing below this process, which adopts orphans."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def _reap(pid: int) -> int | None:
    """Reap every child that has ended; the exit code of `pid` if it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == pid:
                code = os.waitstatus_to_exitcode(ended[1])
    return code


def pids() -> Iterator[int]:
    """Of all processes; on Linux."""
    return map(int, filter(str.isdecimal, os.listdir("/proc"))) if _ON_LINUX else iter(())


def process_parents() -> Iterator[tuple[int, int]]:
    """Each process and its parent."""
    for pid in pids():
        with (
            contextlib.suppress(OSError, ValueError, IndexError),
            open(f"/proc/{pid}/stat", "rb", 0) as file,
        ):
            # the program's name, in brackets, may hold anything
            yield pid, int(file.read().rpartition(b")")[2].split()[1])


def _limit_processes(most: int) -> None:
    """`most` of this user; 0 leaves it to what contains the worker."""
    if most:
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def main() -> None:
    *limits, shell, command = sys.argv[1:]
    supervisor = Supervisor(*map(int, limits))
    print(supervisor.run(shell, command), file=sys.stderr)  # noqa: T201 - for the worker

"""Finding the process that works on a run, and having it stop."""

import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.clock import Clock
from core.errors import RunLocked
from engine.run.rundir import RunDir, is_locked

LET_GO_S = 60.0
"""How long the process that works on a run has to stop; the scheduler gives its jobs 10 s."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The process that works on a run, as its lock file names it."""

    pid: int
    host: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def find_holder(run: RunDir) -> LockHolder | None:
    """The process that works on the run now, if any. Raises RunLocked when that is not clear."""
    if not is_locked(run):
        return None
    text = run.lock.read_text(encoding="utf-8", errors="replace").strip()
    if (found := re.fullmatch(r"process ([1-9]\d{0,9}) on (\S+)", text)) is None:
        raise RunLocked(
            f"Run {run.run_id} is being worked on by another process.", "Stop that process."
        )
    return LockHolder(int(found[1]), found[2])


def stop_holder(
    run: RunDir,
    clock: Clock,
    notify: Callable[[str], None],
    patience_s: float = LET_GO_S,
    send: Callable[[int, int], None] = os.kill,
) -> bool:
    """Have the process that works on the run stop, and wait for it; whether there was one.

    Raises RunLocked when it does not stop.
    """
    if (holder := find_holder(run)) is None:
        return False
    name = f"Run {run.run_id} is being worked on by {holder}"
    if holder.host != socket.gethostname():
        raise RunLocked(f"{name}.", f"Cancel the run on {holder.host}, or stop that process.")
    if not _has_open(holder.pid, run.lock):
        if find_holder(run) != holder:
            return stop_holder(run, clock, notify, patience_s, send)
        raise RunLocked(
            f"{name}, which is not visible from here.",
            "Cancel the run as the user and in the container of that process.",
        )
    notify(f"{name}; asking it to stop.")
    try:
        # What SIGINT asks for; but that one is ignored by what a script started with '&'
        send(holder.pid, signal.SIGTERM)
    except OSError as exc:
        raise RunLocked(
            f"{name}, which could not be signalled: {exc.strerror}.", "Stop that process."
        ) from exc
    until = clock.monotonic() + patience_s
    while is_locked(run):
        if clock.monotonic() >= until:
            stuck = f"{name}, which has not stopped within {patience_s:g} s."
            raise RunLocked(stuck, f"Kill it (kill -9 {holder.pid}), then cancel again.")
        clock.sleep(0.1)
    return True


def _has_open(pid: int, lock: Path) -> bool:
    """Whether the process has the lock file open: its number may have been given away since."""
    if not Path("/proc/self/fd").exists():
        return True  # no way to see it here; the lock is held, as its text says
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                if path.samefile(lock):
                    return True
    return False

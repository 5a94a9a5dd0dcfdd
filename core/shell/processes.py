"""Processes of the model beside the worker: read, ended, and kept out of the worker's memory.

A process can go to another session, clear its environment, or outlive its parent; the worker finds
it by the mark in its environment, and where the worker is alone, by descent.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import sys
from collections.abc import Callable, Iterator
from typing import IO

from core.shell.supervisor import pids, process_parents

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_SWEEPS = 2  # the second for what the first saw too late
_MOST_ROUNDS = 100
_PIECE_BYTES = 256 * 1024


def watch_pipe(
    selector: selectors.BaseSelector, pipe: IO[bytes] | None, take: Callable[[bytes], None]
) -> None:
    """Have `pump` pass what comes out of `pipe` to `take`."""
    if pipe is not None:
        selector.register(pipe, selectors.EVENT_READ, take)


def pump(selector: selectors.BaseSelector, timeout_s: float) -> bool:
    """Pass on what can be read now; whether there was anything. A pipe is dropped at its end."""
    ready = selector.select(timeout_s) if selector.get_map() else []
    for key, _ in ready:
        if piece := os.read(key.fd, _PIECE_BYTES):
            key.data(piece)
        else:
            selector.unregister(key.fileobj)
    return bool(ready)


def hide_memory() -> None:
    """Keep other processes of this user out of this one's memory and environment (Linux). For root
    it changes nothing. https://man7.org/linux/man-pages/man2/PR_SET_DUMPABLE.2const.html"""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def adopt_orphans(wanted: bool = True) -> None:
    """Become the parent of descendants whose own parent ends, or no more (Linux).
    https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html"""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def marked_processes(mark: bytes) -> Iterator[int]:
    """The processes that were started with `mark` (name=value) in their environment; on Linux."""
    for pid in pids():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb", 0) as file:
            if mark in file.read().split(b"\0"):
                yield pid


def kill_marked(mark: bytes) -> None:
    """End all processes with this mark."""
    for _ in range(_SWEEPS):
        for pid in marked_processes(mark):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def children(pid: int) -> set[int]:
    """The processes whose parent is `pid`; on Linux."""
    return {child for child, parent in process_parents() if parent == pid}


def kill_children(spared: set[int]) -> None:
    """End and reap this process's children but those `spared`, and what they leave behind to it
    (see adopt_orphans), as long as there is any."""
    for _ in range(_MOST_ROUNDS):
        if not (found := children(os.getpid()) - spared):
            return
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

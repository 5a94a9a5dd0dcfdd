"""Which runs were cleaned up: a mark for each, under whose lock work is handed over and removals
begin. What removals leave is put aside in one step, and swept.
"""

import fcntl
import os
import time
from contextlib import contextmanager
from typing import IO, Any, Iterator

from backends.parallelcluster.head_node.files import remove_path
from backends.parallelcluster.head_node.names import Request, age, listing, place

LEFT_S = 24 * 3600
"""After that a directory that was being made is nobody's any more."""
KEPT_MARK_S = 30 * 24 * 3600
"""How long it is known that a run was cleaned up: far longer than any helper is at work."""
GONE = b".gone-"


class CleanedUp(Exception):
    """Whose work this was is over, and what it leaves is removed."""


@contextmanager
def mark_held(root: bytes, name: bytes, how: int) -> Iterator[IO[bytes]]:
    """A run's mark, which holds something once the run was cleaned up. Several may submit at once,
    and who cleans up waits for them."""
    os.makedirs(place(root, "marks"), exist_ok=True)
    with open(place(root, "marks", name), "a+b") as stream:
        flock(stream, how)
        stream.seek(0)
        yield stream


def was_cleaned_up(root: bytes, name: bytes) -> bool:
    try:
        with open(place(root, "marks", name), "rb") as mark:
            return bool(mark.read(1))
    except OSError:
        return False


def refuse_cleaned_up(request: Request) -> None:
    if was_cleaned_up(place(request["root"]), os.path.basename(place(request["run_dir"]))):
        raise CleanedUp()


def put_aside(folder: bytes, name: bytes) -> None:
    """In one step, so that no worker that is still stopping can put something there again."""
    aside = place(folder, GONE + name + b"-" + os.urandom(4).hex().encode())
    try:
        os.rename(place(folder, name), aside)
    except FileNotFoundError:
        return
    remove_path(place(aside, "slurm", "credentials.json"))  # whatever else may stay


def name_of(entry: bytes) -> bytes:
    """Of the run that a directory belongs to."""
    return entry[len(GONE) :].rpartition(b"-")[0] if entry.startswith(GONE) else entry


def sweep(root: bytes) -> None:
    """Remove what was put aside, also by a helper that ended in the middle of its removal, and what
    has come back of runs that were cleaned up."""
    folder, marks, now = place(root, "runs"), place(root, "marks"), time.time()
    for name in listing(folder):
        if not name.startswith(GONE) and was_cleaned_up(root, name):
            put_aside(folder, name)
    for name in listing(folder):
        if name.startswith(GONE):
            remove_path(place(folder, name, "slurm", "credentials.json"))
            remove_path(place(folder, name))
            remove_path(place(folder, name))  # what was written meanwhile
    for name in listing(root):
        if name.startswith(b".code-") and age(place(root, name), now) > LEFT_S:
            remove_path(place(root, name))
    for name in listing(marks):
        kept = os.path.lexists(place(folder, name))
        if not kept and age(place(marks, name), now) > KEPT_MARK_S:
            remove_path(place(marks, name))


@contextmanager
def locked(folder: bytes) -> Iterator[None]:
    """One at a time, where the file system can."""
    os.makedirs(folder, exist_ok=True)
    with open(place(folder, "lock"), "w") as stream:
        flock(stream, fcntl.LOCK_EX)
        yield


def flock(stream: IO[Any], how: int) -> None:
    try:
        fcntl.flock(stream, how)
    except OSError:
        pass

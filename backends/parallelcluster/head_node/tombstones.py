"""Which runs were cleaned up: a tombstone for each, whose lock is held while jobs are submitted and
when a removal begins. A removal moves a directory aside in one step and then sweeps it.
"""

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from typing import IO, Any, Iterator

from backends.parallelcluster.head_node.files import remove_path
from backends.parallelcluster.head_node.paths import Request, age_s, join, list_dir

FOLDER = "tombstones"
STALE_CODE_S = 24 * 3600  # after that nobody is still unpacking a directory of code
KEPT_TOMBSTONE_S = 30 * 24 * 3600  # far longer than any helper runs
ASIDE = b".gone-"


class CleanedUp(Exception):
    """The run was cleaned up meanwhile."""


@contextmanager
def locked_tombstone(root: bytes, name: bytes, operation: int) -> Iterator[IO[bytes]]:
    """A run's tombstone, which is empty until the run is cleaned up. Several helpers may submit at
    once; a cleanup waits for them."""
    os.makedirs(join(root, FOLDER), exist_ok=True)
    with open(join(root, FOLDER, name), "a+b") as stream:
        flock(stream, operation)
        stream.seek(0)
        yield stream


def was_cleaned_up(root: bytes, name: bytes) -> bool:
    try:
        with open(join(root, FOLDER, name), "rb") as tombstone:
            return bool(tombstone.read(1))
    except OSError:
        return False


def refuse_cleaned_up(request: Request) -> None:
    if was_cleaned_up(join(request["root"]), os.path.basename(join(request["run_dir"]))):
        raise CleanedUp()


def move_aside(folder: bytes, name: bytes) -> None:
    """In one step, so that a worker that is still stopping cannot write there again."""
    aside = join(folder, ASIDE + name + b"-" + os.urandom(4).hex().encode())
    try:
        os.rename(join(folder, name), aside)
    except FileNotFoundError:
        return
    remove_path(join(aside, "slurm", "credentials.json"))  # whatever else may stay


def run_name(entry: bytes) -> bytes:
    """The name of the run that a directory belongs to."""
    return entry[len(ASIDE) :].rpartition(b"-")[0] if entry.startswith(ASIDE) else entry


def sweep(root: bytes) -> None:
    """Remove what was moved aside, also by a helper that died meanwhile, and directories of runs
    that have come back after their cleanup."""
    folder, tombstones, now = join(root, "runs"), join(root, FOLDER), time.time()
    for name in list_dir(folder):
        if not name.startswith(ASIDE) and was_cleaned_up(root, name):
            move_aside(folder, name)
    for name in list_dir(folder):
        if name.startswith(ASIDE):
            remove_path(join(folder, name, "slurm", "credentials.json"))
            remove_path(join(folder, name))
            remove_path(join(folder, name))  # what was written meanwhile
    for name in list_dir(root):
        if name.startswith(b".code-") and age_s(join(root, name), now) > STALE_CODE_S:
            remove_path(join(root, name))
    for name in list_dir(tombstones):
        exists = os.path.lexists(join(folder, name))
        if not exists and age_s(join(tombstones, name), now) > KEPT_TOMBSTONE_S:
            remove_path(join(tombstones, name))


def flock(stream: IO[Any], operation: int) -> None:
    """Where the file system can lock."""
    with suppress(OSError):
        fcntl.flock(stream, operation)

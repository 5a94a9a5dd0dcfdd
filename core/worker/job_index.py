"""Which attempts the jobs of a batch system are: written before they are submitted, read by each.

It lies in a folder of its own below the run's directory: `<run>/slurm/<batch>/index.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.bundle import WIRE_VERSION, AttemptDir
from core.clock import Clock
from core.errors import BundleError
from core.wire import decode

INDEX_NAME = "index.json"
CREDENTIALS_NAME = "credentials.json"
"""Beside the batches' folders: one for all jobs of a run, since a requeued job reads it again."""
VISIBLE_WITHIN_S = 60.0
"""NFS clients keep what they know of a directory for up to 60 s (nfs(5), acdirmax)."""
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class JobIndex:
    """`attempts` are paths of attempt directories below the run's; a job's place is its number."""

    run: str
    attempts: tuple[str, ...]
    version: int = WIRE_VERSION


@dataclass(frozen=True, slots=True)
class BatchDir:
    """Names every file of one batch below `root`."""

    root: Path

    @property
    def index(self) -> Path:
        return self.root / INDEX_NAME

    @property
    def run_dir(self) -> Path:
        return self.root.parent.parent

    @property
    def credentials(self) -> Path:
        return self.root.parent / CREDENTIALS_NAME

    def attempt(self, index: JobIndex, place: int) -> AttemptDir:
        """Raises BundleError when the index has no such place."""
        if not 0 <= place < len(index.attempts):
            raise BundleError(f"{self.index} has no place {place}.")
        return AttemptDir(self.run_dir / index.attempts[place])


def read_index(batch: BatchDir) -> JobIndex:
    """Raises BundleError when it is absent, damaged, or of another wire version."""
    try:
        data = batch.index.read_bytes()
    except OSError as exc:
        raise BundleError(f"{batch.index} cannot be read: {exc}.") from exc
    index = decode(JobIndex, data, str(batch.index))
    if index.version != WIRE_VERSION:
        raise BundleError(
            f"{batch.index} has wire version {index.version}, this worker reads {WIRE_VERSION}.",
            "Run the same version on both sides.",
        )
    return index


def await_file(path: Path, clock: Clock, within_s: float = VISIBLE_WITHIN_S) -> bool:
    """Whether the file is there, or comes within the time: a shared file system may lag.

    Listing its directory is what makes an NFS client ask its server again.
    """
    until = clock.monotonic() + within_s
    while not is_visible(path):
        if clock.monotonic() >= until:
            return False
        clock.sleep(_LOOK_EVERY_S)
    return True


def is_visible(path: Path) -> bool:
    """Whether the file is there, as the server of its file system knows it."""
    try:
        return any(entry.name == path.name for entry in path.parent.iterdir())
    except OSError:
        return False

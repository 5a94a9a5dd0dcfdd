"""The index of a batch: which attempt each job runs. Written before submission, read by each job.

It is in a folder of its own below the run's directory: `<run>/slurm/<batch>/index.json`.
"""

from dataclasses import dataclass
from pathlib import Path

from core.bundle import WIRE_VERSION, AttemptDir, read_versioned
from core.clock import Clock
from core.errors import BundleError
from core.paths import Below

INDEX_NAME = "index.json"
CREDENTIALS_NAME = "credentials.json"
"""Beside the batches' folders: one for all jobs of a run, since a requeued job reads it again."""
VISIBLE_WITHIN_S = 60.0
"""NFS clients cache a directory for up to 60 s (nfs(5), acdirmax)."""
_POLL_S = 0.5


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

    index = Below(INDEX_NAME)

    @property
    def run_dir(self) -> Path:
        return self.root.parent.parent

    @property
    def credentials(self) -> Path:
        return self.root.parent / CREDENTIALS_NAME

    def attempt(self, index: JobIndex, place: int) -> AttemptDir:
        """Raises BundleError when the index has no such number."""
        if not 0 <= place < len(index.attempts):
            raise BundleError(f"{self.index} has no job number {place}.")
        return AttemptDir(self.run_dir / index.attempts[place])


def read_index(batch: BatchDir) -> JobIndex:
    """Raises BundleError as read_versioned does."""
    return read_versioned(JobIndex, batch.index)


def await_file(path: Path, clock: Clock) -> bool:
    """Whether the file is there, or comes within VISIBLE_WITHIN_S: a shared file system may lag.
    Listing its directory makes an NFS client ask its server again."""
    until = clock.monotonic() + VISIBLE_WITHIN_S
    while not is_visible(path):
        if clock.monotonic() >= until:
            return False
        clock.sleep(_POLL_S)
    return True


def is_visible(path: Path) -> bool:
    """Whether the file system's server has the file."""
    try:
        return any(entry.name == path.name for entry in path.parent.iterdir())
    except OSError:
        return False

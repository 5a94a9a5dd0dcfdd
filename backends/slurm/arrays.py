"""The job arrays of a run, as they are stored in its directory, and the key of each job.

An array's folder is written before sbatch is called. It is named by the digest of its index, which
the jobs carry in their comment, so that a later process recognizes them even without their ids.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from backends.shared.results import attempt_of
from backends.slurm.commands import COMMENT_PREFIX
from backends.slurm.host import remove_path
from backends.slurm.states import JobRecord
from core.errors import BundleError
from core.job import JobKey
from core.wire import encode
from core.worker.job_index import INDEX_NAME, BatchDir, JobIndex, read_index

FOLDER = "slurm"
_IDS_NAME = "job-ids"
_DIGEST_CHARS = 16


@dataclass(frozen=True, slots=True)
class JobArray:
    """Jobs that are submitted together; a key's position in `keys` is the job's array index.

    `job_ids` are those that sbatch printed: several only if an answer was lost.
    """

    digest: str
    keys: tuple[JobKey, ...]
    index: bytes
    job_ids: list[str] = field(default_factory=list)

    @property
    def folder(self) -> str:
        """Relative to the run's directory."""
        return f"{FOLDER}/{self.digest}"

    @property
    def attempts(self) -> bytes:
        """The index for the shell: the directory of an attempt on each line."""
        return "".join(f"tasks/{key.task}/{key.attempt}\n" for key in self.keys).encode()

    def native_id(self, job_id: str, array_index: int) -> str:
        """The id that scancel takes, of a job that sbatch called `job_id`."""
        return f"{job_id}_{array_index}" if len(self.keys) > 1 else job_id

    def log(self, key: JobKey) -> str:
        return f"{self.folder}/{self.keys.index(key)}.log"


def make_array(run_dir: Path, keys: Sequence[JobKey]) -> JobArray:
    """The same keys of the same run give the same digest."""
    attempts = (attempt_of(run_dir, key).root.relative_to(run_dir).as_posix() for key in keys)
    index = encode(JobIndex(keys[0].run, tuple(attempts))).encode()
    digest = hashlib.sha256(f"{run_dir}\0".encode() + index).hexdigest()
    return JobArray(digest[:_DIGEST_CHARS], tuple(keys), index)


class JobArrays:
    """All arrays of a run, including those of earlier processes."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._by_key: dict[JobKey, list[JobArray]] = {}

    @cached_property
    def all(self) -> dict[str, JobArray]:
        """By digest; read from disk at the first use."""
        found = {array.digest: array for array in self._read()}
        for array in found.values():
            self._add_keys(array)
        return found

    def _read(self) -> Iterator[JobArray]:
        for path in sorted((self._run_dir / FOLDER).glob(f"*/{INDEX_NAME}")):
            with suppress(BundleError, ValueError):  # cut off while written: never submitted
                index, folder = read_index(BatchDir(path.parent)), path.parent
                names = (attempt.removeprefix("tasks/") for attempt in index.attempts)
                keys = tuple(JobKey.parse(f"{index.run}/{name}") for name in names)
                yield JobArray(folder.name, keys, path.read_bytes(), _read_ids(folder))

    def _add_keys(self, array: JobArray) -> None:
        for key in array.keys:
            self._by_key.setdefault(key, []).append(array)

    @property
    def keys(self) -> list[JobKey]:
        return sorted(self._by_key) if self.all else []

    def add(self, array: JobArray) -> JobArray:
        """Register it before it is submitted; returns the one that is registered already."""
        if array.digest not in self.all:
            self.all[array.digest] = array
            self._add_keys(array)
        return self.all[array.digest]

    def add_job_id(self, array: JobArray, job_id: str) -> None:
        """Record the id that sbatch printed."""
        array.job_ids.append(job_id)
        path = self._run_dir / array.folder / _IDS_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f'"{job_id}"\n')

    def discard(self, array: JobArray) -> None:
        """Remove a refused array and its files, unless it was accepted before."""
        if array.job_ids:
            return
        self.all.pop(array.digest, None)
        for key in array.keys:
            self._by_key[key].remove(array)
        remove_path(self._run_dir / array.folder)

    def containing(self, key: JobKey) -> list[JobArray]:
        return list(self._by_key.get(key, ())) if self.all else []

    def native_ids(self, key: JobKey) -> list[str]:
        """The ids that sbatch printed for the jobs of a key, the latest last."""
        return [
            array.native_id(job_id, array.keys.index(key))
            for array in self.containing(key)
            for job_id in array.job_ids
        ]

    def named_by(self, record: JobRecord) -> JobArray | None:
        """The array that a job names: by its comment or, where a site's plugin has replaced that,
        by its script, which lies in the array's folder."""
        folder = record.script.removeprefix(f"{record.run_dir}/{FOLDER}/").partition("/")[0]
        digests = (record.comment.removeprefix(COMMENT_PREFIX), folder)
        return next((self.all[digest] for digest in digests if digest in self.all), None)

    def key_of(self, record: JobRecord) -> JobKey | None:
        """The key of a job that is listed; None when it is not one of the run's.

        The id counts only where the job names no array.
        """
        array = self.named_by(record) or next(
            (a for a in list(self.all.values()) if record.array_id in a.job_ids), None
        )
        index = record.array_index
        return array.keys[index] if array and index < len(array.keys) else None


def _read_ids(folder: Path) -> list[str]:
    try:
        lines = (folder / _IDS_NAME).read_text(encoding="utf-8")
    except OSError:
        return []
    return re.findall(r'^"(.+)"$', lines, re.MULTILINE)  # the last line may be cut off

"""What was handed to sbatch, as it lies in the run's directory: which job stands for which key.

A batch's folder is written before sbatch is called and named by its index's digest, which the jobs
carry in their comment. So a later process knows its jobs even if it never heard their ids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from backends.shared.results import attempt_of
from backends.slurm.commands import COMMENT_PREFIX
from backends.slurm.host import remove_path
from backends.slurm.states import Row
from core.errors import BundleError
from core.job import JobKey
from core.wire import encode
from core.worker.job_index import INDEX_NAME, BatchDir, JobIndex, read_index

FOLDER = "slurm"
_IDS_NAME = "job-ids"
_DIGEST_CHARS = 16


@dataclass(frozen=True, slots=True)
class JobArray:
    """Jobs that went out together; a job's place in `keys` is its place in the array.

    `job_ids` are those that sbatch gave for it: more than one only if an answer was lost.
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
        """The index for the shell."""
        return "".join(f"tasks/{key.task}/{key.attempt}\n" for key in self.keys).encode()

    def native_id(self, job_id: str, place: int) -> str:
        """As scancel takes it, of a job that sbatch called `job_id`."""
        return f"{job_id}_{place}" if len(self.keys) > 1 else job_id

    def log(self, place: int) -> str:
        return f"{self.folder}/{place}.log"


def make_batch(run_dir: Path, keys: Sequence[JobKey]) -> JobArray:
    """The same keys of the same run make the same batch."""
    attempts = (attempt_of(run_dir, key).root.relative_to(run_dir).as_posix() for key in keys)
    index = encode(JobIndex(keys[0].run, tuple(attempts))).encode()
    whole = hashlib.sha256(f"{run_dir}\0".encode() + index).hexdigest()
    return JobArray(whole[:_DIGEST_CHARS], tuple(keys), index)


class JobArrays:
    """Every batch of one run, those of earlier processes too."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._batches: dict[str, JobArray] | None = None
        self._by_key: dict[JobKey, list[JobArray]] = {}

    @property
    def all(self) -> dict[str, JobArray]:
        if self._batches is None:
            self._batches = {}
            for batch in self._read():
                self.add(batch)
        return self._batches

    @property
    def keys(self) -> list[JobKey]:
        return sorted(self._by_key) if self.all else []

    def _read(self) -> Iterator[JobArray]:
        for path in sorted((self._run_dir / FOLDER).glob(f"*/{INDEX_NAME}")):
            with suppress(BundleError, ValueError):  # cut off as it was written: never handed over
                index, folder = read_index(BatchDir(path.parent)), path.parent
                keys = tuple(_key(index.run, attempt) for attempt in index.attempts)
                yield JobArray(folder.name, keys, path.read_bytes(), _read_ids(folder))

    def add(self, batch: JobArray) -> JobArray:
        """Note it before it is handed over; gives the one that is noted."""
        known = self.all
        if batch.digest not in known:
            known[batch.digest] = batch
            for key in batch.keys:
                self._by_key.setdefault(key, []).append(batch)
        return known[batch.digest]

    def submitted(self, batch: JobArray, job_id: str) -> None:
        """Keep the id that sbatch gave."""
        batch.job_ids.append(job_id)
        path = self._run_dir / batch.folder / _IDS_NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(job_id) + "\n")

    def refused(self, batch: JobArray) -> None:
        """It is on no cluster; what was prepared for it goes."""
        if batch.job_ids:
            return
        self.all.pop(batch.digest, None)
        for key in batch.keys:
            self._by_key[key].remove(batch)
        remove_path(self._run_dir / batch.folder)

    def holding(self, key: JobKey) -> list[JobArray]:
        return list(self._by_key.get(key, ())) if self.all else []

    def native_ids(self, key: JobKey) -> list[str]:
        """Those of all jobs of a key that sbatch gave an id for, the latest last."""
        return [
            batch.native_id(job_id, batch.keys.index(key))
            for batch in self.holding(key)
            for job_id in batch.job_ids
        ]

    def named_by(self, row: Row) -> JobArray | None:
        """The batch that a job names: in its comment or, where a site's plugin has replaced that,
        by its script, which lies in the batch's folder."""
        of_script = row.script.removeprefix(f"{row.run_dir}/{FOLDER}/").partition("/")[0]
        digests = (row.comment.removeprefix(COMMENT_PREFIX), of_script)
        return next((self.all[digest] for digest in digests if digest in self.all), None)

    def batch_of(self, row: Row) -> JobArray | None:
        """The batch whose job this is, one of the run's: of some jobs nobody heard the id, others
        name no batch."""
        if (named := self.named_by(row)) is not None:
            return named
        return next((b for b in list(self.all.values()) if row.array_id in b.job_ids), None)

    def key_of(self, row: Row) -> JobKey | None:
        """The job that a row of Slurm's list is; None when it is none of this run's."""
        batch = self.batch_of(row)
        return batch.keys[row.place] if batch and row.place < len(batch.keys) else None


def _key(run: str, attempt: str) -> JobKey:
    """Of `tasks/<task>/<attempt>`. Raises ValueError."""
    _, task, number = attempt.split("/")
    return JobKey.parse(f"{run}/{task}/{number}")


def _read_ids(folder: Path) -> list[str]:
    try:
        lines = (folder / _IDS_NAME).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError):  # the last one may have been cut
            found.append(str(json.loads(line)))
    return found

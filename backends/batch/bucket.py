"""Runs in the bucket: where their objects are, and the removal of a run's jobs and objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from backends.batch.client import ENDED, BatchClient
from backends.batch.jobs import RunLocation, work_dir_objects
from core.aws.bucket import S3Bucket
from core.aws.bundles import PackName, PackUri, RunObjects, StoredObjects
from core.clock import Clock
from core.errors import BackendError

WAIT_S, LOOK_S = 60.0, 2.0
"""How long stopped jobs are waited for, and between two looks. ECS kills what has not ended 30 s
after SIGTERM."""


@dataclass(frozen=True, slots=True)
class RunBucket:
    """`prefix` is that of the names of all runs' objects, `region` the bucket's."""

    s3: S3Bucket
    prefix: str
    region: str

    def _named(self) -> S3Bucket:
        if not self.s3.name:
            message = "No bucket was named for AWS Batch."
            raise BackendError(message, "Name one with --batch-s3-bucket.")
        return self.s3

    def objects(self, location: RunLocation) -> RunObjects:
        """Raises BackendError where no bucket was named."""
        return RunObjects(self._named(), location.objects(self.prefix))

    def stored(self, location: RunLocation) -> StoredObjects:
        return self.objects(location).list(location.run)

    def uri(self, location: RunLocation, pack: PackName) -> PackUri:
        return PackUri(self.s3.name, location.objects(self.prefix), pack, self.region)

    def known_runs(self, work_dir: str) -> list[str]:
        """Ids of the runs of a work directory, by its `work_dir_hash`, that have objects there."""
        return sorted(self._named().folders(work_dir_objects(self.prefix, work_dir)))


@dataclass(frozen=True)
class RunLeftovers:
    """The jobs and objects that a run still has; `terminate` asks jobs to stop, by their ids."""

    client: BatchClient
    bucket: RunBucket
    queue: str
    terminate: Callable[[Iterable[str]], None]
    clock: Clock

    def phrases(self, location: RunLocation) -> list[str]:
        """One for each thing that `remove` would remove."""
        found = [f"job {job['jobName']} ({job['jobId']})" for job in self._unended(location)]
        if names := self.bucket.stored(location).names:
            root = self.bucket.objects(location).root
            found.append(f"{len(names)} object(s) in s3://{self.bucket.s3.name}/{root}")
        return found

    def remove(self, location: RunLocation) -> None:
        """Repeated until nothing is left: a stopped worker stores a result before it ends."""
        terminated: set[str] = set()
        deadline = self.clock.monotonic() + WAIT_S
        while True:
            unended = {str(job["jobId"]) for job in self._unended(location)}
            self.terminate(unended - terminated)
            terminated |= unended
            names = self.bucket.stored(location).names
            self.bucket.s3.delete(names)
            if not (unended or names) or self.clock.monotonic() >= deadline:
                return
            if unended:
                self.clock.sleep(LOOK_S)

    def _unended(self, location: RunLocation) -> list[dict[str, Any]]:
        jobs = self.client.list(self.queue, location.job_prefix)
        return [job for job in jobs if job["status"] not in ENDED]

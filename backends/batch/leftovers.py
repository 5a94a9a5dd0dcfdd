"""What a run has left in the queue and the bucket, and its removal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from backends.batch.bucket import RunBucket
from backends.batch.client import ENDED, BatchService
from backends.batch.jobs import RunPlace
from core.clock import Clock

WAIT_S, LOOK_S = 60.0, 2.0
"""How long jobs that were told to stop are waited for, and between two looks. ECS kills what has
not ended 30 s after SIGTERM."""


@dataclass(frozen=True)
class Remains:
    """`terminate` asks jobs to stop, by their ids."""

    service: BatchService
    bucket: RunBucket
    queue: str
    terminate: Callable[[Iterable[str]], None]
    clock: Clock

    def phrases(self, place: RunPlace) -> list[str]:
        """One for each thing that `remove` would remove."""
        found = [f"job {job['jobName']} ({job['jobId']})" for job in self._unended(place)]
        if names := self.bucket.kept(place).names:
            found.append(f"{len(names)} object(s) in {self.bucket.where(place)}")
        return found

    def remove(self, place: RunPlace) -> None:
        """Until nothing is left: a worker that is told to stop leaves a result before it ends."""
        told: set[str] = set()
        give_up_at = self.clock.monotonic() + WAIT_S
        while True:
            unended = {str(job["jobId"]) for job in self._unended(place)}
            self.terminate(unended - told)
            told |= unended
            names = self.bucket.kept(place).names
            self.bucket.remove(names)
            if not (unended or names) or self.clock.monotonic() >= give_up_at:
                return
            if unended:
                self.clock.sleep(LOOK_S)

    def _unended(self, place: RunPlace) -> list[dict[str, Any]]:
        jobs = self.service.list(self.queue, place.job_prefix)
        return [job for job in jobs if job["status"] not in ENDED]

"""A backend in virtual time: jobs take as long, and end as, a script says.

The forecast runs a plan on it before anything is paid for; tests use it to inject every failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from backends.base import Backend, BackendContext, LogChunk, PollPace
from core.clock import Clock
from core.errors import BackendError, CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Outcome, Reason, TaskResult, Usage


class Timers(Clock, Protocol):
    """A clock that can be asked to call back."""

    def call_at(self, when: float, action: Callable[[], None]) -> None: ...


@dataclass(frozen=True, slots=True)
class VirtualEnd:
    """How one job goes: queued, then running, then `status`; `outcome` None leaves no result.

    `refused` is what `submit` answers instead; a job that `ignores_cancel` goes on regardless. A
    result reports `usage`, and how often the provider `throttled` the worker.
    """

    duration_s: float = 1.0
    status: JobStatus = JobStatus(JobState.SUCCEEDED)  # noqa: RUF009 - a frozen value
    outcome: Outcome | None = Outcome.OK
    queued_s: float = 0.0
    refused: SubmitError | None = None
    ignores_cancel: bool = False
    usage: tuple[Usage, ...] = ()
    throttled: int = 0


Script = Callable[[JobKey], VirtualEnd]


class VirtualBackend(Backend):
    """Every job that came to run is in `started`, in the order in which it did."""

    name = "virtual"
    pace = PollPace(first_s=60.0, most_s=3600.0)
    grace_s = 10.0

    def __init__(self, clock: Timers, script: Script) -> None:
        self._clock = clock
        self._script = script
        self._ends: dict[JobKey, VirtualEnd] = {}
        self._statuses: dict[JobKey, JobStatus] = {}
        self.started: list[JobKey] = []

    @classmethod
    def build(cls, context: BackendContext) -> Self:
        raise BackendError("The virtual backend runs no real executors.", "Choose another one.")

    def preflight(self) -> list[Problem]:
        return []

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        return [self._accept(job.key) for job in jobs]

    def _accept(self, key: JobKey) -> JobHandle | SubmitError:
        if key not in self._ends:
            end = self._script(key)
            if end.refused is not None:
                return end.refused
            self._ends[key] = end
            self._statuses[key] = JobStatus(JobState.QUEUED)
            begin = self._clock.monotonic() + end.queued_s
            if end.queued_s:
                self._clock.call_at(begin, lambda: self._begin(key))
            else:
                self._begin(key)
            self._clock.call_at(begin + end.duration_s, lambda: self._move(key, end.status))
        return JobHandle(key, self.name, str(key))

    def _begin(self, key: JobKey) -> None:
        if not self._statuses[key].state.final:  # it may have been cancelled in the queue
            self.started.append(key)
            self._move(key, JobStatus(JobState.RUNNING))

    def _move(self, key: JobKey, status: JobStatus) -> None:
        if not self._statuses[key].state.final:
            self._statuses[key] = status
            self._wake()

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        gone = JobStatus(JobState.LOST, Reason.MISSING)
        return {handle.key: self._statuses.get(handle.key, gone) for handle in handles}

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        return {handle.key: self._fetch(handle.key) for handle in handles}

    def _fetch(self, key: JobKey) -> TaskResult | CollectError:
        end, status = self._ends.get(key), self._statuses.get(key)
        if end is None or end.outcome is None or not _leaves_result(status):
            return CollectError(f"{key} left no result.")
        return TaskResult(
            key,
            end.outcome,
            f"{end.outcome} by script",
            end.usage,
            duration_s=end.duration_s,
            throttled=end.throttled,
        )

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        return LogChunk(cursor=cursor)

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        for handle in handles:
            end = self._ends.get(handle.key)
            if end is not None and not end.ignores_cancel:
                self._move(handle.key, JobStatus(JobState.CANCELLED))

    def reattach(self, run_id: str) -> list[JobHandle]:
        return [JobHandle(k, self.name, str(k)) for k in self._ends if k.run == run_id]

    def cleanup(self, run_id: str) -> None:
        """Nothing is kept anywhere."""

    def close(self) -> None:
        """Nothing is open."""


def _leaves_result(status: JobStatus | None) -> bool:
    return status is not None and status.state.final and status.state is not JobState.CANCELLED

"""Virtual time, and a backend in it: the same scheduler runs a plan of days in a moment, for the
forecast and in tests. Time moves only when everybody waits, straight to the next thing."""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from backends.base import Backend, BackendContext, LogChunk, PollPace
from core.errors import BackendError, CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Outcome, Reason, TaskResult, Usage
from engine.scheduling.calls import Then, outcome_of


class VirtualClock:
    """A clock whose sleep takes no time. Starts at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.advance(self._now + max(0.0, seconds))

    def call_at(self, when: float, action: Callable[[], None]) -> None:
        """Run `action` when time gets to `when`."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, action))

    def next_timer(self) -> float | None:
        return self._timers[0][0] if self._timers else None

    def advance(self, when: float) -> None:
        """Go to `when`, running the timers that fall due, in order."""
        while self._timers and self._timers[0][0] <= when:
            due, _, action = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            action()
        self._now = max(self._now, when)


class VirtualCalls:
    """Calls made at once, answers handled in the next wait; waiting moves the virtual clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._inbox: deque[tuple[str, Then, Any]] = deque()
        self._woken = False

    def start(self, method: str, call: Callable[[], Any], then: Then) -> None:
        if self.busy(method):
            raise RuntimeError(f"A call of {method} is already under way.")
        self._inbox.append((method, then, outcome_of(call)))

    def busy(self, method: str) -> bool:
        return any(name == method for name, _, _ in self._inbox)

    def overdue(self, deadline_s: float) -> dict[str, float]:
        return {}

    def wait(self, timeout_s: float | None) -> None:
        if not self._inbox and not self._woken:
            self._move(timeout_s)
        self._woken = False
        for _ in range(len(self._inbox)):
            _, then, value = self._inbox.popleft()
            then(value)

    def wake(self) -> None:
        self._woken = True

    def close(self) -> None:
        self._inbox.clear()

    def _move(self, timeout_s: float | None) -> None:
        due = self._clock.next_timer()
        limit = None if timeout_s is None else self._clock.monotonic() + timeout_s
        if due is None and limit is None:
            raise RuntimeError("Nothing will ever happen: no timer and no timeout.")
        self._clock.advance(min(t for t in (due, limit) if t is not None))


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
_GONE = JobStatus(JobState.LOST, Reason.MISSING)


class VirtualBackend(Backend):
    """Jobs take as long, and end as, the script says.

    Every job that came to run is in `started`, in the order in which it did.
    """

    name = "virtual"
    pace = PollPace(first_s=60.0, most_s=3600.0)
    grace_s = 10.0

    def __init__(self, clock: VirtualClock, script: Script) -> None:
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
            self._wake(key)

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        return {handle.key: self._statuses.get(handle.key, _GONE) for handle in handles}

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        return {handle.key: self._fetch(handle.key) for handle in handles}

    def _fetch(self, key: JobKey) -> TaskResult | CollectError:
        end, status = self._ends.get(key), self._statuses.get(key, _GONE)
        ended = status.state.final and status.state is not JobState.CANCELLED
        if end is None or end.outcome is None or not ended:
            return CollectError(f"{key} left no result.")
        text = f"{end.outcome} by script"
        return TaskResult(
            key, end.outcome, text, end.usage, duration_s=end.duration_s, throttled=end.throttled
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

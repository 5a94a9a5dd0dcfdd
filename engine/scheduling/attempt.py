"""What the scheduler notes of one attempt while a backend has it: facts and times, no decisions."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from backends.base import PollPace
from core.bundle import UNLIMITED, Allowance
from core.events import JobEnded
from core.job import JobHandle, JobKey, JobState, JobStatus, Outcome, Reason, Usage
from engine.scheduling.job_end import End, IsCredible, ended
from engine.scheduling.types import Pacing


@dataclass(slots=True)
class Wait:
    """A state that goes on: since when, when a poll last confirmed it, and with which message."""

    since: float | None = None
    seen_at: float = -math.inf
    why: str = ""

    def observe(self, holds: bool, status: JobStatus, now: float) -> None:
        if not holds:
            self.since = None
            return
        self.since = now if self.since is None else self.since
        self.seen_at, self.why = now, status.message

    def is_over(self, limit_s: float) -> bool:
        """Whether a poll has found it so after `limit_s`; that time alone has passed is no news."""
        return self.since is not None and self.seen_at >= self.since + limit_s


@dataclass(frozen=True, slots=True)
class CancelReason:
    """Why a job is to be cancelled: the cause that its attempt ends with, and a message."""

    cause: Reason | Outcome
    message: str

    def end(self, found: End) -> End:
        """The end of a stopped attempt; a worker's own message about an interrupt stands."""
        is_own = found.result is not None and self.cause == Outcome.INTERRUPTED
        return End(self.cause, found.message if is_own else self.message, found.result)


@dataclass(slots=True)
class Attempt:
    """Times are the clock's monotonic seconds; None where it has not happened.

    Not knowing (UNKNOWN, or missing for a moment) neither starts nor stops a wait.
    """

    key: JobKey
    begun_at: float
    handle: JobHandle | None = None
    allowance: Allowance = UNLIMITED
    status: JobStatus = JobStatus(JobState.QUEUED)  # noqa: RUF009 - a frozen value
    queued: Wait = field(default_factory=Wait)
    stuck: Wait = field(default_factory=Wait)
    may_have_run: bool = False
    running_since: float | None = None
    unknown_since: float | None = None
    missing_since: float | None = None
    ended_at: float | None = None
    given_up: bool = False
    collect_at: float = 0.0
    cancel_reason: CancelReason | None = None
    cancel_asked_at: float | None = None
    cancelled_in_queue: bool = False
    """Whether a poll had it queued when it was asked to stop."""
    is_superseded: bool = False
    """Whether its task is another one now, or none: its end decides nothing."""
    polled_at: float = -math.inf
    alarm_at: float | None = None
    """When it is to be looked at next, whatever happens."""
    cursor: str = ""
    logs_turn: int = 0

    def hand_over(self, handle: JobHandle, now: float) -> None:
        """The backend has it: its wait in the queue begins."""
        self.handle, self.queued.since = handle, now

    @property
    def is_running(self) -> bool:
        return self.status.state is JobState.RUNNING

    @property
    def is_queued(self) -> bool:
        return self.status.state is JobState.QUEUED

    @property
    def is_stuck(self) -> bool:
        """Whether it is queued and will not start as things stand."""
        return self.is_queued and self.status.reason is Reason.UNSCHEDULABLE

    @property
    def at_work_from(self) -> float:
        """Since when its time was not spent in a queue, as far as polls could see."""
        return max(self.begun_at, self.queued.seen_at)

    @property
    def never_ran(self) -> bool:
        """Whether it was taken out of the queue before it came to run."""
        is_cancelled = self.status.state is JobState.CANCELLED
        return self.cancelled_in_queue and is_cancelled and not self.may_have_run

    @property
    def can_be_polled(self) -> bool:
        return self.handle is not None and self.ended_at is None

    @property
    def can_be_cancelled(self) -> bool:
        return self.can_be_polled and self.cancel_asked_at is None

    def explain(self, end: End) -> End:
        """The end that was `found`, as what the attempt was cancelled for if it was."""
        reason = self.cancel_reason
        was_stopped = end.result is None or end.cause == Outcome.INTERRUPTED
        return reason.end(end) if reason and was_stopped else end

    def ended(
        self,
        end: End,
        now: float,
        reported: Callable[[JobKey], Sequence[Usage]],
        is_credible: IsCredible,
    ) -> JobEnded:
        """The event of its end; `reported` and `is_credible` as job_end.ended has them."""
        return ended(
            self.key,
            self.status,
            end,
            reported=reported,
            is_credible=is_credible,
            duration_s=now - self.at_work_from,
            never_ran=self.never_ran if self.cancel_reason else None,
        )

    def observe(self, status: JobStatus, now: float, grace_s: float) -> bool:
        """Take in a poll's answer. True when it is news.

        Absent from the queue is not an end until it has been so for `grace_s`.
        """
        if status.state is JobState.LOST and status.reason is Reason.MISSING:
            self.missing_since = now if self.missing_since is None else self.missing_since
            if now < self.missing_since + grace_s:
                return False
        elif status.state is not JobState.UNKNOWN:
            self.missing_since = None
        news = status != self.status
        self._keep_times(status, now)
        self.status = status
        return news

    def _keep_times(self, status: JobStatus, now: float) -> None:
        if status.state is JobState.UNKNOWN:
            self.unknown_since = now if self.unknown_since is None else self.unknown_since
            return
        self.unknown_since = None
        queued = status.state is JobState.QUEUED
        self.queued.observe(queued, status, now)
        self.stuck.observe(queued and status.reason is Reason.UNSCHEDULABLE, status, now)
        self.may_have_run |= status.state is JobState.RUNNING
        if status.state is JobState.RUNNING and self.running_since is None:
            self.running_since = now
        elif queued:
            self.running_since = None  # requeued: its time starts anew
        elif status.state.final:
            self.ended_at = now

    def to_collect(self, now: float) -> bool:
        return self.ended_at is not None and now >= self.collect_at

    def give_up(self, why: str, now: float) -> None:
        """Wait for it no longer. What it has left by now is looked for once."""
        self.status, self.ended_at = JobStatus(JobState.LOST, message=why), now
        self.given_up = True

    def explained(self, why: str) -> JobStatus:
        """The status with why there is no result, unless the backend gave one itself."""
        return self.status if self.status.message else replace(self.status, message=why)

    def runs_over(self, now: float, pacing: Pacing) -> bool:
        end = self._time_is_up_at(pacing)
        return self.ended_at is None and end is not None and now >= end

    def _time_is_up_at(self, pacing: Pacing) -> float | None:
        # what stays unknown for long is taken to run, or its slot would be lost for ever
        since = self.unknown_since if self.running_since is None else self.running_since
        return None if since is None else since + pacing.task_timeout_s + pacing.timeout_margin_s

    def ignores_cancel(self, now: float, grace_s: float) -> bool:
        asked = self.cancel_asked_at
        return self.ended_at is None and asked is not None and now >= asked + grace_s

    def poll_times(self, pacing: Pacing, grace_s: float) -> Iterator[float]:
        """When a poll decides something about this attempt."""
        if not self.can_be_polled:
            return
        for since, limit_s in (
            (self.missing_since, grace_s),
            (self.stuck.since, pacing.unschedulable_s),
            (self.queued.since, pacing.queue_timeout_s),
        ):
            if since is not None:
                yield since + limit_s

    def due_times(self, pacing: Pacing, grace_s: float) -> Iterator[float]:
        """When something has to be done about this attempt even if nothing is heard."""
        if self.ended_at is not None:
            yield self.collect_at
        elif self.cancel_asked_at is not None:
            yield self.cancel_asked_at + pacing.cancel_grace_s
        elif (when := self._time_is_up_at(pacing)) is not None:
            yield when
        yield from self.poll_times(pacing, grace_s)


@dataclass(slots=True)
class PollTimer:
    """When, in monotonic seconds, to ask a backend for news: when it has some, or at its pace."""

    pace: PollPace
    news: bool = True
    at: float = 0.0
    delay_s: float = 0.0

    def due(self, now: float) -> bool:
        return self.news or now >= self.at

    def soon(self, now: float) -> None:
        """Something has begun that may show soon."""
        self.delay_s = self.pace.first_s
        self.at = min(self.at, now + self.delay_s)

    def answered(self, now: float, changed: bool) -> None:
        """A poll came back: after a change the next one is soon, otherwise later each time."""
        longer_s = max(self.pace.first_s, min(self.pace.most_s, self.delay_s * 2))
        self.delay_s = self.pace.first_s if changed else longer_s
        self.at = now + self.delay_s

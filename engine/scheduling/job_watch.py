"""JobWatch: the jobs that the backend has, asked about in batches: polled, collected, cancelled.
Facts alone (engine.scheduling.attempt); what an end means for the task, the scheduler decides."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import CollectError
from core.events import JobStateChanged, QueueWait, QueueWaits
from core.job import JobHandle, JobKey, JobState, JobStatus, TaskResult
from engine.scheduling.alarms import Alarms
from engine.scheduling.attempt import Attempt, PollTimer
from engine.scheduling.context import SchedulerContext
from engine.scheduling.job_end import End, end_of
from engine.scheduling.timeouts import INTERRUPTED, OVER_TIME, SUPERSEDED, why_leave_queue
from engine.scheduling.types import Stop

NEWS_S = 60.0
"""Between two pieces of news of the queue; some queues give each job its place."""


class QueueReport:
    """What queued jobs wait for, for all of them together: a cluster may hold hundreds.

    News is a reason that was not among those reported last. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._reported: frozenset[tuple[str, bool]] = frozenset()
        self._after = 0.0

    def news(self, attempts: Iterable[Attempt], now: float) -> QueueWaits | None:
        """Once a poll has been answered."""
        queued = [(a.status.message, a.is_stuck) for a in attempts if a.is_queued]
        waits = Counter((why, stuck) for why, stuck in queued if why or stuck)
        if now < self._after or waits.keys() <= self._reported:
            return None
        self._reported, self._after = frozenset(waits), now + NEWS_S
        found = (QueueWait(why, jobs, stuck) for (why, stuck), jobs in waits.most_common())
        return QueueWaits(tuple(found))


@dataclass(frozen=True, slots=True)
class _Order:
    """What the scheduler wants of all jobs."""

    stop: Stop | None = None
    stopped_at: float = 0.0
    interrupted: bool = False


class JobWatch:
    """`settle` is the scheduler's: it decides what the end of an attempt means.

    A round looks at the attempts of which there is news or for which something is due, and at no
    others: there may be many.
    """

    def __init__(
        self, context: SchedulerContext, destination: Path, settle: Callable[[Attempt, End], None]
    ) -> None:
        self._context = context
        self._destination = destination
        self._settle = settle
        self._queue_report = QueueReport()
        self._cancel_after = 0.0
        self.active: dict[JobKey, Attempt] = {}
        self.abandoned: list[JobHandle] = []
        """Jobs to cancel that no attempt waits for: of earlier sessions, or given up as lost."""
        self.polls = PollTimer(context.backend.pace)
        self._woken: deque[JobKey] = deque()
        """What the backend has news of, as it says so, from any thread."""
        self._to_poll: dict[JobKey, Attempt] = {}
        self._to_review: dict[JobKey, Attempt] = {}
        self._ended: dict[JobKey, Attempt] = {}
        self._unwanted: dict[JobKey, Attempt] = {}
        self._alarms = Alarms()
        self._order = _Order()

    def changed(self, *keys: JobKey) -> None:
        """A poll would find changes, of these jobs or of any. From any thread."""
        if keys:
            self._woken.extend(keys)
        else:
            self.polls.news = True
        self._context.calls.wake()

    def handed_over(self, attempt: Attempt, handle: JobHandle) -> None:
        attempt.hand_over(handle, self._context.now())
        self._file(attempt)

    def supersede(self, attempt: Attempt) -> None:
        """Its task is another one now: stop it."""
        attempt.is_superseded = True
        self._to_review[attempt.key] = attempt

    def end(self, attempt: Attempt, end: End) -> None:
        """It is over, with what it was cancelled for as the cause."""
        del self.active[attempt.key]
        if attempt.status.state is JobState.LOST and attempt.handle is not None:
            # it may be there after all, and spend money unseen
            self.abandoned.append(attempt.handle)
        self._settle(attempt, attempt.explain(end))

    def adopt(self, handle: JobHandle) -> Attempt:
        """A job of an earlier session goes on."""
        now = self._context.now()
        attempt = self.active[handle.key] = Attempt(handle.key, now, may_have_run=True)
        self.handed_over(attempt, handle)
        return attempt

    # -- polling

    def poll(self) -> None:
        context, now = self._context, self._context.now()
        is_full = self.polls.due(now)
        asked = self._askable(is_full)
        if not asked or context.calls.busy("poll"):
            return
        if is_full:
            self.polls.news = False
        for attempt in asked:
            attempt.polled_at = now
            self._to_poll.pop(attempt.key, None)
        call = partial(context.backend.poll, [a.handle for a in asked if a.handle])
        context.call("poll", call, partial(self._polled, asked, is_full))

    def _askable(self, is_full: bool) -> list[Attempt]:
        """Whom to ask about: all, or only those of which there is news."""
        while self._woken:
            key = self._woken.popleft()
            if attempt := self.active.get(key):
                self._to_poll[key] = attempt
        for key, attempt in list(self._to_poll.items()):
            if attempt.ended_at is not None or key not in self.active:
                del self._to_poll[key]
        asked = self.active if is_full else self._to_poll
        return [attempt for attempt in asked.values() if attempt.can_be_polled]

    def _polled(self, asked: list[Attempt], is_full: bool, answer: Any) -> None:
        context = self._context
        changed, failed = False, context.health.failed("poll", answer)
        if not failed:
            unknown = JobStatus(JobState.UNKNOWN)
            for attempt in asked:
                if attempt.key in self.active:
                    changed |= self._observe(attempt, answer.get(attempt.key, unknown))
        if is_full or failed:
            self.polls.answered(context.now(), changed)
        is_queue = any(attempt.is_queued for attempt in asked)
        if is_queue and (news := self._queue_report.news(self.active.values(), context.now())):
            context.emit(news)

    def _observe(self, attempt: Attempt, status: JobStatus) -> bool:
        context, before = self._context, attempt.status.state
        self._to_review[attempt.key] = attempt
        if not attempt.observe(status, context.now(), context.backend.grace_s):
            return False
        context.emit(JobStateChanged(status.state, status.reason, status.message), attempt.key)
        return status.state is not before  # a queue's new message is no reason to ask more often

    # -- collecting

    def collect(self) -> None:
        context = self._context
        if context.calls.busy("collect"):
            return
        ended = [a for a in self._ended.values() if a.to_collect(context.now())]
        handles = [a.handle for a in ended if a.handle]
        if handles:
            call = partial(context.backend.collect, handles, self._destination)
            context.call("collect", call, partial(self._collected, ended))

    def _collected(self, ended: list[Attempt], answer: Any) -> None:
        context = self._context
        again_at = context.now() + context.pacing.recollect_s
        failed = context.health.failed("collect", answer)
        for attempt in ended:
            found = None if failed else answer.get(attempt.key)
            if not isinstance(found, TaskResult) and (
                failed or self._may_still_come(attempt, found)
            ):
                attempt.collect_at = again_at
                self._file(attempt)
                continue
            del self._ended[attempt.key]
            result = found if isinstance(found, TaskResult) else None
            self.end(attempt, end_of(attempt.status, result))

    def _may_still_come(self, attempt: Attempt, found: CollectError | None) -> bool:
        if found is not None:
            attempt.status = attempt.explained(str(found))
        if attempt.given_up:
            return False
        waited = self._context.now() - (attempt.ended_at or 0.0)
        return (found is None or found.retryable) and waited < self._context.backend.grace_s

    # -- reviewing

    def review(self, stop: Stop | None, stopped_at: float, *, interrupted: bool) -> None:
        """Find what is to stop, ask the backend for it, and give up what does not."""
        now, order = self._context.now(), _Order(stop, stopped_at, interrupted)
        found = self._to_review | self._alarms.due(now)
        if order != self._order:
            self._order, found = order, dict(self.active)
        self._to_review = {}
        for key, attempt in found.items():
            if self.active.get(key) is attempt:
                self._judge(attempt, now)
                self._file(attempt)
        self._ask_to_stop(now)

    def _judge(self, attempt: Attempt, now: float) -> None:
        context, order = self._context, self._order
        if order.interrupted:
            attempt.cancel_reason = attempt.cancel_reason or INTERRUPTED
        elif attempt.is_superseded:
            attempt.cancel_reason = SUPERSEDED
        elif attempt.runs_over(now, context.pacing):
            attempt.cancel_reason = OVER_TIME
        elif attempt.can_be_cancelled and context.calls.busy("cancel"):
            self._to_review[attempt.key] = attempt
        elif attempt.can_be_cancelled:
            # each time anew: what could not be cancelled yet may have started
            attempt.cancel_reason = why_leave_queue(
                attempt, now, context.pacing, order.stop, order.stopped_at
            )
        if attempt.ignores_cancel(now, context.pacing.cancel_grace_s):
            attempt.give_up("it did not stop when asked to", now)

    def _file(self, attempt: Attempt) -> None:
        """Keep it where what it needs next is looked for."""
        context, now, key = self._context, self._context.now(), attempt.key
        if attempt.ended_at is not None:
            self._ended[key] = attempt
        if attempt.cancel_reason and attempt.can_be_cancelled:
            self._unwanted[key] = attempt
        else:
            self._unwanted.pop(key, None)
        grace_s = context.backend.grace_s
        decided = attempt.poll_times(context.pacing, grace_s)
        if any(attempt.polled_at < when <= now for when in decided):
            self._to_poll[key] = attempt
        due = (when for when in attempt.due_times(context.pacing, grace_s) if when > now)
        self._alarms.set(attempt, min(due, default=None))

    def _ask_to_stop(self, now: float) -> None:
        context, unwanted = self._context, list(self._unwanted.values())
        handles = [a.handle for a in unwanted if a.handle] + self.abandoned
        if not handles:
            context.health.forget("cancel")
        elif now >= self._cancel_after and not context.calls.busy("cancel"):
            for attempt in unwanted:
                was_seen = attempt.queued.seen_at >= attempt.begun_at
                attempt.cancelled_in_queue = was_seen and attempt.is_queued
            then = partial(self._cancelled, unwanted, len(self.abandoned))
            context.call("cancel", partial(context.backend.cancel, handles), then)

    def _cancelled(self, asked: list[Attempt], abandoned: int, answer: Any) -> None:
        context, now = self._context, self._context.now()
        if context.health.failed("cancel", answer):
            self._cancel_after = now + context.backend.pace.first_s
            return
        del self.abandoned[:abandoned]  # those that came meanwhile were not in the call
        for attempt in asked:
            attempt.cancel_asked_at = now
            if self.active.get(attempt.key) is attempt:  # it may have ended meanwhile
                self._file(attempt)
        self.polls.soon(now)

    # -- time

    @property
    def has_news(self) -> bool:
        """Whether a poll would be made now."""
        context = self._context
        is_full = self.polls.due(context.now())
        return not context.calls.busy("poll") and bool(self._askable(is_full))

    def due_times(self) -> Iterator[float]:
        """When something has to be done even if nothing is heard."""
        yield self._cancel_after
        yield self.polls.at
        if (when := self._alarms.next_at()) is not None:
            yield when

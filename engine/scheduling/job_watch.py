"""JobWatch: the jobs that the backend has, asked about in batches: polled, collected, cancelled.
Facts alone (engine.scheduling.attempt); what an end means for the task, the scheduler decides."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from core.errors import CollectError
from core.events import JobStateChanged, QueueWait, QueueWaits
from core.job import JobHandle, JobKey, JobState, JobStatus, TaskResult
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


class JobWatch:
    """`settle` is the scheduler's: it decides what the end of an attempt means."""

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

    def end(self, attempt: Attempt, end: End) -> None:
        """It is over, with what it was cancelled for as the cause."""
        del self.active[attempt.key]
        if attempt.status.state is JobState.LOST and attempt.handle is not None:
            # it may be there after all, and spend money unseen
            self.abandoned.append(attempt.handle)
        self._settle(attempt, attempt.explain(end))

    def adopt(self, handle: JobHandle) -> None:
        """A job of an earlier session goes on."""
        now = self._context.now()
        attempt = self.active[handle.key] = Attempt(handle.key, now, may_have_run=True)
        attempt.hand_over(handle, now)

    def wake(self) -> None:
        """The backend has news; from any thread."""
        self.polls.news = True
        self._context.calls.wake()

    # -- polling

    def poll(self) -> None:
        context = self._context
        if context.calls.busy("poll") or not self.polls.due(context.now()):
            return
        asked = [a for a in self.active.values() if a.can_be_polled]
        if asked:
            self.polls.news = False
            call = partial(context.backend.poll, [a.handle for a in asked if a.handle])
            context.call("poll", call, partial(self._polled, asked))

    def _polled(self, asked: list[Attempt], answer: Any) -> None:
        context = self._context
        changed = False
        if not context.health.failed("poll", answer):
            unknown = JobStatus(JobState.UNKNOWN)
            for attempt in asked:
                if attempt.key in self.active:
                    changed |= self._observe(attempt, answer.get(attempt.key, unknown))
        self.polls.answered(context.now(), changed)
        if news := self._queue_report.news(self.active.values(), context.now()):
            context.emit(news)

    def _observe(self, attempt: Attempt, status: JobStatus) -> bool:
        context, before = self._context, attempt.status.state
        if not attempt.observe(status, context.now(), context.backend.grace_s):
            return False
        context.emit(JobStateChanged(status.state, status.reason, status.message), attempt.key)
        return status.state is not before  # a queue's new message is no reason to ask more often

    # -- collecting

    def collect(self) -> None:
        context = self._context
        if context.calls.busy("collect"):
            return
        ended = [a for a in self.active.values() if a.to_collect(context.now())]
        handles = [a.handle for a in ended if a.handle]
        if handles:
            call = partial(context.backend.collect, handles, self._destination)
            context.call("collect", call, partial(self._collected, ended))

    def _collected(self, ended: list[Attempt], answer: Any) -> None:
        context = self._context
        again_at = context.now() + context.pacing.recollect_s
        failed = context.health.failed("collect", answer)
        for attempt in ended:
            if attempt.key not in self.active:
                continue
            found = None if failed else answer.get(attempt.key)
            if isinstance(found, TaskResult):
                self.end(attempt, end_of(attempt.status, found))
            elif failed or self._may_still_come(attempt, found):
                attempt.collect_at = again_at
            else:
                self.end(attempt, end_of(attempt.status, None))

    def _may_still_come(self, attempt: Attempt, found: CollectError | None) -> bool:
        if found is not None:
            attempt.status = attempt.explained(str(found))
        if attempt.given_up:
            return False
        waited = self._context.now() - (attempt.ended_at or 0.0)
        return (found is None or found.retryable) and waited < self._context.backend.grace_s

    # -- cancelling

    def cancel(self, stop: Stop | None, stopped_at: float, *, interrupted: bool) -> None:
        """Find what is to stop, ask the backend for it, and give up what does not."""
        context, now = self._context, self._context.now()
        for attempt in list(self.active.values()):
            if interrupted:
                attempt.cancel_reason = attempt.cancel_reason or INTERRUPTED
            elif attempt.is_superseded:
                attempt.cancel_reason = SUPERSEDED
            elif attempt.runs_over(now, context.pacing):
                attempt.cancel_reason = OVER_TIME
            elif attempt.can_be_cancelled and not context.calls.busy("cancel"):
                # each time anew: what could not be cancelled yet may have started
                why = why_leave_queue(attempt, now, context.pacing, stop, stopped_at)
                attempt.cancel_reason = why
            for when in attempt.poll_times(context.pacing, context.backend.grace_s):
                self.polls.no_later(when, now)
            if attempt.ignores_cancel(now, context.pacing.cancel_grace_s):
                attempt.give_up("it did not stop when asked to", now)
        self._ask_to_stop(now)

    def _ask_to_stop(self, now: float) -> None:
        context = self._context
        unwanted = [a for a in self.active.values() if a.cancel_reason and a.can_be_cancelled]
        handles = [a.handle for a in unwanted if a.handle] + self.abandoned
        if not handles:
            context.health.forget("cancel")
        elif now >= self._cancel_after and not context.calls.busy("cancel"):
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
        self.polls.soon(now)

    # -- time

    @property
    def has_news(self) -> bool:
        """Whether a poll would be made now."""
        context = self._context
        may_poll = self.polls.due(context.now()) and not context.calls.busy("poll")
        return may_poll and any(a.can_be_polled for a in self.active.values())

    def due_times(self) -> Iterator[float]:
        """When something has to be done even if nothing is heard."""
        yield self._cancel_after
        for attempt in self.active.values():
            yield from attempt.due_times(self._context.pacing, self._context.backend.grace_s)
        yield self.polls.at

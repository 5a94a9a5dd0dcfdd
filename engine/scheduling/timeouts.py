"""Timeouts: which jobs nobody waits for any longer, and asking the backend to stop them.

A running job has its time limit. A queued one is given up by what a poll says at its deadline or
later, so that none is cancelled that has started meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from core.job import JobState, JobStatus, Outcome, Reason
from engine.scheduling.attempt import Attempt, Unwanted
from engine.scheduling.retry_policy import describe
from engine.scheduling.shared_state import Desk
from engine.scheduling.types import StopCause
from engine.views.format import clean, duration

HOPELESS = frozenset({StopCause.AUTH, StopCause.BILLING, StopCause.OUTDATED})
"""After these a job that starts can only fail; after BUDGET it has what was reserved for it."""

_INTERRUPTED = Unwanted(Outcome.INTERRUPTED, "It was stopped when the run was interrupted.")
_OVER_TIME = Unwanted(Reason.TIMEOUT, describe(JobStatus(JobState.CANCELLED), Reason.TIMEOUT))
_HOPELESS = Unwanted(
    Outcome.INTERRUPTED, "It was taken out of the queue when the run stopped.", queued=True
)
_REASON_CHARS = 70


class Timeouts:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._cancel_after = 0.0

    def look(self) -> None:
        """Once a round."""
        desk, now = self._desk, self._desk.now()
        for attempt in list(desk.active.values()):
            self._judge(attempt, now)
            for when in attempt.poll_times(desk.pacing, desk.backend.grace_s):
                desk.polls.no_later(when, now)
            if attempt.ignores_cancel(now, desk.pacing.cancel_grace_s):
                attempt.give_up("it did not stop when asked to", now)
        self._cancel(now)

    def due_times(self) -> Iterator[float]:
        """When something has to be done even if nothing is heard."""
        desk = self._desk
        yield self._cancel_after
        for attempt in desk.active.values():
            yield from attempt.due_times(desk.pacing, desk.backend.grace_s)

    def _judge(self, attempt: Attempt, now: float) -> None:
        desk = self._desk
        if desk.interrupted:
            attempt.unwanted = attempt.unwanted or _INTERRUPTED
        elif attempt.runs_over(now, desk.pacing):
            attempt.unwanted = _OVER_TIME
        elif attempt.can_be_cancelled and not desk.calls.busy("cancel"):
            # each time anew: what could not be cancelled yet may have started
            attempt.unwanted = self._why_leave_queue(attempt, now)

    def _why_leave_queue(self, attempt: Attempt, now: float) -> Unwanted | None:
        desk, pacing = self._desk, self._desk.pacing
        queued, stuck = attempt.queued, attempt.stuck
        hopeless = desk.stop is not None and desk.stop.cause in HOPELESS
        if hopeless and queued.since is not None and queued.seen_at >= desk.stopped_at:
            return _HOPELESS
        if stuck.since is not None and (
            stuck.is_over(pacing.unschedulable_s) or queued.is_over(pacing.queue_timeout_s)
        ):
            why = _why_stuck(stuck.why, now - stuck.since)
        elif queued.since is not None and queued.is_over(pacing.queue_timeout_s):
            why = _why_late(queued.why, now - queued.since)
        else:
            return None
        return Unwanted(Reason.UNSCHEDULABLE, why, queued=True)

    def _cancel(self, now: float) -> None:
        desk = self._desk
        unwanted = [a for a in desk.active.values() if a.unwanted and a.can_be_cancelled]
        handles = [a.handle for a in unwanted if a.handle] + desk.strays
        if not handles:
            desk.health.forget("cancel")
        elif now >= self._cancel_after and not desk.calls.busy("cancel"):
            call = partial(desk.backend.cancel, handles)
            then = partial(self._cancelled, unwanted, len(desk.strays))
            desk.calls.start("cancel", call, then)

    def _cancelled(self, asked: list[Attempt], strays: int, answer: Any) -> None:
        desk = self._desk
        now = desk.now()
        if desk.health.failed("cancel", answer):
            self._cancel_after = now + desk.backend.pace.first_s
            return
        del desk.strays[:strays]  # those that came meanwhile have not been told
        for attempt in asked:
            attempt.cancel_asked_at = now
        desk.polls.soon(now)


def _why_stuck(reason: str, waited_s: float) -> str:
    return (
        f"It could not be started for {duration(waited_s)}: {_reason(reason)}. Correct the"
        " backend's options, or have the queue mended, then resume the run."
    )


def _why_late(reason: str, waited_s: float) -> str:
    return (
        f"It was still queued after {duration(waited_s)}, as the queue was busy:"
        f" {_reason(reason)}. Give it longer with --queue-timeout, then resume the run."
    )


def _reason(message: str) -> str:
    return clean(message, _REASON_CHARS).rstrip(".") or "the backend gave no reason"

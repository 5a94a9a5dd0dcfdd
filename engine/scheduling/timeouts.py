"""Timeouts: which jobs are to be cancelled, and why. A queued one is given up by what a poll says
at its deadline or later, so that none is cancelled that has started meanwhile. Pure."""

from core.job import JobState, JobStatus, Outcome, Reason
from engine.scheduling.attempt import Attempt, CancelReason
from engine.scheduling.job_end import describe
from engine.scheduling.types import Pacing, Stop, StopCause
from engine.views.format import clean, duration

HOPELESS = frozenset({StopCause.AUTH, StopCause.BILLING, StopCause.OUTDATED, StopCause.LAUNCH})
"""After these a job that starts can only fail; after BUDGET it has what was reserved for it."""

INTERRUPTED = CancelReason(Outcome.INTERRUPTED, "It was stopped when the run was interrupted.")
SUPERSEDED = CancelReason(Outcome.INTERRUPTED, "It was stopped since the plan was corrected.")
OVER_TIME = CancelReason(Reason.TIMEOUT, describe(JobStatus(JobState.CANCELLED), Reason.TIMEOUT))


def why_leave_queue(
    attempt: Attempt, now: float, pacing: Pacing, stop: Stop | None, stopped_at: float
) -> CancelReason | None:
    """Why a queued job is to wait no longer; None while it may. Times in monotonic seconds."""
    queued, stuck = attempt.queued, attempt.stuck
    hopeless = stop is not None and stop.cause in HOPELESS
    if hopeless and queued.since is not None and queued.seen_at >= stopped_at:
        message = "It was taken out of the queue when the run stopped."
        return CancelReason(Outcome.INTERRUPTED, message)
    if stuck.since is not None and (
        stuck.is_over(pacing.unschedulable_s) or queued.is_over(pacing.queue_timeout_s)
    ):
        message = (
            f"It could not be started for {duration(now - stuck.since)}: {_reason(stuck.why)}."
            " Correct the backend's options or the queue, then resume the run."
        )
    elif queued.since is not None and queued.is_over(pacing.queue_timeout_s):
        message = (
            f"It was still queued after {duration(now - queued.since)}, as the queue was busy:"
            f" {_reason(queued.why)}. {pacing.queue_remedy}"
        )
    else:
        return None
    return CancelReason(Reason.UNSCHEDULABLE, message)


def _reason(message: str) -> str:
    return clean(message, 70).rstrip(".") or "the backend gave no reason"

"""How a job ends: the one rule by which its result, or the lack of one, becomes an event.

The scheduler applies it, and so does the clean-up of runs that no scheduler works on.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.events import JobEnded
from core.job import JobKey, JobState, JobStatus, Outcome, Reason, TaskResult, Usage

NEVER_STARTED = frozenset({Reason.LAUNCH, Reason.UNSCHEDULABLE, Reason.OUTDATED})
"""Ends of attempts that have used nothing; what others used is unknown without a report."""

IsCredible = Callable[[JobKey, Sequence[Usage]], bool]
"""Whether a job without a result may have used that: Budget.is_credible."""

_REASON_OF = {JobState.LOST: Reason.MISSING, JobState.CANCELLED: Reason.PREEMPTED}

_TEXTS = {
    Reason.EXIT: "The worker ended without a result",
    Reason.OOM: "The worker ran out of memory",
    Reason.TIMEOUT: "The worker ran into its time limit",
    Reason.PREEMPTED: "The job was stopped by somebody else",
    Reason.NODE_LOST: "The node that ran the job failed",
    Reason.LAUNCH: "The job could not be started",
    Reason.UNSCHEDULABLE: "The job can never be started as it is",
    Reason.MISSING: "The job is gone and left no result",
    Reason.OUTDATED: "The worker is of another version of this program",
}


@dataclass(frozen=True, slots=True)
class End:
    """What became of one attempt: its cause (an Outcome or a Reason), and words for people."""

    cause: str
    message: str
    result: TaskResult | None = None

    @property
    def ok(self) -> bool:
        return self.cause == Outcome.OK


def end_of(status: JobStatus, result: TaskResult | None) -> End:
    """The result is the truth; the backend's status explains its absence."""
    if result is not None:
        return End(result.outcome, result.message or result.outcome.lower(), result)
    reason = status.reason or _REASON_OF.get(status.state, Reason.EXIT)
    return End(reason, describe(status, reason))


def describe(status: JobStatus, reason: Reason) -> str:
    """One sentence for people."""
    if reason is Reason.EXIT and status.message and status.exit_code:  # the cause first
        return f"{status.message.rstrip('.')}; exit code {status.exit_code}."
    code = f" (exit code {status.exit_code})" if status.exit_code is not None else ""
    detail = f": {status.message}" if status.message else ""
    return f"{_TEXTS[reason]}{code}{detail}".rstrip(".") + "."


def ended(
    key: JobKey,
    status: JobStatus,
    end: End,
    *,
    reported: Callable[[JobKey], Sequence[Usage]],
    is_credible: IsCredible,
    duration_s: float,
    never_ran: bool | None = None,
) -> JobEnded:
    """The event of a job's end.

    A job without a result has used what it `reported`, where that `is_credible`; what is not
    counts as no report. `never_ran`, where it is known otherwise than by the cause.
    """
    usage = tuple(end.result.usage if end.result else reported(key))
    if end.result is None and not is_credible(key, usage):
        usage = ()
    never_ran = end.cause in NEVER_STARTED if never_ran is None else never_ran
    return JobEnded(
        cause=str(end.cause),
        state=status.state,
        message=end.message,
        usage=usage,
        files=len(end.result.manifest.entries) if end.result else 0,
        duration_s=round(duration_s, 3) if math.isfinite(duration_s) else 0.0,
        unaccounted=not (end.result or usage or never_ran),
    )

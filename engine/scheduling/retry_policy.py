"""Whether and when a task is tried again, by what became of its attempt. Pure but for the dice."""

from __future__ import annotations

import random
from dataclasses import dataclass

from core.job import JobState, JobStatus, Outcome, Reason, TaskResult


@dataclass(frozen=True, slots=True)
class Rule:
    """`tries` is the most attempts worth making, None for what the user allows; `base_s` doubles
    with each try up to `most_s`; `stops_run` ends all launches."""

    tries: int | None = None
    base_s: float = 1.0
    most_s: float = 60.0
    stops_run: bool = False


RULES: dict[str, Rule] = {
    Outcome.DEFECT: Rule(base_s=0.5),
    Outcome.REFUSED: Rule(tries=2, base_s=0.5),  # a refusal is mostly meant
    Outcome.RATE_LIMITED: Rule(base_s=15, most_s=300),
    Outcome.INTERRUPTED: Rule(base_s=1),
    Outcome.AUTH: Rule(tries=1, stops_run=True),
    Outcome.BILLING: Rule(tries=1, stops_run=True),
    Outcome.BUDGET: Rule(tries=1, stops_run=True),
    Reason.EXIT: Rule(base_s=2),
    Reason.OOM: Rule(tries=2, base_s=2),  # the same memory will rarely do the second time
    Reason.TIMEOUT: Rule(tries=2, base_s=1),
    Reason.PREEMPTED: Rule(base_s=5, most_s=300),
    Reason.NODE_LOST: Rule(base_s=5, most_s=300),
    Reason.LAUNCH: Rule(base_s=5, most_s=120),
    Reason.UNSCHEDULABLE: Rule(tries=1),
    Reason.MISSING: Rule(base_s=5, most_s=120),
    Reason.OUTDATED: Rule(tries=1, stops_run=True),  # as will be all other workers
}
NEVER_STARTED = frozenset({Reason.LAUNCH, Reason.UNSCHEDULABLE, Reason.OUTDATED})
"""Ends of attempts that have used nothing; of others without a word, nobody may know."""


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


_REASON_OF = {JobState.LOST: Reason.MISSING, JobState.CANCELLED: Reason.PREEMPTED}

_WORDS = {
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


def describe(status: JobStatus, reason: Reason) -> str:
    """One sentence for people."""
    code = f" (exit code {status.exit_code})" if status.exit_code is not None else ""
    detail = f": {status.message}" if status.message else ""
    return f"{_WORDS[reason]}{code}{detail}".rstrip(".") + "."


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Try again after `delay_s`, or not at all when it is None."""

    delay_s: float | None
    stops_run: bool = False


class RetryPolicy:
    """At most `max_attempts` a task, with exponential back-off and equal jitter.

    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """

    def __init__(self, max_attempts: int, dice: random.Random) -> None:
        self._max_attempts = max_attempts
        self._dice = dice

    def judge(self, cause: str, tries: int) -> RetryDecision:
        """After `tries` attempts, the last of which ended for `cause`.

        0 when that one was an earlier session's, which does not count.
        """
        rule = RULES[cause]
        allowed = self._max_attempts if rule.tries is None else min(rule.tries, self._max_attempts)
        if rule.stops_run or tries >= allowed:
            return RetryDecision(None, rule.stops_run)
        doublings = min(max(tries - 1, 0), 32)  # more would overflow, and `most_s` is long reached
        ceiling = min(rule.most_s, rule.base_s * 2**doublings)
        return RetryDecision(ceiling * (0.5 + self._dice.random() / 2))

"""Whether and when a task is tried again, by what became of its attempt. Pure but for jitter."""

import random
from dataclasses import dataclass

from core.job import Outcome, Reason


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


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Try again after `delay_s`, or not at all when it is None."""

    delay_s: float | None
    stops_run: bool = False


class RetryPolicy:
    """At most `max_attempts` a task, with exponential back-off and equal jitter.

    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """

    def __init__(self, max_attempts: int, jitter: random.Random) -> None:
        self._max_attempts = max_attempts
        self._jitter = jitter

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
        return RetryDecision(ceiling * (0.5 + self._jitter.random() / 2))

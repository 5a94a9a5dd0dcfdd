"""When to ask again after a transient failure: a pure rule, with no clock and no loop in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.errors import BillingRefused, ModelUnavailable, Overloaded, RateLimited

# A server that asks for more than this has a quota to refill: better a stopped, resumable run.
LONGEST_RETRY_AFTER_S = 600.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delay before retry n (from 0) is drawn from 0 to min(most_s, first_s * 2**n) seconds."""

    first_s: float = 1.0
    most_s: float = 60.0

    def most(self, retry: int) -> float:
        """The longest delay before retry number `retry` (from 0)."""
        return min(self.most_s, self.first_s * 2.0 ** min(retry, 60))

    def scaled(self, speed: float) -> Backoff:
        """The same in a world that runs `speed` times faster; 0 stands for no waiting at all."""
        return Backoff(self.first_s / speed, self.most_s / speed) if speed else Backoff(0.0, 0.0)


def used_up(error: RateLimited | Overloaded) -> BillingRefused | None:
    """What a refusal is that asks for longer than a run waits: the end of it for now, since all
    requests would wait for that. A rate limit that does is a quota that is used up."""
    asked_s = error.retry_after_s or 0.0
    if asked_s <= LONGEST_RETRY_AFTER_S:
        return None
    limits = ", or raise the account's limits" if isinstance(error, RateLimited) else ""
    return BillingRefused(
        f"{error.message} It asks to wait {asked_s / 60:.0f} minutes, longer than a run waits.",
        f"Go on with resume after that time{limits}.",
    )


def retry_delay_s(
    error: Exception, retry: int, random: Callable[[], float], backoff: Backoff | None = None
) -> float | None:
    """Seconds to wait before retry number `retry` (from 0); None when asking again is no use.

    Full jitter (https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter),
    on top of what the server asked for, so that not all who waited come back at once. `random`
    draws from [0, 1).
    """
    if not isinstance(error, ModelUnavailable):
        return None
    backoff = backoff or Backoff()
    jitter_s = random() * backoff.most(retry)
    if error.retry_after_s is None:
        return jitter_s
    if error.retry_after_s > LONGEST_RETRY_AFTER_S:
        return None
    return max(0.0, error.retry_after_s) + min(jitter_s, backoff.first_s)

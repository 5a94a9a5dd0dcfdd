"""When to try again after a transient failure: pure rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.errors import BillingRefused, ModelUnavailable, Overloaded, RateLimited

# A longer wait means a quota that has to refill: better a stopped, resumable run.
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
        """The same in a simulation that runs `speed` times faster; 0 means no waiting."""
        return Backoff(self.first_s / speed, self.most_s / speed) if speed else Backoff(0.0, 0.0)


def quota_error(error: RateLimited | Overloaded) -> BillingRefused | None:
    """BillingRefused for a refusal that asks for a longer wait than a run makes, since it holds for
    all requests: a quota is used up. None for others."""
    asked_s = error.retry_after_s or 0.0
    if asked_s <= LONGEST_RETRY_AFTER_S:
        return None
    limits = ", or raise the account's limits" if isinstance(error, RateLimited) else ""
    return BillingRefused(
        f"{error.message} It asks for a wait of {asked_s / 60:.0f} minutes, longer than a run"
        " waits.",
        f"Continue with resume after that time{limits}.",
    )


def retry_delay_s(
    error: Exception, retry: int, random: Callable[[], float], backoff: Backoff | None = None
) -> float | None:
    """Seconds to wait before retry number `retry` (from 0); None when another try cannot help.

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

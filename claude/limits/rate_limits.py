"""The rate limits that a provider reports in its headers, each followed as a token bucket.

Pure. https://platform.claude.com/docs/en/api/rate-limits: a limit refills continuously, and the
headers say how much of it is left and when it will be full. Bedrock has no such headers.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from core.job import Usage

REQUESTS = "requests"
# Headers are named anthropic-ratelimit-<kind>-limit, -remaining and -reset.
KINDS = (REQUESTS, "tokens", "input-tokens", "output-tokens")
_PERIOD_S = 60.0  # limits are a minute's
# A reported limit holds requests back no longer than this: then one of them finds out.
LONGEST_HOLD_S = 60.0
# `reset` has whole seconds: a rate computed from little use of the limit would be mostly rounding.
_SIGNIFICANT_SHARE = 0.25
_CLOCKS_AGREE_S = 5.0


@dataclass(frozen=True, slots=True)
class ReportedLimits:
    """One limit from a response's headers; it is full again in `reset_s` seconds."""

    limit: float
    remaining: float
    reset_s: float


def read_limits(headers: Mapping[str, str], now: float) -> dict[str, ReportedLimits]:
    """The limits in `headers`, by kind; what cannot be read is left out. `now` is Unix time."""
    found: dict[str, ReportedLimits] = {}
    for kind in KINDS:
        prefix = f"anthropic-ratelimit-{kind}"
        try:
            limit = float(headers[f"{prefix}-limit"])
            remaining = float(headers[f"{prefix}-remaining"])
            reset = datetime.fromisoformat(headers[f"{prefix}-reset"]).timestamp()
        except (KeyError, ValueError, OverflowError):
            continue
        if 0 <= remaining <= limit < float("inf") and limit > 0:
            reset_s = max(0.0, reset - _servers_now(headers, now))
            found[kind] = ReportedLimits(limit, remaining, reset_s)
    return found


def _servers_now(headers: Mapping[str, str], now: float) -> float:
    """The server's time where this machine's clock is wrong; else ours, which is finer."""
    try:
        date = parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return now
    return now if abs(date - now) <= _CLOCKS_AGREE_S else date


def cost_of(kind: str, usage: Usage) -> float:
    """What a request took from the limit of that kind; what the cache gave is not counted."""
    taken = usage.input_tokens + usage.cache_write_tokens
    costs = {REQUESTS: 1, "input-tokens": taken, "output-tokens": usage.output_tokens}
    return float(costs.get(kind, taken + usage.output_tokens))


class TokenBucket:
    """What is left of one limit: reported from time to time, computed in between. Seconds are
    monotonic."""

    def __init__(self, reported: ReportedLimits) -> None:
        self._limit = self._left = reported.limit
        self._at = self._reported_at = 0.0
        self._per_s = reported.limit / _PERIOD_S

    def update(
        self, reported: ReportedLimits, cost: float, started_at: float, later: int, now: float
    ) -> None:
        """Take what a response reported. It is as of the request's arrival, so the `later` ones,
        sent after it, are still to be taken off, and the time since to be added."""
        self._limit = reported.limit
        used = reported.limit - reported.remaining
        if used >= _SIGNIFICANT_SHARE * reported.limit and reported.reset_s > 0:
            self._per_s = used / reported.reset_s
        refilled = self._per_s * (now - started_at)
        self._left = min(reported.limit, reported.remaining + refilled) - later * cost
        self._at = self._reported_at = now

    def take(self, cost: float, now: float) -> None:
        self._left, self._at = self._level(now) - cost, now

    def wait_s(self, cost: float, now: float) -> float:
        """Seconds until a request that takes `cost` fits."""
        short = min(max(1.0, cost), self._limit) - self._level(now)
        return max(0.0, min(short / self._per_s, self._reported_at + LONGEST_HOLD_S - now))

    def _level(self, now: float) -> float:
        return min(self._limit, self._left + self._per_s * max(0.0, now - self._at))


class LearnedPace:
    """Finds the rate of a limit that is not reported, from the refusals it causes: what was let
    through between two of them is what was refilled. It is kept with some headroom, to notice when
    the limit has risen, and counts less as time passes without another refusal."""

    HEADROOM = 1.1
    HALF_LIFE_S = 60.0
    LONGEST_INTERVAL_S = 6.0
    FEWEST = 3  # let through, before a rate is computed

    def __init__(self) -> None:
        self._interval_s = 0.0
        self._since: float | None = None
        self._believed_at = 0.0
        self._let_through = 0
        self._started_at = float("-inf")

    def started(self, now: float) -> None:
        self._started_at = now

    def accepted(self) -> None:
        self._let_through += 1

    def refused(self, now: float) -> None:
        """The first refusal of an episode."""
        self._believed_at = now
        if self._since is not None:
            if self._let_through < self.FEWEST:
                return
            found_s = (now - self._since) / self._let_through / self.HEADROOM
            self._interval_s = min(self.LONGEST_INTERVAL_S, found_s)
        self._since, self._let_through = now, 0

    def wait_s(self, now: float) -> float:
        faded = math.exp2((self._believed_at - now) / self.HALF_LIFE_S)
        return max(0.0, self._started_at + self._interval_s * faded - now)

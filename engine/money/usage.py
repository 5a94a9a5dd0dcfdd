"""What requests used and cost, as it is added up for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from core.job import Usage

Price = Callable[[Usage], float | None]
"""US dollars of one request; None where the price is unknown."""


@dataclass(frozen=True, slots=True)
class Spend:
    """What requests used. `unpriced` counts those whose price is unknown; `cost_usd` lacks them.
    `saved_usd` is what the prompt cache made of it; negative where it cost more than it saved."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    saved_usd: float = 0.0

    @classmethod
    def of(cls, usage: Usage, price: Price) -> Spend:
        """Of one request; one that counts less than nothing counts for nothing."""
        counts = (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
        )
        if min(counts) < 0:
            return cls()
        cost = price(usage)
        saved = _saved_usd(usage, price)
        return cls(1, *counts, cost or 0.0, int(cost is None), saved)

    @property
    def cached_share(self) -> float:
        """Of all input tokens, those read from the cache, 0 to 1."""
        whole = self.total_tokens - self.output_tokens
        return self.cache_read_tokens / whole if whole else 0.0

    @property
    def total_tokens(self) -> int:
        return (
            self.input_tokens
            + self.output_tokens
            + self.cache_read_tokens
            + self.cache_write_tokens
        )

    def __add__(self, other: Spend) -> Spend:
        return Spend(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.cost_usd + other.cost_usd,
            self.unpriced + other.unpriced,
            self.saved_usd + other.saved_usd,
        )


def _saved_usd(usage: Usage, price: Price) -> float:
    """US dollars by which the cache made a request cheaper; 0 without a price.

    Writing to the cache costs more than sending the same text plainly, so it may be negative.
    """
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    if not cached:
        return 0.0
    uncached = replace(
        usage,
        input_tokens=usage.input_tokens + cached,
        cache_read_tokens=0,
        cache_write_tokens=0,
    )
    cost, without = price(usage), price(uncached)
    return 0.0 if cost is None or without is None else without - cost

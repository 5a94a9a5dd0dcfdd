"""What requests used and cost, as it is added up for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from operator import add, attrgetter

from core.events import Part
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
        if min(usage.counts) < 0:
            return cls()
        cost = price(usage)
        return cls(1, *usage.counts, cost or 0.0, int(cost is None), _saved_usd(usage, price))

    @property
    def cached_share(self) -> float:
        """Of all input tokens, those read from the cache, 0 to 1."""
        whole = self.total_tokens - self.output_tokens
        return self.cache_read_tokens / whole if whole else 0.0

    @property
    def total_tokens(self) -> int:
        return sum(_counts(self))

    def part(self, seconds: float) -> Part:
        """The same as what a part of a run took."""
        return Part(seconds, self.total_tokens, None if self.unpriced else self.cost_usd)

    def __add__(self, other: Spend) -> Spend:
        return Spend(*map(add, _figures(self), _figures(other)))


_counts = attrgetter("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
_figures = attrgetter(*(each.name for each in fields(Spend)))


def _saved_usd(usage: Usage, price: Price) -> float:
    """US dollars by which the cache made a request cheaper; negative if dearer, 0 without price."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    if not cached:
        return 0.0
    sent = usage.input_tokens + cached
    uncached = replace(usage, input_tokens=sent, cache_read_tokens=0, cache_write_tokens=0)
    cost, without = price(usage), price(uncached)
    return 0.0 if cost is None or without is None else without - cost


def dollars(amount: float) -> str:
    """$0.1235 below one dollar, $12.35 above."""
    return f"${amount:.4f}" if amount < 1 else f"${amount:.2f}"


def cost_text(spend: Spend, simulated: bool) -> str:
    """Dollars, marked where they are simulated, and the requests that they leave out."""
    text = dollars(spend.cost_usd)
    if simulated:
        text += " (simulated: nothing is billed)"
    if spend.unpriced:
        requests = "1 request" if spend.unpriced == 1 else f"{spend.unpriced:,} requests"
        text += f" + unknown price for {requests}"
    return text

"""What the provider's prompt cache was worth: the share of the input read from it, and the money.

Writing to the cache costs more than sending the same text plainly, so the money may be negative.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from core.job import Usage

Price = Callable[[Usage], float | None]


class CacheSavings(NamedTuple):
    """`share` of all input tokens, 0 to 1; `saved_usd` is None when no request has a price."""

    share: float
    saved_usd: float | None


def cache_savings(usages: Iterable[Usage], price: Price) -> CacheSavings:
    """What the cache did for these requests; those without a price are left out of the money."""
    read = total = 0
    saved: list[float] = []
    for usage in usages:
        read += usage.cache_read_tokens
        total += usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        if (worth := saved_usd(usage, price)) is not None:
            saved.append(worth)
    return CacheSavings(read / total if total else 0.0, sum(saved) if saved else None)


def saved_usd(usage: Usage, price: Price) -> float | None:
    """US dollars by which the cache made one request cheaper; None without a price."""
    cached = usage.cache_read_tokens + usage.cache_write_tokens
    plain = replace(
        usage,
        input_tokens=usage.input_tokens + cached,
        cache_read_tokens=0,
        cache_write_tokens=0,
    )
    cost, without = price(usage), price(plain)
    return None if cost is None or without is None else without - cost

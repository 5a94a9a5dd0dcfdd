"""What requests used and cost, as it is added up for people."""

from __future__ import annotations

from dataclasses import dataclass


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

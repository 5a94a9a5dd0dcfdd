"""What a forecast says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """A forecast figure. `exactly` makes one without doubt."""

    low: float
    likely: float
    high: float

    @classmethod
    def exactly(cls, value: float) -> Range:
        return cls(value, value, value)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What carrying out a plan will take: `seconds` from start to end with `executors`, `work_s`
    with one. `cost_usd` is None where the model's price is unknown."""

    executors: int
    seconds: Range
    work_s: float
    tokens: Range
    cost_usd: Range | None
    simulated: bool = False

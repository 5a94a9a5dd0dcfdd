"""What a run is expected to take, as an event."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.events.base import EventData, Kind


@dataclass(frozen=True, slots=True)
class Range:
    """A forecast figure."""

    low: float
    likely: float
    high: float

    def plus(self, known: float) -> Range:
        return Range(self.low + known, self.likely + known, self.high + known)


@dataclass(frozen=True, slots=True)
class Part:
    """The likely figures of a part of a run, or of another way to do all of it. `cost_usd` is None
    where a price is unknown."""

    seconds: float = 0.0
    tokens: int = 0
    cost_usd: float | None = 0.0

    def __add__(self, other: Part) -> Part:
        known = self.cost_usd is not None and other.cost_usd is not None
        cost_usd = (self.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None
        return Part(self.seconds + other.seconds, self.tokens + other.tokens, cost_usd)


@dataclass(frozen=True, slots=True)
class ExpectedPace:
    """How fast a model is taken to be. `runs` is how many earlier ones met it; 0: an assumption."""

    first_token_s: float
    tokens_per_s: float
    runs: int = 0


@dataclass(frozen=True, slots=True)
class PastForecasts:
    """By which factor the forecasts of so many runs were off; None where that is not known."""

    runs: int
    time_factor: float | None = None
    cost_factor: float | None = None


@dataclass(frozen=True, slots=True)
class Forecast(EventData):
    """What carrying out a plan will take: `seconds` from the first task to the last with
    `executors`, `work_s` with one. `cost_usd` is None where the model's price is unknown.
    `planning` is what making the plan took, None where it was given. `alone` is one executor in
    place of plan and tasks, `parallel` is both of these; of a simulation at the speed of life."""

    kind = Kind.FORECAST
    sparse = frozenset({"planning", "alone", "parallel", "pace", "past", "speed"})
    executors: int
    seconds: Range
    work_s: float
    tokens: Range
    cost_usd: Range | None
    simulated: bool = False
    planning: Part | None = None
    alone: Part | None = None
    parallel: Part | None = None
    pace: ExpectedPace | None = None
    past: PastForecasts | None = None
    speed: float | None = None
    """As in RunStarted."""

    def whole(self) -> Forecast:
        """The same with planning counted in."""
        if self.planning is None:
            return self
        cost, plan_usd = self.cost_usd, self.planning.cost_usd
        return replace(
            self,
            seconds=self.seconds.plus(self.planning.seconds),
            tokens=self.tokens.plus(self.planning.tokens),
            cost_usd=None if cost is None or plan_usd is None else cost.plus(plan_usd),
        )

"""What earlier runs of a work directory met: how fast each model is, how long plans were, and how
far off their forecasts were. Read from the last journals, and kept in a small file beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

from pydantic import Field

from claude.simulation.latency import Pace
from core.bundle import ModelSettings
from core.errors import BundleError, RunInterrupted
from core.events import Event, Forecast, JobEnded, PastForecasts, RunStarted, TaskEnded
from core.job import Number, Usage
from core.wire import decode, encode, write_atomic
from engine.money.usage import Price
from engine.planning.requests import part_of
from engine.run.journal import read_journal
from engine.run.run_view import RunView, replay
from engine.run.rundir import runs_in

LAST_RUNS = 20
MOST_BYTES = 2 * 1024 * 1024
"""Of journals, read at one time; what is beyond is read the next time, or never."""
# Of one model, before its pace is known, and before its first token is told apart from the others.
LEAST_WRITTEN, LEAST_ANSWERS = 500, 3
# A shorter or slower answer says little of a model's pace: it was cut, or a stream that stalled.
LEAST_TOKENS, LEAST_TOKENS_PER_S = 20, 2.0
FORMAT = 1
Measure = Annotated[float, Field(ge=0, le=1e30)]
"""In a file that anybody may have changed: squares and sums of it are finite."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The sums over answers of one model from which its pace follows: tokens written, and seconds
    from the request to the end."""

    provider: str
    model: str
    simulated: bool = False
    count: Number = 0
    tokens: Measure = 0.0
    seconds: Measure = 0.0
    tokens_squared: Measure = 0.0
    tokens_by_seconds: Measure = 0.0

    def add(self, other: Answers) -> Answers:
        return Answers(
            self.provider,
            self.model,
            self.simulated,
            self.count + other.count,
            self.tokens + other.tokens,
            self.seconds + other.seconds,
            self.tokens_squared + other.tokens_squared,
            self.tokens_by_seconds + other.tokens_by_seconds,
        )

    def pace(self) -> Pace | None:
        """The line through the answers, by least squares; through the origin where there are few,
        or it has no start or no slope. None where too little was written."""
        if self.tokens < LEAST_WRITTEN or self.seconds < 0.001 or not self.count:
            return None
        spread = self.count * self.tokens_squared - self.tokens**2
        product = self.count * self.tokens_by_seconds - self.tokens * self.seconds
        slope = product / spread if spread > 0 else 0.0
        start = (self.seconds - slope * self.tokens) / self.count
        if slope <= 0 or start < 0 or self.count < LEAST_ANSWERS:
            return Pace(0.0, self.seconds / self.tokens)
        return Pace(start, slope)


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run, as its journal of `size` bytes tells. `plan_tokens` were written by `planner`, 0
    where nothing was planned. `time_ratio` and `cost_ratio` are what it took against what was
    likely; None where that cannot be said."""

    run: str
    size: int
    simulated: bool = False
    answers: tuple[Answers, ...] = ()
    planner: str = ""
    plan_tokens: Number = 0
    time_ratio: Measure | None = None
    cost_ratio: Measure | None = None


@dataclass(frozen=True, slots=True)
class History:
    """The runs of a work directory that were read, oldest first."""

    runs: tuple[RunFigures, ...] = ()

    def pace(self, model: ModelSettings) -> tuple[Pace, int] | None:
        """How fast a real `model` was, and in how many runs; those of a simulated API that stood in
        for it count where there are no others."""
        for simulated in (False, True):
            of = (model.provider, model.model, simulated)
            found = [
                answers
                for run in self.runs
                for answers in run.answers
                if (answers.provider, answers.model, answers.simulated) == of
            ]
            total = Answers(*of)
            for answers in found:
                total = total.add(answers)
            if (pace := total.pace()) is not None:
                return pace, len(found)
        return None

    def plan_tokens(self, model: ModelSettings) -> int:
        """How long the plans of this planner were; 0 where there was none."""
        simulated = model.simulation is not None
        found = [
            run.plan_tokens
            for run in self.runs
            if run.plan_tokens and (run.planner, run.simulated) == (model.model, simulated)
        ]
        return round(median(found)) if found else 0

    def past_forecasts(self, *, simulated: bool) -> PastForecasts | None:
        """By which factor they were off, either way, in the geometric mean."""
        runs = [run for run in self.runs if run.simulated == simulated]
        times = [run.time_ratio for run in runs if run.time_ratio]
        costs = [run.cost_ratio for run in runs if run.cost_ratio]
        if not times and not costs:
            return None
        count = sum(bool(run.time_ratio or run.cost_ratio) for run in runs)
        return PastForecasts(count, _mean_factor(times), _mean_factor(costs))


def _mean_factor(ratios: Iterable[float]) -> float | None:
    logs = [abs(math.log(ratio)) for ratio in ratios]
    return math.exp(fmean(logs)) if logs else None


def figures_of(run_id: str, size: int, events: list[Event], price: Price) -> RunFigures:
    """Raises BundleError when the events contradict each other."""
    run_view = replay(run_id, events)
    simulated = run_view.header.simulated
    planning = [usage for usage in run_view.planning_usage if usage.output_tokens >= LEAST_TOKENS]
    ends = [event.data for event in events if isinstance(event.data, JobEnded)]
    tasks = [usage for end in ends for usage in end.usage]
    longest = max(planning, key=lambda usage: usage.output_tokens, default=None)
    figures = RunFigures(
        run_id,
        size,
        simulated,
        () if simulated else tuple(_answers([*planning, *tasks])),  # its speed is a setting
        longest.model if longest else "",
        sum(usage.output_tokens for usage in planning) if _has_whole_plan(run_view) else 0,
    )
    starts = sum(isinstance(event.data, RunStarted) for event in events)
    if run_view.ended is None or run_view.ended.exit_code or starts > 1:
        return figures
    time_ratio, cost_ratio = _ratios(events, run_view, tasks, price)
    return replace(figures, time_ratio=time_ratio, cost_ratio=cost_ratio)


def _has_whole_plan(run_view: RunView) -> bool:
    """Tasks begin before it is whole, and an interruption may cut it."""
    interrupted = (
        run_view.ended is not None and run_view.ended.exit_code == RunInterrupted.exit_code
    )
    return run_view.planned and not interrupted


def _answers(usages: Iterable[Usage]) -> Iterable[Answers]:
    found: dict[tuple[str, str, bool], Answers] = {}
    for usage in usages:
        tokens, seconds = usage.output_tokens, usage.duration_s
        if tokens < LEAST_TOKENS or seconds <= 0 or tokens / seconds < LEAST_TOKENS_PER_S:
            continue
        of = (usage.provider, usage.model, usage.simulated)
        one = Answers(*of, 1, tokens, seconds, tokens**2, tokens * seconds)
        found[of] = found[of].add(one) if of in found else one
    return found.values()


def _ratios(
    events: Iterable[Event], run_view: RunView, tasks: list[Usage], price: Price
) -> tuple[float | None, float | None]:
    """Of a run that went through in one session: what it took against its forecast, both with
    planning where the forecast has it. The time that a person takes to approve is in neither."""
    began_at = ended_at = 0.0
    for event in events:
        if isinstance(event.data, Forecast):
            began_at = event.at
        elif isinstance(event.data, TaskEnded) and event.task not in run_view.tasks.added:
            ended_at = event.at
    if (forecast := run_view.forecast) is None:
        return None, None
    whole, took_s, spent = forecast.whole(), ended_at - began_at, tasks
    if forecast.planning is not None:
        took_s, spent = took_s + run_view.planning_s, [*run_view.planning_usage, *tasks]
    cost_usd = part_of(0.0, spent, price).cost_usd if whole.cost_usd else None
    likely_usd = whole.cost_usd.likely if whole.cost_usd else 0.0
    # a simulation without any waiting says nothing of time
    likely_s = whole.seconds.likely if forecast.seconds.likely else 0.0
    return _ratio(took_s, likely_s), _ratio(cost_usd or 0.0, likely_usd)


def _ratio(actual: float, likely: float) -> float | None:
    return actual / likely if actual > 0 and likely > 0 else None


@dataclass(frozen=True, slots=True)
class _Cache:
    """`runs/.figures.json`."""

    version: int = FORMAT
    runs: tuple[RunFigures, ...] = ()


def read_history(work_dir: Path, pricing: Callable[[Mapping[str, Any]], Price]) -> History:
    """The last runs of `work_dir`; those that cannot be read are passed over. `pricing` gives the
    price that holds for a run with these settings."""
    path = work_dir / "runs" / ".figures.json"
    known = {figures.run: figures for figures in _read_cache(path).runs}
    found, left = list[RunFigures](), MOST_BYTES
    for run in reversed(runs_in(work_dir)[-LAST_RUNS:]):
        with suppress(BundleError, OSError):
            size = run.journal.stat().st_size
            if (figures := known.get(run.run_id)) is None or figures.size != size:
                if size > left:
                    continue
                left -= size
                price = pricing(run.read_facts().settings)
                figures = figures_of(run.run_id, size, read_journal(run.journal), price)
            found.append(figures)
    history = History(tuple(reversed(found)))
    if set(history.runs) != set(known.values()):
        with suppress(OSError):  # it only saves time
            write_atomic(path, encode(_Cache(runs=history.runs)) + "\n")
    return history


def _read_cache(path: Path) -> _Cache:
    with suppress(BundleError, OSError):
        cache = decode(_Cache, path.read_bytes(), str(path))
        if cache.version == FORMAT:
            return cache
    return _Cache()

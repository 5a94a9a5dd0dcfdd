"""What was forecast beside what came, and one executor alone beside this run."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from core.events import Forecast, Part, Range
from engine.money.usage import dollars
from engine.run.run_view import RunView
from engine.views.format import rough_duration, times_text

_EVEN = 1.1
"""Factors below it are within what an estimate can tell."""


def forecast_rows(run_view: RunView) -> list[dict[str, Any]]:
    """Each figure's range and what it came to: name, unit, low, likely, high, actual, verdict; the
    actual is None where it is not known."""
    if run_view.forecast is None:
        return []
    forecast, has_planning = run_view.forecast.whole(), run_view.forecast.planning is not None
    spend = run_view.spend() if has_planning else run_view.task_spend()
    seconds = run_view.executing_s() + (run_view.planning_s if has_planning else 0.0)
    cost = None if spend.unpriced else spend.cost_usd
    time = "time without checks" if run_view.proof.checked_s else "time"
    rows = [
        _row(time, "s", forecast.seconds, seconds),
        _row("tokens", "tokens", forecast.tokens, float(spend.total_tokens)),
    ]
    if forecast.cost_usd is not None:
        rows.append(_row("cost", "usd", forecast.cost_usd, cost))
    return rows


def _row(name: str, unit: str, figure: Range, actual: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "unit": unit,
        "low": figure.low,
        "likely": figure.likely,
        "high": figure.high,
        "actual": actual,
        "verdict": _met(figure, actual),
    }


def _met(figure: Range, actual: float | None) -> str:
    if actual is None:
        return "unknown price"
    if figure.low <= actual <= figure.high:
        return "within the forecast"
    return "below the forecast" if actual < figure.low else "above the forecast"


def compare(run_view: RunView) -> dict[str, Any]:
    """One executor alone against this run: the parts that are known, each with seconds, tokens and
    cost_usd, and a verdict in words."""
    forecast = run_view.forecast
    if forecast is None or forecast.alone is None:
        return {"verdict": _no_comparison(run_view), "parts": []}
    this, is_measured = _this_run(run_view, forecast)
    parts = [_part("one executor alone", forecast.alone, measured=False)]
    if this is not None:
        parts.append(_part("this run", this, measured=is_measured))
    text = " ".join(_verdict(run_view, forecast.alone, this, measured=is_measured))
    return {"verdict": text, "parts": parts}


def _no_comparison(run_view: RunView) -> str:
    if run_view.forecast is None:
        return "There is no forecast to compare with yet."
    if run_view.tasks.done_of_plan()[1] == 1:
        return "This run was one executor alone: the plan has one task."
    return "Nobody estimated what one executor alone would take: the plan was given."


def _this_run(run_view: RunView, forecast: Forecast) -> tuple[Part | None, bool]:
    """What the run took, or would with a real Claude, and whether that was measured. None where the
    run is not whole, since less work is no faster work, and where only a simulation's time is
    known."""
    if not run_view.tasks.is_whole:
        return None, False
    measured = run_view.spend().part(run_view.planning_s + run_view.executing_s())
    if not run_view.header.simulated or run_view.header.speed == 1.0:
        return measured, True
    if forecast.parallel is None:
        return None, False
    return replace(measured, seconds=forecast.parallel.seconds), False


def _part(name: str, part: Part, *, measured: bool) -> dict[str, Any]:
    return {
        "name": name,
        "seconds": part.seconds,
        "tokens": part.tokens,
        "cost_usd": part.cost_usd,
        "measured": measured,
    }


def _verdict(run_view: RunView, alone: Part, this: Part | None, *, measured: bool) -> Iterator[str]:
    if this is None:
        yield f"One executor alone would have taken about {rough_duration(alone.seconds)}."
        is_whole = run_view.tasks.is_whole
        why = "A simulation measures no time" if is_whole else "This run is not whole"
        yield f"{why}, so there is nothing to compare it with."
        return
    yield _faster(alone.seconds / this.seconds if this.seconds and alone.seconds else 1.0)
    checks = ", both without checks" if run_view.proof.checked_s else ""
    yield f"({' against about '.join(times_text(this.seconds, alone.seconds))}{checks})"
    yield _dearer(alone, this)
    if run_view.header.simulated:
        yield "Both times are estimates of real ones: a simulation does not measure them."
    elif measured:
        yield "What one executor alone would have taken is an estimate; this run is measured."


def _faster(factor: float) -> str:
    if factor >= _EVEN:
        return f"In parallel it was {factor:.1f} times as fast as one executor alone"
    if factor * _EVEN <= 1:
        return f"One executor alone would have been {1 / factor:.1f} times as fast"
    return "One executor alone would have been about as fast"


def _dearer(alone: Part, this: Part) -> str:
    if alone.cost_usd is None or this.cost_usd is None or not alone.cost_usd:
        return "at a cost that is not known."
    factor = this.cost_usd / alone.cost_usd
    costs = f"{dollars(this.cost_usd)} against {dollars(alone.cost_usd)}"
    if 1 / _EVEN < factor < _EVEN:
        return f"for about the same cost ({costs})."
    return f"for {factor:.1f} times the cost ({costs})."

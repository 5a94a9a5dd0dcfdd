"""Forecast against actual, and one executor alone against the run: what is said is true."""

from __future__ import annotations

from typing import Any

import pytest

from core.events import Kind
from engine.report.comparison import compare, forecast_rows
from engine.run.run_view import RunView, apply_all
from tests.fakes.events import event_of
from tests.fakes.reported_runs import RUN, begun, done, ended, job, planned

PRICE = 2.0  # US dollars of each request


def view(
    alone: dict[str, Any] | None,
    *,
    speed: float | None = None,
    parallel: dict[str, Any] | None = None,
    whole: bool = True,
) -> RunView:
    """Of a run that took 10 s and one request of a task."""
    simulated: dict[str, Any] = {"simulated": True, "speed": speed} if speed is not None else {}
    forecast = {
        "executors": 2, "seconds": {"low": 4, "likely": 6, "high": 8}, "work_s": 5,
        "tokens": {"low": 1, "likely": 2, "high": 3}, "alone": alone, "parallel": parallel,
        "cost_usd": {"low": 1, "likely": 2, "high": 3},
        "planning": {"seconds": 2, "tokens": 0, "cost_usd": 0},
    }  # fmt: skip
    run_view = RunView(lambda _: PRICE, RUN)
    state = "SUCCEEDED" if whole else "FAILED"
    events = [begun(**simulated), planned([("a", [])]), event_of(Kind.FORECAST, 2, data=forecast),
              *job("a", 2, 10), done("a", 10, state), ended(10)]  # fmt: skip
    apply_all(run_view, RUN, events)
    return run_view


def part(seconds: float, cost: float | None) -> dict[str, Any]:
    return {"seconds": seconds, "tokens": 9, "cost_usd": cost}


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        (part(20, 2.0), "2.0 times as fast as one executor alone (10 s against about 20 s) for"),
        (part(10.2, 2.0), "One executor alone would have been about as fast"),
        (part(5, 2.0), "One executor alone would have been 2.0 times as fast"),
        (part(20, 2.1), "for about the same cost ($2.00 against $2.10)"),
        (part(20, 1.0), "for 2.0 times the cost ($2.00 against $1.00)"),
        (part(20, None), "at a cost that is not known"),
        (None, "This run was one executor alone"),
    ],
)
def test_the_verdict_says_who_was_faster_and_what_it_cost(
    alone: dict[str, Any] | None, said: str
) -> None:
    assert said in compare(view(alone))["verdict"]


def test_what_is_estimated_and_what_measured_is_told_apart() -> None:
    found = compare(view(part(20, 2.0)))
    assert [part["measured"] for part in found["parts"]] == [False, True]
    assert "is an estimate; this run is measured" in found["verdict"]


def test_a_simulation_measures_no_time() -> None:
    found = compare(view(part(20, 2.0), speed=20.0, parallel=part(40, 1.0)))
    assert [part["seconds"] for part in found["parts"]] == [20, 40]
    assert "a simulation does not measure them" in found["verdict"]


@pytest.mark.parametrize("speed", [0.0, 20.0])
def test_a_simulation_without_an_estimate_is_not_called_fast(speed: float) -> None:
    found = compare(view(part(20, 2.0), speed=speed))
    assert "nothing to compare" in found["verdict"]
    assert len(found["parts"]) == 1


def test_a_run_that_is_not_whole_is_not_called_fast() -> None:
    assert "This run is not whole" in compare(view(part(20, 2.0), whole=False))["verdict"]


def test_each_figure_of_the_forecast_is_judged_by_its_range() -> None:
    rows = {row["name"]: row for row in forecast_rows(view(None))}
    assert (rows["time"]["actual"], rows["time"]["verdict"]) == (10, "within the forecast")
    assert rows["tokens"]["verdict"] == "above the forecast"
    assert (rows["cost"]["actual"], rows["cost"]["verdict"]) == (2.0, "within the forecast")


def test_without_a_forecast_there_are_no_figures() -> None:
    assert forecast_rows(RunView()) == []
    assert "no forecast" in compare(RunView())["verdict"]

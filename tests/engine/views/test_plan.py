"""A plan as text, before it is approved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.events import ExpectedPace, Forecast, Part, PastForecasts, Range
from core.plan import (
    Analysis,
    Contract,
    Criterion,
    Plan,
    Setup,
    Task,
    build_single_task_plan,
)
from core.simulation_notice import simulation_notice
from engine.views.plan import comparison_line, forecast_line, layers, past_line, render_plan_view
from tests.engine.views.test_views import CONTROL, HOSTILE


def task(name: str, *needs: str, text: str = "Write it", **changes: Any) -> Task:
    fields: dict[str, Any] = {
        "title": text,
        "instructions": text,
        "depends_on": needs,
        "owns": (f"{name}.py", f"{name}/"),
        "estimate": 1500,
    }
    return Task(id=name, **(fields | changes))


def plan(*tasks: Task, text: str = "A text", contracts: int = 1, pays: bool = True) -> Plan:
    return Plan(
        title=text,
        summary=text,
        assumptions=(text,),
        analysis=Analysis(
            complexity=4, rationale=text, recommended_executors=2, parallel_pays=pays
        ),
        setup=Setup(tools=(text, "node 20"), install=("npm ci", text), network=text, start=text),
        conventions=(text,),
        contracts=tuple(
            Contract(path=f"shared/{n}.json", purpose=text, content="{}") for n in range(contracts)
        ),
        tasks=tasks,
        acceptance_criteria=(Criterion(text=text, served_by=(tasks[0].id,)),),
    )


FORECAST = Forecast(
    executors=3,
    seconds=Range(60, 90, 200),
    work_s=240,
    tokens=Range(12_000, 12_000, 12_000),
    cost_usd=Range(0.1, 0.25, 1),
)


def test_all_parts_of_a_plan_are_there() -> None:
    first = task("a", checks=("true",), uses=("shared/0.json",))
    lines = render_plan_view(plan(first, task("b", "a")), FORECAST).splitlines()
    assert lines == [
        "A text",
        "  A text",
        "",
        "Complexity 4 of 10; worth running in parallel; 2 executors recommended",
        "  A text",
        "",
        "Assumptions",
        "  1. A text",
        "",
        "Setup",
        "  tools    A text, node 20",
        "  install  npm ci && A text",
        "  network  A text",
        "  start    A text",
        "",
        "Conventions",
        "  - A text",
        "",
        "Contracts",
        "  - shared/0.json: A text",
        "",
        "Step 1: 1 task; start immediately",
        "  - a: Write it (~1.5k tokens, 1 check)",
        "      uses shared/0.json; writes a.py, a/",
        "",
        "Step 2: 1 task; start when their dependencies are done",
        "  - b: Write it (~1.5k tokens)",
        "      depends on a; writes b.py, b/",
        "",
        "Longest chain: a, b (~3.0k of ~3.0k tokens)",
        "",
        "Acceptance criteria",
        "  - A text [a]",
        "",
        "Forecast with 3 executors",
        "  time    1:30 (1:00 to 3:20), without checks",
        "  tokens  12,000",
        "  cost    $0.25 ($0.10 to $1.00)",
    ]


def test_the_plan_and_the_other_way_are_a_part_of_the_forecast() -> None:
    forecast = replace(
        FORECAST,
        planning=Part(30, 2_000, 0.05),
        alone=Part(540, 40_000, 0.72),
        parallel=Part(120, 14_000, 0.3),
    )
    assert render_plan_view(plan(task("a")), forecast).splitlines()[-5:] == [
        "Forecast with 3 executors",
        "  time    2:00 (1:30 to 3:50), of it 0:30 for the plan, without checks",
        "  tokens  14,000, of it 2,000 for the plan",
        "  cost    $0.30 ($0.15 to $1.05), of it $0.05 for the plan",
        "  One executor alone: about 9 min, $0.72; 3 in parallel: about 2 min, $0.30.",
    ]


def test_the_pace_and_the_error_of_past_forecasts_are_told() -> None:
    forecast = replace(
        FORECAST, pace=ExpectedPace(1.43, 61.7, 3), past=PastForecasts(6, 1.31, 1.08)
    )
    lines = render_plan_view(plan(task("a")), forecast).splitlines()[-3:]
    assert lines == [
        "  pace    62 tokens a second after 1.4 s, as in 3 earlier runs here",
        "  Past forecasts of this work directory were off by a factor of 1.3 in time, 1.1",
        "  in cost (6 runs).",
    ]
    assumed = replace(FORECAST, pace=ExpectedPace(0.8, 80))
    assert "after 0.8 s, assumed\n" in render_plan_view(plan(task("a")), assumed)
    assert past_line(PastForecasts(1, None, 2.0)).endswith(" a factor of 2.0 in cost (1 run)")


@pytest.mark.parametrize(
    ("alone", "parallel", "simulated", "line"),
    [
        (None, None, False, ""),
        (
            Part(540, 1, 0.72),
            Part(250, 1, 0.8),
            False,
            "One executor alone: about 9 min, $0.72; 3 in parallel: about 4 min, $0.80",
        ),
        (
            Part(200, 1, 0.72),
            Part(170, 1, 0.8),
            False,
            "One executor alone: about 3:20, $0.72; 3 in parallel: about 2:50, $0.80",
        ),
        (
            Part(90, 1, None),
            Part(90, 1, None),
            True,
            "One executor alone: about 90 s, unknown price; 3 in parallel: about 90 s, unknown"
            " price, which is not faster (real)",
        ),
    ],
)
def test_both_ways_are_one_line(
    alone: Part | None, parallel: Part | None, simulated: bool, line: str
) -> None:
    forecast = replace(FORECAST, alone=alone, parallel=parallel, simulated=simulated)
    assert comparison_line(forecast) == line


def test_a_long_chain_is_cut_and_counted() -> None:
    tasks = [task("t0"), *(task(f"t{n}", f"t{n - 1}") for n in range(1, 40)), task("beside")]
    text = " ".join(render_plan_view(plan(*tasks)).split())
    assert "Longest chain: t0, t1," in text
    assert "t11 and 28 more (~60.0k of ~61.5k tokens)" in text
    assert "Longest chain" not in render_plan_view(plan(task("a")))


def test_a_task_that_uses_all_contracts_or_owns_all_files_is_told_so_in_a_word() -> None:
    paths = tuple(f"shared/{n}.json" for n in range(3))
    made = plan(task("a", uses=paths), task("b", uses=paths[:2]), contracts=3)
    text = " ".join(render_plan_view(made).split())
    assert "uses all contracts; writes a.py" in text
    assert "uses shared/0.json, shared/1.json; writes b.py" in text
    assert "writes everything" in render_plan_view(build_single_task_plan("A script"))


def test_a_plan_of_little_is_shown_in_little() -> None:
    least = Plan(title="T", tasks=(task("a", estimate=0),))
    assert render_plan_view(least).splitlines() == [
        "T",
        "",
        "No contracts",
        "",
        "Step 1: 1 task; start immediately",
        "  - a: Write it",
        "      writes a.py, a/",
    ]


def test_a_small_job_and_an_unknown_price_are_named() -> None:
    forecast = Forecast(1, Range(5, 5, 5), 5, Range(1, 1, 1), None)
    text = render_plan_view(plan(task("a"), contracts=0, pays=False), forecast)
    assert "best done by one executor" in text
    assert "No contracts" in text
    assert "unknown price" in text
    assert "simulated" not in text


def test_a_simulated_forecast_is_labelled() -> None:
    forecast = Forecast(1, Range(5, 5, 5), 5, Range(1, 1, 1), Range(0.5, 0.5, 0.5), simulated=True)
    text = render_plan_view(plan(task("a")), forecast)
    assert "Forecast with 1 executor (simulated without waits)" in text
    assert "$0.50, nothing is billed" in text
    assert simulation_notice(plan(task("a")).title) in " ".join(text.split())


def test_layers_follow_the_longest_chain() -> None:
    tasks = (task("d", "c", "a"), task("a"), task("c", "b"), task("b", "a"), task("e"))
    assert [[t.id for t in layer] for layer in layers(plan(*tasks))] == [
        ["a", "e"],
        ["b"],
        ["c"],
        ["d"],
    ]


@pytest.mark.parametrize("chain", [True, False])
def test_a_huge_plan_is_cut_and_says_so(chain: bool) -> None:
    tasks = [task("t0")]
    tasks += [task(f"t{n}", *([f"t{n - 1}"] if chain else [])) for n in range(1, 1000)]
    text = render_plan_view(plan(*tasks, contracts=50), limit=20)
    assert text.count("  - t") == 20
    assert "and 980 more tasks" in text
    assert "and 30 more\n" in text


def test_hostile_text_stays_within_eighty_columns_and_harmless() -> None:
    hostile = task("a", text=HOSTILE, uses=(HOSTILE,), owns=(HOSTILE,), checks=(HOSTILE,))
    text = render_plan_view(plan(hostile, text=HOSTILE + " word" * 200))
    assert not CONTROL.search(text)
    assert max(map(len, text.splitlines()[1:])) <= 80


def test_a_task_without_an_estimate_shows_none() -> None:
    bare = task("a").model_copy(update={"estimate": 0})
    assert "tokens" not in render_plan_view(plan(bare))


def test_a_forecast_is_one_line() -> None:
    figures = Forecast(3, Range(60, 90, 150), 200, Range(1500, 1500, 1500), Range(0.1, 0.25, 1))
    assert forecast_line(figures) == ("1:30 (1:00 to 2:30), $0.25 ($0.10 to $1.00), 1.5k tokens")


def test_a_narrow_terminal_gets_narrow_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = render_plan_view(plan(task("a", depends_on=())), FORECAST)
    assert max(map(len, text.splitlines())) <= 60

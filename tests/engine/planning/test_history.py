"""What later runs learn of earlier ones in the same work directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.bundle import ModelSettings, SimulationSettings
from core.events import (
    Event,
    EventData,
    Forecast,
    JobEnded,
    JobIntended,
    Part,
    PlannedTask,
    PlanReady,
    Progress,
    Range,
    RunEnded,
    RunStarted,
    TaskAdded,
    TaskEnded,
)
from core.job import Outcome, TaskState, Usage
from engine.money.usage import Price
from engine.planning import history
from engine.planning.history import (
    LAST_RUNS,
    Answers,
    History,
    RunFigures,
    figures_of,
    read_history,
)
from engine.run.journal import Journal
from engine.run.rundir import RunDir, RunFacts, create_run

MODEL = ModelSettings(model="m")
START_S, TOKEN_S = 1.5, 0.02


def answer(tokens: int, model: str = "m", **more: Any) -> Usage:
    """As fast as the model is."""
    return Usage("anthropic", model, 10, tokens, duration_s=START_S + TOKEN_S * tokens, **more)


def price(usage: Usage) -> float | None:
    return usage.output_tokens / 1e6


def by_settings(settings: Mapping[str, object]) -> Price:
    return price


def story(
    *usages: Usage, took_s: float = 30.0, exit_code: int = 0, simulated: bool = False
) -> list[Event]:
    """A run of one task that was forecast at 20 s and $0.002, after a plan of 3,000 tokens."""
    told: list[tuple[float, EventData]] = [
        (0.0, RunStarted("r", simulated=simulated)),
        (1.0, Progress(usage=answer(1, "planner"))),
        (60.0, Progress(usage=answer(3_000, "planner"))),
        (60.0, PlanReady("P", (PlannedTask("t", "T", (), 2_000),))),
        (60.0, Forecast(1, Range(1, 20, 90), 20.0, Range(1, 2, 3), Range(0.001, 0.002, 0.003))),
    ]
    task: list[tuple[float, EventData]] = [
        (61.0, JobIntended()),
        (60.0 + took_s, JobEnded(Outcome.OK, usage=usages)),
        (60.0 + took_s, TaskEnded(TaskState.SUCCEEDED)),
    ]
    end = RunEnded(exit_code, "succeeded" if exit_code == 0 else "stopped")
    return [
        *(Event(data, at) for at, data in told),
        *(Event(data, at, "t", 1) for at, data in task),
        Event(end, 500.0),
    ]


# -- pace


@given(
    st.lists(st.integers(200, 9_000), min_size=3, max_size=20),
    st.floats(0.1, 20),
    st.floats(0.002, 0.1),
)
def test_the_pace_is_found_again_in_any_answers(
    sizes: list[int], start_s: float, token_s: float
) -> None:
    total = Answers("p", "m")
    for size in sizes:
        took = start_s + token_s * size
        total = total.add(Answers("p", "m", False, 1, size, took, size**2, size * took))
    pace = total.pace()
    assert pace is not None
    if max(sizes) - min(sizes) > 100:
        assert pace.first_token_s == pytest.approx(start_s, rel=1e-3, abs=1e-3)
        assert pace.per_token_s == pytest.approx(token_s, rel=1e-3)
    mean_s = pace.first_token_s + pace.per_token_s * total.tokens / total.count
    assert mean_s == pytest.approx(total.seconds / total.count, rel=1e-6)


def test_a_few_answers_are_enough_for_a_rate_but_not_for_the_first_token() -> None:
    figures = figures_of("r", 1, story(answer(1_000)), price)
    found = History((figures,)).pace(MODEL)
    assert found is not None
    assert found[0].first_token_s == 0
    assert found[0].per_token_s == pytest.approx((START_S + 20) / 1_000)
    assert History((figures_of("r", 1, story(answer(400)), price),)).pace(MODEL) is None


def test_runs_are_put_together_and_each_model_has_its_own_pace() -> None:
    runs = tuple(
        figures_of(name, 1, story(answer(size), answer(900, "other")), price)
        for name, size in (("a", 500), ("b", 1_500), ("c", 4_000))
    )
    found = History(runs).pace(MODEL)
    assert found is not None
    assert found[0].first_token_s == pytest.approx(START_S)
    assert found[0].per_token_s == pytest.approx(TOKEN_S)
    assert found[1] == 3
    assert History(runs).pace(replace(MODEL, provider="bedrock")) is None
    assert History(runs).pace(replace(MODEL, model="unmet")) is None


def test_a_stalled_or_empty_answer_says_nothing() -> None:
    bad = [
        answer(1),
        replace(answer(600), duration_s=0.0),
        replace(answer(600), duration_s=900.0),
    ]
    assert History((figures_of("r", 1, story(*bad), price),)).pace(MODEL) is None


def test_a_simulation_has_the_speed_that_was_set_and_no_pace() -> None:
    figures = figures_of("r", 1, story(answer(9_000), simulated=True), price)
    assert figures.answers == ()
    assert figures.time_ratio == pytest.approx(1.5)


def test_what_a_simulated_api_answered_counts_only_where_nothing_else_is_known() -> None:
    slow, fast = answer(5_000), replace(answer(5_000), duration_s=1.0, simulated=True)
    figures = figures_of("r", 1, story(slow, fast), price)
    real, served = (
        History((f,)).pace(MODEL) for f in (figures, figures_of("r", 1, story(fast), price))
    )
    assert real is not None
    assert served is not None
    assert real[0].per_token_s == pytest.approx(slow.duration_s / 5_000)
    assert served[0].per_token_s == pytest.approx(1 / 5_000)


# -- plans and forecasts


def test_a_plan_that_an_interruption_may_have_cut_says_nothing_of_the_length_of_plans() -> None:
    assert figures_of("r", 1, story(exit_code=130), price).plan_tokens == 0
    assert figures_of("r", 1, story()[:3], price).plan_tokens == 0


def test_a_plan_is_expected_to_be_as_long_as_the_planners_were() -> None:
    runs = tuple(figures_of(n, 1, story(), price) for n in "ab")
    longer = replace(runs[0], run="c", plan_tokens=9_000)
    planner = ModelSettings(model="planner")
    assert runs[0].plan_tokens == 3_000
    assert History((*runs, longer)).plan_tokens(planner) == 3_000
    assert History(runs).plan_tokens(MODEL) == 0
    assert History(runs).plan_tokens(replace(planner, simulation=SimulationSettings())) == 0


def test_a_forecast_is_held_against_what_the_tasks_took() -> None:
    figures = figures_of("r", 1, story(answer(4_000)), price)
    assert figures.time_ratio == pytest.approx(1.5)
    assert figures.cost_ratio == pytest.approx(2.0)
    unpriced = figures_of("r", 1, story(answer(4_000)), lambda _: None)
    assert unpriced.time_ratio == figures.time_ratio
    assert unpriced.cost_ratio is None


def test_what_a_run_did_besides_its_plan_was_not_forecast() -> None:
    events = story(answer(4_000))
    besides = [Event(TaskAdded("Checks"), 100.0, "verify-1")]
    besides.append(Event(TaskEnded(TaskState.SUCCEEDED), 999.0, "verify-1", 1))
    figures = figures_of("r", 1, [*events[:-1], *besides, events[-1]], price)
    assert figures.time_ratio == pytest.approx(1.5)


def test_with_planning_the_whole_run_is_held_against_the_whole_forecast() -> None:
    events = story(answer(4_000))
    at = next(n for n, event in enumerate(events) if isinstance(event.data, Forecast))
    told = events[at].data
    assert isinstance(told, Forecast)
    planned = replace(told, planning=Part(30.0, 3_000, 0.003))
    events[at] = replace(events[at], data=planned)
    figures = figures_of("r", 1, events, price)
    assert figures.time_ratio == pytest.approx((60 + 30) / (30 + 20))
    assert figures.cost_ratio == pytest.approx(0.007001 / 0.005)
    at_once = replace(planned, seconds=Range(0, 0, 0))
    events[at] = replace(events[at], data=at_once)
    assert figures_of("r", 1, events, price).time_ratio is None


def test_runs_that_did_not_go_through_at_once_say_nothing_of_forecasts() -> None:
    stopped = story(answer(4_000), exit_code=4)
    again = [*stopped, Event(RunStarted("r"), 900.0), Event(RunEnded(0, "succeeded"), 990.0)]
    for events in (stopped, again, stopped[:-1]):
        figures = figures_of("r", 1, events, price)
        assert (figures.time_ratio, figures.cost_ratio) == (None, None)
        assert figures.answers


def test_the_error_of_forecasts_is_a_factor_either_way() -> None:
    runs = (
        RunFigures("a", 1, time_ratio=2.0),
        RunFigures("b", 1, time_ratio=0.5),
        RunFigures("c", 1, simulated=True, time_ratio=9.0),
    )
    past = History(runs).past_forecasts(simulated=False)
    assert past is not None
    assert (past.runs, past.cost_factor) == (2, None)
    assert past.time_factor == pytest.approx(2.0)
    assert History((RunFigures("r", 1),)).past_forecasts(simulated=False) is None
    assert History().past_forecasts(simulated=True) is None


# -- reading


def keep(work_dir: Path, run_id: str, events: list[Event]) -> RunDir:
    run = create_run(work_dir, RunFacts(run_id, "p", "/out", 0.0, {}, False))
    journal = Journal(run.journal)
    for event in events:
        journal.emit(event)
    journal.close()
    return run


def test_the_last_runs_are_read_and_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(LAST_RUNS + 2):
        keep(tmp_path, f"run-{n:02}", story(answer(1_000 + n)))
    first = read_history(tmp_path, by_settings)
    assert [run.run for run in first.runs] == [f"run-{n:02}" for n in range(2, LAST_RUNS + 2)]
    read: list[str] = []

    def read_journal(path: Path) -> list[Event]:
        read.append(path.parent.name)
        return story(answer(5_000))

    monkeypatch.setattr(history, "read_journal", read_journal)
    assert read_history(tmp_path, by_settings) == first
    assert read == []
    journal = Journal(tmp_path / "runs/run-05/journal.jsonl")
    journal.emit(Event(RunStarted("r"), 900.0))
    journal.close()
    assert read_history(tmp_path, by_settings) != first
    assert read == ["run-05"]


def test_a_run_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    for name in "abcd":
        keep(tmp_path, name, story(answer(1_000)))
    (tmp_path / "runs/a/journal.jsonl").write_text("{}\n")
    (tmp_path / "runs/b/run.json").write_text("{")
    (tmp_path / "runs/c/journal.jsonl").unlink()
    assert [run.run for run in read_history(tmp_path, by_settings).runs] == ["d"]


IMPOSSIBLE = '{"version": 1, "runs": [{"run": "b", "size": 1, "%s": %s}]}'


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", '{"version": 9}', '{"version": 1, "runs": [{}]}', "[]"),
        *(IMPOSSIBLE % ("time_ratio", number) for number in ("-1", "NaN", "1e308")),
        IMPOSSIBLE % ("answers", '[{"provider": "p", "model": "m", "tokens": 1e200}]'),
    ],
)
def test_a_damaged_memory_is_made_anew(tmp_path: Path, text: str) -> None:
    keep(tmp_path, "a", story(answer(1_000)))
    remembered = tmp_path / "runs/.figures.json"
    remembered.write_text(text)
    assert len(read_history(tmp_path, by_settings).runs) == 1
    assert json.loads(remembered.read_text())["runs"][0]["run"] == "a"


def test_no_more_than_so_much_is_read_at_one_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        run = keep(tmp_path, name, story(answer(1_000)))
    monkeypatch.setattr(history, "MOST_BYTES", 2 * run.journal.stat().st_size)
    keep(tmp_path, "d", 99 * story(answer(1_000)))  # longer than that alone
    assert [run.run for run in read_history(tmp_path, by_settings).runs] == ["b", "c"]
    assert [run.run for run in read_history(tmp_path, by_settings).runs] == ["a", "b", "c"]


def test_where_nothing_was_ever_run_nothing_is_written(tmp_path: Path) -> None:
    assert read_history(tmp_path / "none", by_settings) == History()
    assert list(tmp_path.iterdir()) == []


def test_a_work_directory_that_cannot_be_written_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    keep(tmp_path, "a", story(answer(1_000)))
    monkeypatch.setattr(history, "write_atomic", refuse)
    assert len(read_history(tmp_path, by_settings).runs) == 1

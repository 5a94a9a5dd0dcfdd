"""What a command opens before its run begins is closed, whatever comes between; and what it expects
of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

import orchestrator
from backends.threading_backend import ThreadingBackend
from claude.prices import pricing
from config import Settings
from core.bundle import ModelSettings
from core.errors import Problem
from core.events import Kind, Part
from core.job import Usage
from core.wire import plain
from engine.planning.preflight import compare_run, forecast_run, planning_took
from engine.planning.requests import part_of, plan_tokens
from tests.engine.run.test_run_view import Story
from tests.fakes.plans import make_plan

NAME = f"{__name__}:Counted"


class Counted(ThreadingBackend):
    """One whose preflight is the test's own; knows how many are open."""

    name = NAME
    opened: ClassVar[set[int]] = set()
    look: ClassVar[Callable[[], list[Problem]]]

    def preflight(self) -> list[Problem]:
        self.opened.add(id(self))
        return type(self).look()

    def close(self) -> None:
        self.opened.discard(id(self))
        super().close()


def interrupt() -> list[Problem]:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Counted.opened.clear()


def test_a_refused_preflight_leaves_no_connection(tmp_path: Path) -> None:
    Counted.look = lambda: [Problem("It is closed.", "Open it.")]
    assert orchestrator.main(["run", "x", "--backend", NAME]) == 3
    assert not Counted.opened
    assert not (tmp_path / ".orchestrator").exists()


def test_a_preflight_that_is_interrupted_leaves_no_connection() -> None:
    Counted.look = interrupt
    assert orchestrator.main(["run", "x", "--backend", NAME]) == 130
    assert not Counted.opened


def test_a_run_that_cannot_be_written_down_leaves_no_connection(tmp_path: Path) -> None:
    def taken() -> list[Problem]:
        (tmp_path / ".orchestrator").write_text("a file")
        return []

    Counted.look = taken
    assert orchestrator.main(["run", "x", "--backend", NAME]) == 2
    assert not Counted.opened


# -- what is expected


PLAN = make_plan({"a": [], "b": []}, {"a": 9_000, "b": 9_000})


def test_both_ways_are_compared_at_the_speed_of_life_whatever_that_of_a_simulation() -> None:
    planning, found = Part(3.0, 2_000, 0.02), []
    for speed in (0.0, 1.0, 20.0):
        settings = Settings(sim_speed=speed)
        found.append(compare_run(settings, settings.models(), PLAN, planning))
    assert found[0] == found[1] == found[2]
    assert found[0].planning.seconds > plan_tokens(PLAN) / 100
    assert (found[0].planning.tokens, found[0].planning.cost_usd) == (2_000, 0.02)
    settings = Settings(real=True)
    assert compare_run(settings, settings.models(), PLAN, planning).planning == planning


def test_each_role_is_forecast_at_its_own_price() -> None:
    def cost(of: Settings) -> float:
        figures = forecast_run(of, of.models(), PLAN, Part(1.0, 1, 0.0))
        assert figures.cost_usd is not None
        return figures.cost_usd.likely

    usual, dear = cost(Settings()), cost(Settings(executor_model="claude-opus-5-5"))
    assert dear > 1.5 * usual
    assert cost(Settings(planner_model="claude-opus-5-5")) == usual


def test_a_plan_that_was_given_took_nothing_and_has_nothing_to_compare_with_its_one_task() -> None:
    settings = Settings()
    figures = forecast_run(settings, settings.models(), make_plan({"a": []}), None)
    assert (figures.planning, figures.alone, figures.parallel) == (None, None, None)
    assert forecast_run(settings, settings.models(), PLAN, None).alone is not None


def test_what_planning_took_is_all_that_was_asked_until_there_was_a_plan() -> None:
    model = ModelSettings()
    usages = [Usage(model.provider, model.model, n, n) for n in (1, 700)]
    price, story = pricing(model), Story().start()
    story.tell(Kind.PROGRESS, usage=plain(usages[0]))
    story.at += 40
    story.plan(("a", [], 1))
    assert planning_took(story.run_view, price) is None, "the preflight alone makes no plan"
    story = Story().start()
    for usage in usages:
        story.tell(Kind.PROGRESS, usage=plain(usage))
    story.at += 40
    story.plan(("a", [], 1))
    story.at += 100
    story.start().plan(("a", [], 1))
    assert planning_took(story.run_view, price) == part_of(40.0, usages, price)

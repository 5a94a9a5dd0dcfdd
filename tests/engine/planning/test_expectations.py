"""What is expected of a run, with and without earlier ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude.allowance import IMAGE_TOKENS
from claude.prices import pricing
from config import Settings
from core.bundle import ModelSettings
from core.context import Context, ContextImage
from core.events import ExpectedPace, Kind, Part, PastForecasts
from core.job import Usage
from core.wire import plain
from engine.planning.expectations import USUAL_PLAN_TOKENS, Expectations, planning_took
from engine.planning.history import Answers, History, RunFigures
from engine.planning.requests import part_of, plan_tokens, unwritten_tokens
from tests.engine.run.test_run_view import Story
from tests.fakes.plans import make_plan

PLAN = make_plan({"a": [], "b": []}, {"a": 9_000, "b": 9_000})
REAL = Settings(real=True)


def expected(settings: Settings, *runs: RunFigures) -> Expectations:
    models = settings.models()
    return Expectations(models, settings.max_executors, pricing(*models.each), History(runs))


def met(model: str, tokens_per_s: float) -> RunFigures:
    """A run whose one long answer came at that rate."""
    seconds = 10_000 / tokens_per_s
    answers = Answers("anthropic", model, False, 1, 10_000, seconds, 1e8, 10_000 * seconds)
    return RunFigures("r", 1, answers=(answers,))


def test_both_ways_are_compared_at_the_speed_of_life_whatever_that_of_a_simulation() -> None:
    planning = Part(3.0, 2_000, 0.02)
    found = [
        expected(Settings(sim_speed=speed), met("claude-sonnet-5-5", 5.0)).compare(PLAN, planning)
        for speed in (0.0, 1.0, 20.0)
    ]
    assert found[0] == found[1] == found[2]
    assert found[0].planning.seconds > plan_tokens(PLAN) / 100
    assert (found[0].planning.tokens, found[0].planning.cost_usd) == (2_000, 0.02)
    assert expected(REAL).compare(PLAN, planning).planning == planning


def test_what_is_given_beside_the_prompt_is_expected_too() -> None:
    plain = expected(REAL)
    text = plain.given_more(Context("x" * 40_000))
    seen = plain.given_more(Context("", (ContextImage("a.png", "image/png", "AAAA"),)))
    looking = plain.given_more(Context(), existing=True)
    tokens = plain.planning("p").tokens
    assert text.planning("p").tokens == tokens + 10_000
    assert seen.planning("p").tokens == tokens + IMAGE_TOKENS
    assert looking.planning("p").tokens > tokens + 50_000, "each turn is sent all before it"
    likely = plain.forecast(PLAN).tokens.likely
    assert text.forecast(PLAN).tokens.likely > likely + 10_000 * len(PLAN.tasks)
    assert looking.forecast(PLAN).tokens == plain.forecast(PLAN).tokens


def test_each_role_is_forecast_at_its_own_price() -> None:
    def cost(settings: Settings) -> float:
        figures = expected(settings).forecast(PLAN, Part(1.0, 1, 0.0))
        assert figures.cost_usd is not None
        return figures.cost_usd.likely

    usual = cost(Settings())
    assert cost(Settings(executor_model="claude-opus-5-5")) > 1.5 * usual
    assert cost(Settings(planner_model="claude-opus-5-5")) == usual
    dear = expected(Settings(planner_model="claude-opus-5-5")).planning("p").cost_usd
    cheap = expected(Settings()).planning("p").cost_usd
    assert dear is not None
    assert cheap is not None
    assert dear > 1.5 * cheap


def test_a_plan_that_was_given_took_nothing_and_one_task_has_nothing_to_compare_with() -> None:
    figures = expected(Settings()).forecast(make_plan({"a": []}))
    assert (figures.planning, figures.alone, figures.parallel) == (None, None, None)
    assert expected(Settings()).forecast(PLAN).alone is not None


def test_a_real_run_goes_by_the_pace_that_earlier_ones_met() -> None:
    settings = replace(REAL, planner_model="p", executor_model="e")
    assumed = expected(settings, met("p", 20.0)).forecast(PLAN)
    assert assumed.pace == ExpectedPace(0.8, 80.0, 0)
    slow, fast = (expected(settings, met("e", rate)).forecast(PLAN) for rate in (10.0, 100.0))
    assert slow.pace is not None
    assert slow.pace.tokens_per_s == pytest.approx(10.0)
    assert (slow.pace.first_token_s, slow.pace.runs) == (0.0, 1)
    assert slow.seconds.likely == pytest.approx(10 * fast.seconds.likely)
    assert slow.parallel is not None
    assert slow.parallel.seconds == slow.seconds.likely
    assert slow.cost_usd == fast.cost_usd == assumed.cost_usd
    assert expected(settings, met("p", 20.0)).planning("").seconds == USUAL_PLAN_TOKENS / 20


def test_a_simulation_goes_by_its_own_pace() -> None:
    figures = expected(Settings(sim_speed=2), met("claude-sonnet-5-5", 1.0)).forecast(PLAN)
    assert figures.pace is None
    assert figures.seconds == expected(Settings(sim_speed=2)).forecast(PLAN).seconds


def test_a_plan_is_expected_to_be_as_long_as_those_before() -> None:
    planned = met("m", 80.0)
    known = replace(planned, planner="claude-sonnet-5-5", plan_tokens=12_000)
    usual, longer = (expected(REAL, run).planning("p") for run in (planned, known))
    assert longer.tokens - usual.tokens == 12_000 - USUAL_PLAN_TOKENS
    assert longer.seconds > usual.seconds


def test_a_plan_that_is_being_written_is_expected_to_get_the_contracts_it_uses() -> None:
    uses = tuple(task.model_copy(update={"uses": ("x.py", "y.py")}) for task in PLAN.tasks)
    begun = PLAN.model_copy(update={"tasks": uses})
    whole, early = expected(REAL), expected(REAL).begun(begun, 12.0)
    assert early.seconds == 12.0
    assert early.tokens > whole.begun(PLAN, 12.0).tokens
    figures = whole.forecast(begun, early)
    wait_s = unwritten_tokens(begun) / 80
    assert figures.seconds.likely == pytest.approx(wait_s + whole.forecast(PLAN).seconds.likely)
    assert figures.parallel is not None
    assert figures.parallel.seconds == pytest.approx(12.0 + figures.seconds.likely)


def test_the_error_of_past_forecasts_is_told_with_each_new_one() -> None:
    run = RunFigures("r", 1, time_ratio=1.5)
    past = expected(REAL, run).forecast(PLAN).past
    assert past is not None
    assert past.time_factor == pytest.approx(1.5)
    assert past == PastForecasts(1, past.time_factor, None)
    assert expected(Settings(), run).forecast(PLAN).past is None


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
    story.begin("a").end("a", usage=[plain(usages[1])]).finish("a")
    story.at += 100
    story.start().plan(("a", [], 1))
    assert planning_took(story.run_view, price) == part_of(40.0, usages, price)

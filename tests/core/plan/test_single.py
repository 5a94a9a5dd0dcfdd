"""The plan of one executor: what was decided before stands, and all is its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.paths import EVERYTHING
from core.plan import Plan, Setup, build_single_task_plan, plan_defects
from core.plan.single import estimate_alone, shorten
from tests.fakes.plan_parts import ANALYSIS, GOOD, plan, task


def test_it_is_made_of_a_prompt_alone() -> None:
    made = build_single_task_plan("Write a script that renames files.")
    (only,) = made.tasks
    assert plan_defects(made) == []
    assert (made.prompt, made.title) == (("Write a script that renames files."),) * 2
    assert (only.id, only.owns, only.uses) == ("build", (EVERYTHING,), ())
    assert (made.analysis.parallel_pays, made.analysis.recommended_executors) == (False, 1)
    assert made.setup == Setup()


def test_what_the_planner_decided_before_it_was_cut_stands() -> None:
    made = build_single_task_plan("the prompt", GOOD)
    assert plan_defects(made) == []
    for name in ("title", "summary", "assumptions", "setup", "conventions"):
        assert getattr(made, name) == getattr(GOOD, name)
    assert made.analysis.rationale == GOOD.analysis.rationale
    assert not made.analysis.parallel_pays
    assert (made.contracts, made.acceptance_criteria) == ((), ())


def test_it_is_estimated_by_the_tasks_there_were_or_by_the_complexity() -> None:
    (only,) = build_single_task_plan("p", GOOD).tasks
    assert only.estimate == sum(t.estimate for t in GOOD.tasks)
    begun = Plan(title="T", analysis=ANALYSIS, tasks=())
    (only,) = build_single_task_plan("p", begun).tasks
    assert only.estimate == estimate_alone(ANALYSIS.complexity)
    assert build_single_task_plan("p", plan(task("a", estimate=0))).tasks[0].estimate > 0


@pytest.mark.parametrize(("said", "kept"), [(-1, 1), (0, 1), (7, 7), (11, 10)])
def test_a_complexity_that_no_plan_may_have_does_not_go_on(said: int, kept: int) -> None:
    begun = Plan(analysis=ANALYSIS.model_copy(update={"complexity": said}), tasks=())
    made = build_single_task_plan("p", begun)
    assert plan_defects(made) == []
    assert made.analysis.complexity == kept


@given(st.integers(-5, 20))
def test_what_is_more_complex_is_longer_within_limits(complexity: int) -> None:
    assert 600 <= estimate_alone(complexity) <= estimate_alone(complexity + 1) <= 48_000


@pytest.mark.parametrize(
    ("prompt", "title"),
    [
        ("", ""),
        (" a\n b ", "a b"),
        ("word " * 12 + "end", "word " * 12 + "..."),
        ("x" * 61, "x" * 60 + " ..."),
        ("x" * 60, "x" * 60),
    ],
)
def test_a_title_is_the_beginning_of_the_prompt(prompt: str, title: str) -> None:
    assert shorten(prompt) == title


@given(st.text(max_size=200))
def test_a_title_is_short_whatever_the_prompt(prompt: str) -> None:
    title = shorten(prompt)
    assert len(title) <= 64
    assert title == " ".join(title.split())
    assert " ".join(prompt.split()).startswith(title.removesuffix(" ..."))

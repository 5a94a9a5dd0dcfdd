"""The shape of a plan: closed, frozen, and in the order in which a planner writes it."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from core.plan import (
    PLAN_VERSION,
    USUAL_ESTIMATE,
    Analysis,
    Contract,
    Criterion,
    Plan,
    Setup,
    Task,
)
from tests.fakes.plan_parts import GOOD, plan, task

PARTS = (Analysis, Setup, Task, Criterion, Contract, Plan)


def test_what_decides_comes_first_and_what_is_longest_last() -> None:
    assert [name for name in Plan.model_fields if name not in ("version", "prompt")] == [
        *("title", "summary", "assumptions", "analysis", "setup", "conventions"),
        *("shared", "reads", "tasks", "acceptance_criteria", "contracts"),
    ]


@pytest.mark.parametrize("part", PARTS)
def test_a_planner_is_told_what_each_field_means(part: type[BaseModel]) -> None:
    known = {"version", "setup", "analysis", "tasks", "acceptance_criteria", "contracts"}
    for name, field in part.model_fields.items():
        assert field.description or name in known, name


@pytest.mark.parametrize("part", PARTS)
def test_nothing_can_be_added_to_a_part(part: type[BaseModel]) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        part.model_validate({"surprise": 1})


def test_a_plan_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        GOOD.title = "other"
    with pytest.raises(ValidationError, match="frozen"):
        GOOD.tasks[0].estimate = 1


def test_of_a_task_only_its_name_its_work_and_its_files_have_to_be_said() -> None:
    made = Plan.model_validate({"tasks": [{"id": "a", "instructions": "Do.", "owns": ["x"]}]})
    (only,) = made.tasks
    assert made.version == PLAN_VERSION
    assert (only.estimate, only.depends_on, only.uses, only.checks) == (USUAL_ESTIMATE, (), (), ())
    assert made.analysis.parallel_pays


def test_a_task_is_found_by_its_id() -> None:
    assert GOOD.task("b").depends_on == ("a",)
    with pytest.raises(StopIteration):
        plan(task("a")).task("b")

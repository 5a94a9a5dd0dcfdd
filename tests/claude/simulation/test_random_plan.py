"""The random plan of --sim-tasks: valid, wide, and a function of seed and number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.simulation.prompt_cache import count_tokens
from claude.simulation.random_plan import random_plan, write_random_file
from core.plan import plan_defects, promised_contracts
from core.simulation_notice import simulation_notice
from tests.fakes.plans import ancestors


@given(st.integers(), st.integers(1, 60))
def test_the_same_seed_gives_the_same_valid_plan(seed: int, tasks: int) -> None:
    plan = random_plan(seed, tasks)
    assert plan == random_plan(seed, tasks)
    assert plan_defects(plan) == []
    assert len(plan.tasks) == tasks
    assert plan.analysis.parallel_pays == (tasks > 1)


@given(st.integers(), st.integers(1, 60))
def test_its_files_are_as_long_as_was_estimated(seed: int, tasks: int) -> None:
    for task in random_plan(seed, tasks).tasks:
        files = write_random_file(seed, task.id)
        assert tuple(files) == task.owns
        assert sum(map(count_tokens, files.values())) == task.estimate
        assert all(text.endswith("\n") for text in files.values())


def test_another_seed_gives_another_plan() -> None:
    assert random_plan(1, 20).tasks != random_plan(2, 20).tasks


@pytest.mark.parametrize("tasks", [300, 10_000])
def test_many_tasks_have_levels_width_and_few_inputs_each(tasks: int) -> None:
    plan = random_plan(0, tasks)
    level: dict[str, int] = {}
    for task in plan.tasks:
        level[task.id] = 1 + max((level[name] for name in task.depends_on), default=0)
    assert 5 <= max(level.values()) <= 40
    assert sum(not task.depends_on for task in plan.tasks) > tasks / 4
    assert sum(map(len, ancestors(plan).values())) < 10 * tasks
    assert len({task.estimate for task in plan.tasks}) > 100


def test_the_tree_says_that_it_is_random() -> None:
    (readme,) = random_plan(0, 2).contracts
    assert readme.path == "README.md"
    assert readme.content == simulation_notice("Random plan of 2 tasks") + "\n"
    assert promised_contracts(random_plan(0, 2)) == []  # so that no task waits for it

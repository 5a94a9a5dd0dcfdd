from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.plan import Plan, Task, longest_chain
from engine.planning.makespan import makespan_s
from tests.fakes.plans import chain, fan, plans


def seconds(task: Task) -> float:
    return 10.0


def test_a_chain_takes_as_long_as_its_tasks_together() -> None:
    assert makespan_s(chain(4), 3, seconds) == 40


@pytest.mark.parametrize(("executors", "wall_s"), [(1, 60), (2, 30), (6, 10), (99, 10)])
def test_tasks_beside_each_other_share_the_executors(executors: int, wall_s: float) -> None:
    assert makespan_s(fan(6), executors, seconds) == wall_s


@given(plans(), st.integers(1, 4))
def test_no_schedule_is_shorter_than_the_longest_chain_or_the_shared_work(
    plan: Plan, executors: int
) -> None:
    weight = {task.id: max(1, task.estimate) for task in plan.tasks}
    wall_s = makespan_s(plan, executors, lambda task: weight[task.id])
    assert wall_s >= sum(weight[name] for name in longest_chain(plan))
    assert sum(weight.values()) / executors <= wall_s <= sum(weight.values())

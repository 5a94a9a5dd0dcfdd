"""What follows from a plan's dependencies and estimates, against plain ways to find it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.plan import (
    Plan,
    longest_chain,
    makespan_tokens,
    remaining_path,
    topological_order,
)
from engine.planning.makespan import makespan_s
from tests.fakes.plans import chain, fan, make_plan, plans

graphs = plans(max_tasks=9, max_estimate=50)


@given(graphs)
def test_the_order_has_every_task_once_and_after_all_it_needs(made: Plan) -> None:
    order = topological_order(made)
    assert sorted(order) == sorted(t.id for t in made.tasks)
    for t in made.tasks:
        assert all(order.index(d) < order.index(t.id) for d in t.depends_on)


@given(graphs)
def test_of_all_tasks_that_could_come_next_the_first_of_the_plan_does(made: Plan) -> None:
    done: list[str] = []
    for name in topological_order(made):
        ready = [t.id for t in made.tasks if t.id not in done and set(t.depends_on) <= set(done)]
        assert name == ready[0]
        done.append(name)


def longest(made: Plan, name: str) -> int:
    after = [longest(made, t.id) for t in made.tasks if name in t.depends_on]
    return max(1, made.task(name).estimate) + max(after, default=0)


@given(graphs)
def test_the_remaining_path_is_the_longest_way_to_the_end(made: Plan) -> None:
    assert remaining_path(made) == {t.id: longest(made, t.id) for t in made.tasks}


# Small numbers, so that tasks often end at once and have paths of the same length.
@given(plans(max_tasks=10, max_estimate=4), st.integers(1, 5))
def test_the_makespan_is_that_of_the_real_scheduler_in_virtual_time(
    made: Plan, executors: int
) -> None:
    simulated = makespan_s(made, executors, lambda task: float(max(1, task.estimate)))
    assert makespan_tokens(made, executors) == simulated


@given(graphs, st.integers(1, 12))
def test_the_makespan_is_at_least_the_longest_path_and_the_share_of_each(
    made: Plan, executors: int
) -> None:
    found, work = makespan_tokens(made, executors), makespan_tokens(made, 1)
    path = max(remaining_path(made).values())
    assert work == sum(max(1, t.estimate) for t in made.tasks)
    assert max(path, work / executors) <= found <= path + work / executors


def test_who_ends_together_leaves_room_together() -> None:
    ends_at_once = {"low": 3, "high": 3}
    first, then = {"low": (), "high": ()}, {"x": ("low",), "y": ("high",), "z": ("high",)}
    made = make_plan({**first, **then}, {**ends_at_once, "x": 1, "y": 2, "z": 2})
    assert makespan_tokens(made, 2) == 3 + 2 + 1


@pytest.mark.parametrize(
    ("made", "executors", "tokens"), [(chain(5), 8, 5), (fan(5), 2, 3), (fan(5), 0, 5)]
)
def test_a_makespan_can_be_said_at_once_for_chains_and_fans(
    made: Plan, executors: int, tokens: int
) -> None:
    assert makespan_tokens(made, executors) == tokens


@given(graphs)
def test_the_longest_chain_goes_from_a_start_to_an_end_and_none_is_longer(made: Plan) -> None:
    chain = longest_chain(made)
    assert not made.task(chain[0]).depends_on
    assert not any(chain[-1] in t.depends_on for t in made.tasks)
    assert all(a in made.task(b).depends_on for a, b in pairwise(chain))
    weight = sum(max(1, made.task(name).estimate) for name in chain)
    assert weight == max(remaining_path(made).values())

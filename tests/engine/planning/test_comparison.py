"""One executor alone against plan and tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.prices import pricing
from claude.simulation.latency import Pace
from core.bundle import ModelSettings
from core.events import Part
from core.job import Usage
from core.plan import Plan, longest_chain
from engine.planning.comparison import compare
from engine.planning.requests import Terms, expected_planning, expected_s
from tests.fakes.plans import chain, fan, make_plan, plans

MODEL = ModelSettings()
PACE = Pace(0.8, 1 / 80)
TERMS = Terms(MODEL, PACE, pricing(MODEL))


def heavy(*sizes: int) -> Plan:
    """Tasks beside each other."""
    names = [f"t{n}" for n in range(len(sizes))]
    return make_plan(dict.fromkeys(names, ()), dict(zip(names, sizes, strict=True)))


def test_large_parts_beside_each_other_pay_for_a_short_plan() -> None:
    plan = heavy(10_000, 10_000, 10_000)
    found = compare(plan, 3, TERMS, expected_planning(4_000, "", TERMS))
    assert found.parallel.seconds < found.alone.seconds
    assert found.alone.seconds == expected_s(30_000, PACE)
    assert found.tasks.seconds == expected_s(10_000, PACE)
    assert found.parallel.seconds == found.planning.seconds + found.tasks.seconds


def test_a_plan_as_long_as_the_work_does_not_pay() -> None:
    found = compare(heavy(2_000, 2_000), 2, TERMS, expected_planning(4_000, "", TERMS))
    assert found.parallel.seconds >= found.alone.seconds


@pytest.mark.parametrize("plan", [chain(4), make_plan({"a": []}, {"a": 5_000})])
def test_where_nothing_runs_beside_anything_parallel_never_pays(plan: Plan) -> None:
    found = compare(plan, 5, TERMS, Part(1.0, 1_000, 0.01))
    assert found.parallel.seconds >= found.alone.seconds


def test_with_one_executor_parallel_never_pays() -> None:
    found = compare(heavy(9_000, 9_000), 1, TERMS, Part())
    assert found.parallel.seconds >= found.alone.seconds


def test_contracts_are_written_once_by_whoever_works() -> None:
    """In a parallel run they are a part of the plan, which executors only read."""
    bare, typed = (
        make_plan({"a": [], "b": []}, {"a": 900, "b": 900}, contracts)
        for contracts in ({}, {"types.py": "x" * 8_000})
    )
    without, with_them = (compare(plan, 2, TERMS, Part()) for plan in (bare, typed))
    assert with_them.alone.seconds == expected_s(1_800 + 2_000, PACE)
    assert with_them.tasks.seconds == without.tasks.seconds
    assert with_them.tasks.tokens > without.tasks.tokens


def test_tasks_that_begin_before_the_plan_is_written_wait_for_what_they_use() -> None:
    plan = make_plan({"a": [], "b": [], "c": ["b"]}, {"a": 6_000, "b": 1_000, "c": 1_000})
    user, other, last = plan.tasks
    begun = plan.model_copy(
        update={"tasks": (user, other.model_copy(update={"uses": ("x.py",)}), last)}
    )
    whole, early = (compare(p, 2, TERMS, Part(9.0, 9, 0.0), 30.0) for p in (plan, begun))
    assert early.tasks.seconds == whole.tasks.seconds == expected_s(6_000, PACE)
    slow = compare(begun, 2, TERMS, Part(9.0, 9, 0.0), 300.0)
    assert slow.tasks.seconds == pytest.approx(300.0 + 2 * expected_s(1_000, PACE))
    assert early.alone.tokens > whole.alone.tokens, "it writes that file too"


def test_one_long_conversation_reads_more_and_more_of_itself() -> None:
    half, whole = (compare(heavy(size), 1, TERMS, Part()).alone for size in (30_000, 60_000))
    assert half.cost_usd is not None
    assert whole.cost_usd is not None
    assert whole.cost_usd > 2 * half.cost_usd
    assert whole.seconds < 2 * half.seconds


@pytest.mark.parametrize(("tokens", "usd"), [(22_400, 0.35), (43_000, 0.72), (48_200, 0.94)])
def test_one_executor_alone_costs_about_what_was_measured(tokens: int, usd: float) -> None:
    """The whole output of one conversation of a real model, and its price."""
    found = compare(heavy(tokens), 1, TERMS, Part()).alone
    assert found.cost_usd == pytest.approx(usd, rel=0.3)


def test_an_unknown_price_leaves_times_and_tokens() -> None:
    def only_tasks(usage: Usage) -> float | None:
        return None

    found = compare(fan(3), 3, Terms(MODEL, PACE, only_tasks), Part(1.0, 10, 0.5))
    assert found.alone.cost_usd is found.tasks.cost_usd is found.parallel.cost_usd is None
    assert found.parallel.tokens == found.tasks.tokens + 10


@given(plans(max_estimate=20_000), st.integers(1, 6), st.integers(0, 20_000))
def test_no_way_is_faster_than_its_longest_chain(plan: Plan, executors: int, tokens: int) -> None:
    planning = expected_planning(tokens, "", TERMS)
    found = compare(plan, executors, TERMS, planning)
    of = {task.id: expected_s(task.estimate, PACE) for task in plan.tasks}
    assert found.parallel.seconds >= planning.seconds + max(of.values()) - 1e-6
    assert found.tasks.seconds <= sum(of.values()) + 1e-6
    chain_s = sum(of[name] for name in longest_chain(plan))
    assert found.tasks.seconds >= chain_s - 1e-6

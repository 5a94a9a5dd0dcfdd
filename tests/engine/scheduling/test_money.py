"""What is reserved, spent and given back when jobs are stopped, and plans are corrected."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.bundle import Allowance
from core.events import Kind
from core.job import Amount, JobKey, Outcome, Usage
from core.plan import Plan
from engine.money.budget import Budget, CostEstimate, earlier_budget
from engine.money.ledger import Ledger
from engine.run.run_view import replay
from engine.scheduling.types import PlanNews, PlanWritten, StopCause
from engine.scheduling.virtual_backend import VirtualEnd
from tests.engine.scheduling.test_growing_plan import HANGS, changed
from tests.fakes.events import data_of
from tests.fakes.growing_plans import Growth, announce
from tests.fakes.plans import make_plan
from tests.fakes.virtual_run import PACING, RUN, Crash, World, always

NEED = CostEstimate(Amount(100), Amount(100), Amount(100))
FLAT = make_plan({"a": (), "b": ()})
WAITS = VirtualEnd(queued_s=1e6)


def expecting(budget: Budget, plan: Plan) -> Budget:
    budget.expect({task.id: NEED for task in plan.tasks})
    return budget


def with_cap(tokens: int, plan: Plan = FLAT) -> Budget:
    return expecting(Budget(Ledger(max_tokens=tokens)), plan)


def reserved(world: World) -> dict[tuple[str, int], int]:
    intents = world.events(Kind.JOB_INTENDED)
    return {(e.task, e.attempt): data_of(e)["reservation"]["tokens"] for e in intents}


def test_an_interrupt_charges_what_ran_and_nothing_for_what_was_queued() -> None:
    world = World(FLAT, always(a=HANGS, b=WAITS), budget=with_cap(1_000))
    scheduler = world.scheduler()
    world.clock.call_at(10.0, scheduler.interrupt)
    scheduler.run()
    assert world.budget is not None
    assert world.budget.left() == Allowance(900, None)


def test_a_correction_charges_what_ran_and_nothing_for_what_was_queued() -> None:
    final = changed(FLAT, "a", "b", instructions="Otherwise.")
    world = World(FLAT, always(a=(HANGS, VirtualEnd()), b=(WAITS, VirtualEnd())))
    world.budget = with_cap(1_000)
    outcome = world.run(source=Growth(FLAT, final, {}, whole_at=10.0).begin(world))
    assert outcome.succeeded == {"a": 2, "b": 2}
    assert world.budget.left() == Allowance(900, None)


def test_what_a_resumed_run_no_longer_wants_gives_back_what_it_did_not_use() -> None:
    plan = make_plan({"a": ()})
    world = World(plan, always(a=(HANGS, VirtualEnd())), budget=with_cap(150))
    world.crash_on = (Kind.JOB_SUBMITTED, "a")
    with pytest.raises(Crash):
        world.run()
    world.store.used[JobKey(RUN, "a", 1)] = (Usage("p", "m", 30),)
    announce(world, changed(plan, "a", instructions="Otherwise."))
    jobs = replay(RUN, world.journal).jobs
    world.budget = expecting(earlier_budget(150, None, jobs, lambda _: None), plan)
    assert world.run().succeeded == {"a": 2}
    assert world.budget.left() == Allowance(120, None)
    assert replay(RUN, world.journal).jobs.open == {}


def test_a_reservation_that_was_enlarged_for_another_task_is_so_no_longer() -> None:
    short = VirtualEnd(5.0, outcome=Outcome.BUDGET)
    world = World(FLAT, always(a=(short, HANGS, VirtualEnd()), b=(short, VirtualEnd(60.0))))
    world.budget = with_cap(1_000)
    final = changed(FLAT, "a", instructions="Otherwise.")
    outcome = world.run(source=Growth(FLAT, final, {}, whole_at=20.0).begin(world))
    assert outcome.succeeded == {"a": 3, "b": 2}
    tokens = {("a", 1): 100, ("a", 2): 200, ("a", 3): 100, ("b", 1): 100, ("b", 2): 200}
    assert reserved(world) == tokens


def test_a_budget_that_is_spent_while_the_plan_is_written_names_what_the_whole_plan_needs() -> None:
    plan = make_plan({"a": ()})
    final = make_plan({"a": (), "b": (), "c": ("b",)})
    short = VirtualEnd(5.0, outcome=Outcome.BUDGET)
    world = World(plan, always(a=(short, VirtualEnd())), pacing=replace(PACING, max_executors=9))
    budget = world.budget = with_cap(150, plan)

    def hear(news: PlanNews | Usage) -> None:
        if isinstance(news, PlanWritten):
            expecting(budget, news.plan)

    source = Growth(plan, final, {}, whole_at=200.0).begin(world, hear=hear)
    outcome = world.run(source=source)
    assert world.clock.monotonic() == 200.0  # which decides what counts
    assert outcome.stop is not None
    assert outcome.stop.cause is StopCause.BUDGET
    assert outcome.stop.resume_with == "--max-tokens 400"
    assert set(outcome.states) == {"a", "b", "c"}
    announce(world, final)
    world.budget = with_cap(400, final)
    assert world.run().succeeded == {"a": 2, "b": 1, "c": 1}

"""Tasks that begin while their plan is still being written, and plans that turn out otherwise."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputsDamaged, PlanningFailed
from core.events import Kind
from core.job import Job, JobKey, Outcome, TaskState, Usage
from core.plan import Definitions, Plan, Task
from core.plan.draft import ContractWritten
from engine.run.run_view import RunView, replay
from engine.run.task_view import TaskPhase
from engine.scheduling.types import (
    PlanDelayed,
    PlanFailed,
    PlanWritten,
    RunOutcome,
    StopCause,
)
from engine.scheduling.virtual_backend import VirtualEnd
from tests.engine.scheduling.test_scheduler_properties import calls_for, ends, faults
from tests.fakes.events import data_of
from tests.fakes.growing_plans import (
    Growth,
    Moment,
    ScriptedSource,
    announce,
    corrected_growths,
    definitions_begun,
    growths,
)
from tests.fakes.plans import descendants, make_plan
from tests.fakes.virtual_run import (
    PACING,
    RUN,
    Crash,
    Faults,
    FaultyBackend,
    MemoryStore,
    PromptBackend,
    Window,
    World,
    always,
)

WIDE = replace(PACING, max_executors=20)
HANGS = VirtualEnd(duration_s=1e6)


def begun(world: World) -> dict[tuple[str, int], float]:
    """When each attempt was begun."""
    return {(e.task, e.attempt): e.at for e in world.events(Kind.JOB_INTENDED)}


def ended(world: World) -> dict[str, float]:
    """When each task succeeded."""
    found = world.events(Kind.TASK_ENDED)
    return {e.task: e.at for e in found if data_of(e)["state"] == "SUCCEEDED"}


def seconds_of(key: JobKey) -> float:
    return float(17 + 31 * sum(map(ord, key.task)) % 83)


# -- a plan that comes as it was begun


@given(growths())
def test_a_task_begins_the_moment_that_its_dependencies_are_done_and_its_contracts_written(
    growth: Growth,
) -> None:
    world = World(growth.head, lambda key: VirtualEnd(seconds_of(key)), pacing=WIDE)
    outcome = world.run(source=growth.begin(world))
    assert set(outcome.succeeded.items()) == {(t.id, 1) for t in growth.plan.tasks}
    at, done = begun(world), ended(world)
    for task in growth.plan.tasks:
        needs = [done[name] for name in task.depends_on]
        contracts = [growth.arrives[path] for path in task.uses]
        assert at[task.id, 1] == max([*needs, *contracts, 0.0]), task.id
    assert world.clock.monotonic() >= growth.whole_at
    assert len([e for e in world.journal if e.kind is Kind.PLAN_READY]) == 1
    final = Definitions(growth.plan)
    assert definitions_begun(world) == {(t.id, 1): final.of(t.id) for t in growth.plan.tasks}


@given(growths(), st.data())
def test_it_ends_as_with_the_whole_plan_whatever_fails(growth: Growth, data: st.DataObject) -> None:
    scripts = {t.id: data.draw(st.lists(ends, min_size=1, max_size=3)) for t in growth.plan.tasks}

    def script(key: JobKey) -> VirtualEnd:
        return scripts[key.task][min(key.attempt, len(scripts[key.task])) - 1]

    early, whole = World(growth.head, script, pacing=WIDE), World(growth.plan, script, pacing=WIDE)
    source = growth.begin(early)
    assert early.run(source=source).states == whole.run().states


def test_the_run_waits_for_the_end_of_the_plan() -> None:
    plan = make_plan({"a": ()})
    world = World(plan, always(VirtualEnd(10.0)))
    world.run(source=ScriptedSource(world.clock, [(500.0, PlanWritten(plan))]))
    assert world.clock.monotonic() == 500.0


class DamagedStore(MemoryStore):
    """Whose results of `a` are not as they were left."""

    is_damaged = True

    def prepare(self, task: Task, *more: Any) -> Job:
        if self.is_damaged and "a" in task.depends_on:
            raise InputsDamaged("The result of 'a' was damaged.")
        return super().prepare(task, *more)


@pytest.mark.parametrize("written_at", [None, 500.0])
def test_a_damaged_input_stops_launches_and_is_made_again_by_who_goes_on(
    written_at: float | None,
) -> None:
    plan = make_plan({"a": (), "b": ("a",), "c": ("b",), "long": (), "later": ("long",)})
    world = World(plan, always(long=VirtualEnd(50.0)))
    world.store = store = DamagedStore(plan)
    news = [(written_at, PlanWritten(plan))] if written_at else []
    outcome = world.run(source=ScriptedSource(world.clock, news) if written_at else None)
    assert outcome.stop is not None
    assert outcome.stop.cause is StopCause.DAMAGED
    assert outcome.succeeded == {"a": 1, "long": 1}
    assert world.clock.monotonic() == (written_at or 50.0)
    [end] = [data_of(e) for e in world.events(Kind.JOB_ENDED) if e.task == "b"]
    assert (end["cause"], end.get("unaccounted")) == ("LAUNCH", None)
    store.is_damaged = False
    earlier = replay(RUN, world.journal).jobs
    again = world.scheduler(earlier=replace(earlier, succeeded={"long": 1})).run()
    assert again.succeeded == {"a": 2, "b": 2, "c": 1, "long": 1, "later": 1}
    assert world.store.meanings[JobKey(RUN, "c", 1)][1] == {"a": 2, "b": 2}


def test_the_store_has_a_contract_before_a_task_that_uses_it_is_prepared() -> None:
    plan = make_plan({"a": ()}, contracts={"c0.py": "X = 1\n"})
    world = World(plan, always())
    growth = Growth(plan, plan, {"c0.py": 20.0}, 100.0)
    world.run(source=growth.begin(world))
    assert world.store.contracts == ["c0.py"]
    assert begun(world) == {("a", 1): 20.0}


# -- a plan that turns out otherwise


def check_end(world: World, final: Plan, outcome: RunOutcome) -> RunView:
    """What is done stands on the final plan and on nothing else, and the journal says so."""
    definitions, stood_on = Definitions(final), definitions_begun(world)
    assert set(outcome.states) == {t.id for t in final.tasks}
    for task, attempt in outcome.succeeded.items():
        assert stood_on[task, attempt] == definitions.of(task), task
        _, inputs = world.store.meanings[JobKey(RUN, task, attempt)]
        assert inputs == {name: outcome.succeeded[name] for name in inputs}
    view = replay(RUN, world.journal)
    assert view.jobs.succeeded == outcome.succeeded
    assert list(view.tasks) == [t.id for t in final.tasks]
    phases = {name: task.phase for name, task in view.tasks.items()}
    assert phases == {name: TaskPhase[state.name] for name, state in outcome.states.items()}
    assert sum(view.tasks.counts.values()) == len(final.tasks)
    assert not any(task.slot for task in view.tasks.values())
    return view


@settings(max_examples=100)
@given(corrected_growths())
def test_what_stands_on_the_same_is_kept_and_all_else_is_begun_anew(growth: Growth) -> None:
    world = World(growth.head, lambda key: VirtualEnd(seconds_of(key)), pacing=WIDE)
    outcome = world.run(source=growth.begin(world))
    assert set(outcome.succeeded) == {t.id for t in growth.final.tasks}
    check_end(world, growth.final, outcome)
    final, stood_on, at = Definitions(growth.final), definitions_begun(world), begun(world)
    for task in growth.final.tasks:
        kept = stood_on[task.id, 1] == final.of(task.id)
        assert outcome.succeeded[task.id] == (1 if kept else 2), task.id
    paused = growth.whole_at if growth.delayed_at is None else growth.delayed_at
    assert not [e for e in at.values() if paused < e < growth.whole_at]


@settings(max_examples=100)
@given(corrected_growths(), st.data())
def test_whatever_fails_nothing_that_is_void_counts_and_all_that_was_used_is_accounted_for(
    growth: Growth, data: st.DataObject
) -> None:
    names = {t.id for t in growth.plan.tasks} | {t.id for t in growth.final.tasks}
    scripts = {n: data.draw(st.lists(ends, min_size=1, max_size=3)) for n in sorted(names)}
    world = World(growth.head, lambda key: VirtualEnd(), data.draw(faults(growth.plan)))

    def script(key: JobKey) -> VirtualEnd:
        used = (Usage("p", "m", 10 ** len(key.task) + key.attempt),)
        world.store.used[key] = used
        own = scripts[key.task]
        return replace(own[min(key.attempt, len(own)) - 1], usage=used)

    world = replace(
        world,
        script=script,
        timeline=[],
        journal=[],
        backend_type=data.draw(st.sampled_from([FaultyBackend, PromptBackend])),
    )
    outcome = world.run(data.draw(calls_for(world)), source=growth.begin(world))
    assert outcome.stop is None
    failed = {n for n, state in outcome.states.items() if state is TaskState.FAILED}
    assert {n for n, s in outcome.states.items() if s is TaskState.BLOCKED} == descendants(
        growth.final, failed
    )
    view = check_end(world, growth.final, outcome)
    ends_told = [e for e in world.journal if e.kind is Kind.JOB_ENDED]
    assert len({(e.task, e.attempt) for e in ends_told}) == len(ends_told)
    told = sum(u["input_tokens"] for e in ends_told for u in data_of(e)["usage"])
    assert sum(u.input_tokens for u in view.jobs.spent) == told
    never_ended = set(begun(world)) - {(e.task, e.attempt) for e in ends_told}
    assert {(key.task, key.attempt) for key in view.jobs.open} == never_ended
    if not world.faults.outages:
        assert not never_ended


@settings(max_examples=100)
@given(corrected_growths(), st.integers(1, 40), st.booleans(), st.data())
def test_a_crash_after_any_line_is_resumed_on_the_final_plan(
    growth: Growth, lines: int, again: bool, data: st.DataObject
) -> None:
    world = World(growth.head, lambda key: VirtualEnd(seconds_of(key)), pacing=WIDE)
    source = growth.begin(world)
    world.crash_after_line = len(world.journal) + lines
    with suppress(Crash):
        world.run(source=source)
    world.crash_after_line = None
    if again:  # the second session dies as well
        world.crash_after_line = len(world.journal) + data.draw(st.integers(1, 20))
        with suppress(Crash):
            announce(world, growth.final)
            world.run()
        world.crash_after_line = None
    announce(world, growth.final)
    outcome = world.run()
    assert set(outcome.succeeded) == {t.id for t in growth.final.tasks}
    check_end(world, growth.final, outcome)


@settings(max_examples=100)
@given(corrected_growths(), st.integers(0, 500))
def test_an_interrupt_at_any_time_ends_in_the_grace_and_the_run_can_be_finished(
    growth: Growth, at: int
) -> None:
    world = World(growth.head, lambda key: VirtualEnd(seconds_of(key)), pacing=WIDE)
    scheduler = world.scheduler(source=growth.begin(world))
    world.clock.call_at(at, scheduler.interrupt)
    first = scheduler.run()
    if first.stop is not None:
        assert first.stop.cause is StopCause.INTERRUPTED
        assert world.clock.monotonic() <= at + PACING.interrupt_grace_s
        assert not [e for e in world.events(Kind.JOB_INTENDED) if e.at > at]
    announce(world, growth.final)
    outcome = world.run()
    assert set(outcome.succeeded) == {t.id for t in growth.final.tasks}
    check_end(world, growth.final, outcome)


DIAMOND = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def changed(plan: Plan, *tasks: str, **changes: object) -> Plan:
    found = [t.model_copy(update=changes) if t.id in tasks else t for t in plan.tasks]
    return plan.model_copy(update={"tasks": tuple(found)})


def notices(world: World) -> list[str]:
    return [data_of(e)["text"] for e in world.events(Kind.NOTICE)]


def test_after_three_tasks_have_begun_a_correction_keeps_one_restarts_one_and_drops_one() -> None:
    plan = make_plan({"a": (), "b": (), "c": (), "d": ("a",)})
    other = changed(plan, "b", instructions="Otherwise.")
    final = other.model_copy(update={"tasks": tuple(t for t in other.tasks if t.id != "c")})
    growth = Growth(plan, final, {}, whole_at=50.0, delayed_at=20.0)
    world = World(growth.head, always(VirtualEnd(30.0), b=(HANGS, VirtualEnd(5.0)), c=HANGS))
    outcome = world.run(source=growth.begin(world))
    assert outcome.succeeded == {"a": 1, "b": 2, "d": 1}
    assert begun(world)["d", 1] == begun(world)["b", 2] == 50.0
    assert notices(world) == [
        "The plan was corrected; kept: a; starts anew: b; left out: c.",
    ]
    (_, again) = world.events(Kind.PLAN_READY)
    assert list(data_of(again)["restarted"]) == ["b"]
    messages = {e.task: data_of(e)["message"] for e in world.events(Kind.JOB_ENDED)}
    assert messages["c"] == "It was stopped since the plan was corrected."
    assert world.backend.inner._statuses[JobKey(RUN, "b", 1)].state == "CANCELLED"
    assert not [e for e in world.events(Kind.TASK_ENDED) if e.task == "c"]


def test_a_result_that_comes_after_the_correction_counts_for_nothing() -> None:
    plan = make_plan({"a": (), "b": ("a",)})
    final = changed(plan, "a", instructions="Otherwise.")
    stubborn = VirtualEnd(60.0, ignores_cancel=True, usage=(Usage("p", "m", 7),))
    world = World(plan, always(VirtualEnd(100.0), a=(stubborn, VirtualEnd(10.0))))
    growth = Growth(plan, final, {}, whole_at=40.0)
    outcome = world.run(source=growth.begin(world))
    assert outcome.succeeded == {"a": 2, "b": 1}
    view = check_end(world, final, outcome)
    assert [u.input_tokens for u in view.jobs.spent] == [7]
    assert view.spend().requests == 1
    assert world.store.meanings[JobKey(RUN, "b", 1)][1] == {"a": 2}


def test_a_task_that_waits_for_its_retry_goes_on_waiting_or_starts_anew() -> None:
    plan = make_plan({"a": (), "b": ()})
    final = changed(plan, "b", instructions="Otherwise.")
    defect = VirtualEnd(5.0, outcome=Outcome.RATE_LIMITED)
    world = World(plan, always(a=(defect, VirtualEnd()), b=(defect, VirtualEnd())))
    growth = Growth(plan, final, {}, whole_at=6.0)
    outcome = world.run(source=growth.begin(world))
    assert outcome.succeeded == {"a": 2, "b": 2}
    assert world.store.meanings[JobKey(RUN, "a", 2)][0] == "RATE_LIMITED by script"
    assert world.store.meanings[JobKey(RUN, "b", 2)][0] == ""
    check_end(world, final, outcome)


def test_a_task_that_was_blocked_runs_without_that_message_once_what_failed_is_another() -> None:
    plan = make_plan({"a": (), "b": ("a",)})
    final = changed(plan, "a", instructions="Otherwise.")
    refused = VirtualEnd(1.0, outcome=Outcome.DEFECT)
    world = World(plan, always(a=(refused, VirtualEnd())), max_attempts=1)
    growth = Growth(plan, final, {}, whole_at=40.0)
    outcome = world.run(source=growth.begin(world))
    assert outcome.succeeded == {"a": 2, "b": 1}
    assert outcome.messages == {}
    assert world.final_states() == {"a": ["FAILED", "SUCCEEDED"], "b": ["BLOCKED", "SUCCEEDED"]}
    assert world.store.meanings[JobKey(RUN, "b", 1)][0] == ""
    check_end(world, final, outcome)


def test_what_the_corrected_plan_makes_depend_on_a_failed_task_is_told_to_be_blocked() -> None:
    plan = make_plan({"a": (), "b": ()}, uses={"b": ("c0.py",)}, contracts={"c0.py": ""})
    final = make_plan({"a": (), "b": ("a",)}, uses={"b": ("c0.py",)}, contracts={"c0.py": ""})
    world = World(plan, always(a=VirtualEnd(1.0, outcome=Outcome.DEFECT)), max_attempts=1)
    growth = Growth(changed(plan, "a", uses=()), changed(final, "a", uses=()), {}, whole_at=40.0)
    outcome = world.run(source=growth.begin(world))
    assert outcome.states == {"a": TaskState.FAILED, "b": TaskState.BLOCKED}
    assert world.final_states() == {"a": ["FAILED"], "b": ["BLOCKED"]}
    check_end(world, final, outcome)


def test_a_job_that_could_not_be_handed_over_is_not_sent_once_its_task_is_void() -> None:
    plan = make_plan({"a": (), "b": ()})
    final = make_plan({"b": ()})
    outage = Faults((Window("submit", 0, 30),))
    world = World(plan, always(VirtualEnd(10.0)), outage)
    growth = Growth(plan, final, {}, whole_at=20.0)
    outcome = world.run(source=growth.begin(world))
    assert outcome.succeeded == {"b": 1}
    assert [key.task for key in world.backend.inner.started] == ["b"]
    assert set(replay(RUN, world.journal).jobs.open) == {JobKey(RUN, "a", 1)}


def test_estimates_and_titles_void_nothing() -> None:
    plan = make_plan(DIAMOND)
    final = changed(plan, *DIAMOND, estimate=77, title="Other")
    world = World(plan, always(VirtualEnd(10.0)))
    outcome = world.run(source=Growth(plan, final, {}, whole_at=15.0).begin(world))
    assert outcome.succeeded == dict.fromkeys(DIAMOND, 1)
    assert notices(world) == ["The plan was corrected; kept: a, b, c."]


def test_a_plan_that_is_delayed_without_end_starts_nothing() -> None:
    plan = make_plan({"a": (), "b": ("a",)}, contracts={"c0.py": ""}, uses={"b": ("c0.py",)})
    plan = changed(plan, "a", uses=())
    (contract,) = plan.contracts
    world = World(plan, always(VirtualEnd(10.0)))
    announce(world, plan.model_copy(update={"contracts": ()}))
    moments: list[Moment] = [
        (5.0, PlanDelayed()),
        (6.0, ContractWritten(contract)),
        (900.0, PlanWritten(plan)),
    ]
    world.run(source=ScriptedSource(world.clock, moments))
    assert begun(world) == {("a", 1): 0.0, ("b", 1): 900.0}


# -- no plan in the end, and other stops


def test_planning_that_fails_cancels_what_runs() -> None:
    plan = make_plan({"a": (), "b": (), "c": ("b",)})
    world = World(plan, always(VirtualEnd(5.0), a=HANGS))
    announce(world, plan)
    failed = PlanFailed(str(PlanningFailed("No valid plan.", "")))
    outcome = world.run(source=ScriptedSource(world.clock, [(30.0, failed)]))
    assert outcome.stop is not None
    assert outcome.stop.cause is StopCause.PLANNING
    assert world.clock.monotonic() == 30.0
    assert outcome.states == {
        "a": TaskState.CANCELLED,
        "b": TaskState.SUCCEEDED,
        "c": TaskState.SUCCEEDED,
    }
    assert world.backend.inner._statuses[JobKey(RUN, "a", 1)].state == "CANCELLED"
    assert "Interrupted" not in " ".join(notices(world))
    assert replay(RUN, world.journal).jobs.succeeded == {"b": 1, "c": 1}


@pytest.mark.parametrize("cause", [Outcome.AUTH, Outcome.BILLING])
def test_a_run_that_stops_while_its_plan_is_written_waits_for_what_counts(cause: Outcome) -> None:
    plan = make_plan({"a": (), "b": ()})
    final = changed(plan, "b", instructions="Otherwise.")
    world = World(plan, always(VirtualEnd(5.0), a=VirtualEnd(10.0, outcome=cause)))
    outcome = world.run(source=Growth(plan, final, {}, whole_at=200.0).begin(world))
    assert outcome.stop is not None
    assert outcome.stop.cause is StopCause(cause)
    assert outcome.succeeded == {}  # b was done, but of another plan
    assert outcome.states == {"a": TaskState.CANCELLED, "b": TaskState.CANCELLED}
    assert world.clock.monotonic() == 200.0
    check_end(world, final, outcome)


def test_an_interrupt_stays_one_when_planning_fails_after_it() -> None:
    plan = make_plan({"a": ()})
    world = World(plan, always(VirtualEnd(1e6, ignores_cancel=True)))
    announce(world, plan)
    moments = [(12.0, PlanFailed("stopped"))]
    scheduler = world.scheduler(source=ScriptedSource(world.clock, moments))
    world.clock.call_at(10.0, scheduler.interrupt)
    outcome = scheduler.run()
    assert outcome.stop is not None
    assert outcome.stop.cause is StopCause.INTERRUPTED


# -- resuming


def test_a_resumed_run_that_was_planned_anew_tells_what_starts_anew() -> None:
    plan = make_plan({"a": (), "b": (), "c": ()})
    world = World(plan, always(VirtualEnd(10.0), b=(HANGS, VirtualEnd(1.0)), c=HANGS))
    world.crash_on = (Kind.TASK_ENDED, "a")
    announce(world, plan)
    with pytest.raises(Crash):
        world.run(source=ScriptedSource(world.clock, []))
    final = changed(plan, "b", instructions="Otherwise.")
    final = final.model_copy(update={"tasks": final.tasks[:2]})
    announce(world, final)
    outcome = world.run()
    assert outcome.succeeded == {"a": 1, "b": 2}
    assert "starts anew: b" in notices(world)[-1]
    for key in (JobKey(RUN, "b", 1), JobKey(RUN, "c", 1)):
        assert world.backend.inner._statuses[key].state == "CANCELLED"
    check_end(world, final, outcome)


def test_a_result_under_the_former_plan_is_not_taken_for_one_under_the_new() -> None:
    plan = make_plan({"a": ()})
    final = changed(plan, "a", instructions="Otherwise.")
    world = World(plan, always(VirtualEnd(10.0), a=(VirtualEnd(10.0), HANGS, VirtualEnd(1.0))))
    source = Growth(plan, final, {}, whole_at=30.0).begin(world)
    scheduler = world.scheduler(source=source)
    world.clock.call_at(40.0, scheduler.interrupt)
    assert scheduler.run().succeeded == {}
    jobs = replay(RUN, world.journal).jobs
    assert (jobs.succeeded, jobs.attempts) == ({}, {"a": 2})
    announce(world, final)
    assert world.run().succeeded == {"a": 3}

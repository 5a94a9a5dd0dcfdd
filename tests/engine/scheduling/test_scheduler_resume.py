"""A run that was interrupted, or whose process died, is finished by another scheduler."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.threading_backend import ThreadingBackend
from core.bundle import AttemptDir, Limits, ModelSettings, claim
from core.clock import Clock, SystemClock
from core.errors import BackendError
from core.events import Event, Kind
from core.job import JobKey, Outcome, TaskState
from core.plan import Plan
from engine.run.attempt_store import DiskStore, write_contracts
from engine.run.jobs_view import JobsView
from engine.run.journal import Journal, read_journal
from engine.run.run_view import replay
from engine.run.rundir import RunDir, RunFacts, create_run
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing, RunOutcome, StopCause
from engine.scheduling.virtual_backend import VirtualEnd
from tests.engine.scheduling.test_scheduler_properties import (
    LAST_FAULT_S,
    calls_for,
    check_rules,
    longest_s,
    worlds,
)
from tests.fakes.events import data_of
from tests.fakes.plans import descendants, make_plan
from tests.fakes.results import hand_in
from tests.fakes.virtual_run import (
    PACING,
    RUN,
    Crash,
    Faults,
    MemoryStore,
    SlowCalls,
    Window,
    World,
    always,
)

HANGS = VirtualEnd(duration_s=1e6)
CHAIN = make_plan({"a": (), "b": ("a",), "c": ("b",)})


def check_finished(world: World, outcome: RunOutcome) -> None:
    """The plan is through, by the rules, over all sessions."""
    assert outcome.stop is None
    failed = {n for n, state in outcome.states.items() if state is TaskState.FAILED}
    blocked = {n for n, state in outcome.states.items() if state is TaskState.BLOCKED}
    assert blocked == descendants(world.plan, failed)
    assert set(outcome.succeeded) == set(outcome.states) - failed - blocked
    for task in outcome.succeeded:
        assert world.final_states()[task].count("SUCCEEDED") == 1
    check_rules(world)


@settings(max_examples=100)
@given(world=worlds(), at=st.integers(0, 800), data=st.data())
def test_an_interrupt_at_any_time_ends_in_the_grace_and_the_run_can_be_finished(
    world: World, at: int, data: st.DataObject
) -> None:
    scheduler = world.scheduler(data.draw(calls_for(world)))
    world.clock.call_at(at, scheduler.interrupt)
    first = scheduler.run()
    check_rules(world)
    assert world.final_states() == {n: [state] for n, state in first.states.items()}
    if first.stop is None:
        assert world.clock.monotonic() <= longest_s(world)
    else:
        assert first.stop.cause is StopCause.INTERRUPTED
        assert world.clock.monotonic() <= at + PACING.interrupt_grace_s
        assert not [e for e in world.events(Kind.JOB_INTENDED) if e.at > at]

    mark = len(world.timeline)
    begun = world.clock.monotonic()
    second = world.run(data.draw(calls_for(world)))
    assert world.clock.monotonic() <= begun + longest_s(world)
    check_finished(world, second)
    assert set(second.succeeded) >= set(first.succeeded)
    told = world.final_states(mark)
    assert all(len(told[name]) == (name not in first.succeeded) for name in told)


@settings(max_examples=120)
@given(world=worlds(), deaths=st.lists(st.integers(1, 40), max_size=3), data=st.data())
def test_a_crash_after_any_line_of_the_journal_can_be_resumed(
    world: World, deaths: list[int], data: st.DataObject
) -> None:
    for lines in deaths:
        world.crash_after_line = len(world.journal) + lines
        with suppress(Crash):
            world.run(data.draw(calls_for(world)))
    world.crash_after_line = None
    finish_and_check(world, data)


@settings(max_examples=80)
@given(world=worlds(), before=st.booleans(), number=st.integers(1, 6), data=st.data())
def test_a_crash_around_a_submit_can_be_resumed(
    world: World, before: bool, number: int, data: st.DataObject
) -> None:
    if before:
        world.backend.dies_before_submit = number
    else:
        world.backend.dies_after_submit = number
    with suppress(Crash):
        world.run(data.draw(calls_for(world)))
    world.backend.dies_before_submit = world.backend.dies_after_submit = 0
    finish_and_check(world, data)


@settings(max_examples=100)
@given(world=worlds(), lines=st.integers(1, 40), share=st.floats(0, 1), data=st.data())
def test_a_power_cut_that_takes_lines_not_yet_committed_can_be_resumed(
    world: World, lines: int, share: float, data: st.DataObject
) -> None:
    world.crash_after_line = lines
    try:
        world.run(data.draw(calls_for(world)))
    except Crash:
        kept = world.committed + int(share * (len(world.journal) - world.committed))
        lost = {id(e) for e in world.journal[kept:]}
        del world.journal[kept:]
        # what the disk forgot never happened as far as the run is concerned
        world.timeline[:] = [e for e in world.timeline if id(e) not in lost]
    world.crash_after_line = None
    handed_over = {key for e in world.timeline if isinstance(e, tuple) for key in e[1]}
    assert handed_over <= {JobKey(RUN, e.task, e.attempt) for e in world.journal if e.task}
    finish_and_check(world, data)


def finish_and_check(world: World, data: st.DataObject) -> None:
    done = set(replay(RUN, world.journal).jobs.succeeded)
    begun = world.clock.monotonic()
    outcome = world.run(data.draw(calls_for(world)))
    assert world.clock.monotonic() <= max(begun, LAST_FAULT_S) + longest_s(world)
    assert done <= set(outcome.succeeded)
    check_finished(world, outcome)


def crashed(world: World, kind: Kind, task: str) -> World:
    """`world` after its process died just behind the first such line of its journal."""
    world.crash_on = (kind, task)
    with pytest.raises(Crash):
        world.run()
    return world


def test_a_running_job_is_found_again_and_not_started_anew() -> None:
    world = crashed(World(CHAIN, always(VirtualEnd(duration_s=100))), Kind.JOB_SUBMITTED, "a")
    world.clock.sleep(50)
    outcome = world.run()
    assert outcome.succeeded == {"a": 1, "b": 1, "c": 1}
    assert world.clock.monotonic() == 300
    assert world.backend.called["reattach"] == 1


def test_a_job_that_ended_while_nobody_looked_is_collected() -> None:
    world = crashed(World(CHAIN, always(VirtualEnd(duration_s=100))), Kind.JOB_SUBMITTED, "a")
    world.clock.sleep(500)
    assert world.run().succeeded["a"] == 1
    assert world.jobs_of("a") == [1]


def test_an_intent_without_a_trace_goes_out_again_under_the_same_key() -> None:
    world = crashed(World(CHAIN, always()), Kind.JOB_INTENDED, "a")
    assert world.run().succeeded == {"a": 1, "b": 1, "c": 1}
    assert world.backend.inner.started[0] == JobKey(RUN, "a", 1)


def test_a_task_whose_end_was_cut_off_the_journal_is_told_as_done_and_not_run_again() -> None:
    world = crashed(World(CHAIN, always()), Kind.JOB_ENDED, "a")
    assert world.final_states()["a"] == []
    outcome = world.run()
    assert outcome.succeeded == {"a": 1, "b": 1, "c": 1}
    assert world.final_states()["a"] == ["SUCCEEDED"]
    assert world.events(Kind.TASK_ENDED)[0].attempt == 1
    assert world.jobs_of("a") == [1]


def test_a_task_whose_untold_result_was_found_damaged_is_run_again() -> None:
    world = crashed(World(CHAIN, always()), Kind.JOB_ENDED, "a")
    earlier = replay(RUN, world.journal).jobs
    del earlier.succeeded["a"]
    outcome = world.scheduler(earlier=earlier).run()
    assert outcome.succeeded["a"] == 2


def test_a_resumed_task_gets_all_its_tries_and_a_job_that_died_with_the_process_costs_none() -> (
    None
):
    gone = Window("MISSING", 50, 90, "a")
    script = always(VirtualEnd(), a=(HANGS, VirtualEnd(outcome=Outcome.DEFECT), VirtualEnd()))
    world = World(CHAIN, script, Faults(disguises=(gone,)), max_attempts=2)
    crashed(world, Kind.JOB_SUBMITTED, "a")
    world.clock.sleep(50)
    assert world.run().succeeded["a"] == 3


def test_failed_and_blocked_tasks_are_tried_again_by_a_resumed_run() -> None:
    defect = VirtualEnd(outcome=Outcome.DEFECT)
    world = World(CHAIN, always(VirtualEnd(), b=(defect, defect, defect, VirtualEnd())))
    first = world.run()
    assert first.states["b"] is TaskState.FAILED
    second = world.run()
    assert second.succeeded == {"a": 1, "b": 4, "c": 1}
    assert second.messages == {}
    assert world.store.meanings[JobKey(RUN, "b", 4)][0] == "DEFECT by script"


def test_a_job_whose_dependency_was_found_damaged_is_cancelled_and_run_again_later() -> None:
    world = crashed(
        World(CHAIN, always(VirtualEnd(duration_s=10), b=(HANGS, VirtualEnd()))),
        Kind.JOB_SUBMITTED,
        "b",
    )
    earlier = replay(RUN, world.journal).jobs
    del earlier.succeeded["a"]  # as engine.pipeline does
    outcome = world.scheduler(earlier=earlier).run()
    assert outcome.succeeded == {"a": 2, "b": 2, "c": 1}
    assert world.clock.monotonic() < 100
    stray = JobKey(RUN, "b", 1)
    assert world.backend.inner._statuses[stray].state == "CANCELLED"


def test_a_finished_task_is_kept_while_its_damaged_ancestor_runs_again() -> None:
    world = World(CHAIN, always(VirtualEnd(duration_s=10)))
    earlier = JobsView(attempts={"a": 1, "b": 1}, succeeded={"b": 1})
    outcome = world.scheduler(earlier=earlier).run()
    assert outcome.succeeded == {"a": 2, "b": 1, "c": 1}
    assert world.clock.monotonic() == 20
    assert world.store.meanings[JobKey(RUN, "c", 1)] == ("", {"a": 2, "b": 1})


def test_a_job_of_a_task_that_the_plan_no_longer_has_is_cancelled() -> None:
    world = crashed(World(CHAIN, always(a=HANGS)), Kind.JOB_SUBMITTED, "a")
    world.plan = make_plan({"other": ()})
    world.store = MemoryStore(world.plan)
    assert world.run().succeeded == {"other": 1}
    assert world.backend.called["cancel"] == 1


def test_of_two_open_attempts_of_a_task_the_earlier_is_cancelled() -> None:
    world = crashed(World(CHAIN, always(VirtualEnd(duration_s=100))), Kind.JOB_SUBMITTED, "a")
    earlier = replay(RUN, world.journal).jobs
    earlier.attempts["a"] = 2
    earlier.open[JobKey(RUN, "a", 2)] = None
    outcome = world.scheduler(earlier=earlier).run()
    assert outcome.succeeded["a"] == 2
    assert world.backend.called["cancel"] == 1


def test_a_resumed_run_with_fewer_executors_starts_nothing_until_jobs_end() -> None:
    plan = make_plan(dict.fromkeys("abcdef", ()))
    world = World(plan, always(VirtualEnd(duration_s=100)), pacing=replace(PACING, max_executors=4))
    crashed(world, Kind.JOB_SUBMITTED, "d")
    world.pacing = replace(PACING, max_executors=2)
    world.run()
    begun = {e.task: e.at for e in world.events(Kind.JOB_INTENDED)}
    assert begun["e"] == begun["f"] == 100


def test_nothing_is_launched_before_earlier_jobs_are_known() -> None:
    outage = Faults((Window("reattach", 0, 50),))
    world = crashed(World(CHAIN, always(VirtualEnd(duration_s=20)), outage), Kind.JOB_INTENDED, "a")
    assert world.run().succeeded == {"a": 1, "b": 1, "c": 1}
    assert world.clock.monotonic() >= 110
    assert [data_of(e)["text"] for e in world.events(Kind.NOTICE)] == [
        "faulty reattach: reattach is out of reach. Trying again."
    ]


def test_a_backend_that_never_tells_of_earlier_jobs_is_given_up() -> None:
    world = crashed(World(CHAIN, always(HANGS)), Kind.JOB_SUBMITTED, "a")
    with pytest.raises(BackendError, match="has not answered reattach"):
        world.run(SlowCalls(world.clock, hang=frozenset({"reattach"})))


def test_an_interrupt_while_earlier_jobs_are_asked_after_ends_the_run() -> None:
    world = crashed(World(CHAIN, always(HANGS)), Kind.JOB_SUBMITTED, "a")
    scheduler = world.scheduler(SlowCalls(world.clock, hang=frozenset({"reattach"})))
    world.clock.call_at(30, scheduler.interrupt)
    outcome = scheduler.run()
    assert outcome.stop is not None
    assert world.clock.monotonic() == 30


def test_a_finished_run_asks_the_backend_nothing() -> None:
    world = World(CHAIN, always())
    world.run()
    calls = dict(world.backend.called)
    assert world.run().succeeded == {"a": 1, "b": 1, "c": 1}
    assert world.backend.called == calls


# -- on threads and a real disk


def work_on(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
    """Writes one file and a result; "b" waits until it is told to stop, the first time."""
    key = JobKey(attempt.root.parents[2].name, attempt.root.parent.name, int(attempt.root.name))
    if not claim(attempt, claimant):
        return
    if (key.task, key.attempt) == ("b", 1):
        clock.sleep(60)
    texts = {"out.txt": f"{key}\n", "seen.txt": "\n".join(sorted(seen(attempt)))}
    hand_in(attempt, key, {f"{key.task}/{name}": text for name, text in texts.items()})


def seen(attempt: AttemptDir) -> list[str]:
    return [str(p.relative_to(attempt.inputs)) for p in attempt.inputs.rglob("*") if p.is_file()]


class InterruptingJournal(Journal):
    """Interrupts the run when `task` has been handed over."""

    def __init__(self, path: Path, task: str) -> None:
        super().__init__(path)
        self._task = task
        self.scheduler: Scheduler | None = None

    def emit(self, event: Event) -> None:
        super().emit(event)
        if (event.kind, event.task) == (Kind.JOB_SUBMITTED, self._task) and self.scheduler:
            self.scheduler.interrupt()


def session(run: RunDir, plan: Plan, interrupt_after: str = "") -> RunOutcome:
    """One process at work on the run, as the program does it."""
    earlier = replay(run.run_id, read_journal(run.journal)).jobs
    journal = InterruptingJournal(run.journal, interrupt_after)
    backend = ThreadingBackend(run.root, work_on)
    calls = ThreadedCalls(SystemClock())
    journal.scheduler = Scheduler(
        run.run_id,
        plan,
        backend=backend,
        store=DiskStore(run, plan, "prompt", ModelSettings(), Limits()),
        sink=journal,
        calls=calls,
        clock=SystemClock(),
        policy=RetryPolicy(3, random.Random(7)),
        pacing=Pacing(max_executors=2),
        earlier=earlier,
        commit=journal.commit,
    )
    try:
        return journal.scheduler.run()
    finally:
        calls.close()
        backend.close()
        journal.close()


def test_an_interrupted_run_on_threads_is_finished_from_its_journal_and_disk(
    tmp_path: Path,
) -> None:
    plan = make_plan(
        {"a": (), "b": ("a",), "c": ("b",), "d": ()}, contracts={"api/types.py": "X = 1\n"}
    )
    run = create_run(tmp_path, RunFacts(RUN, "prompt", "target", 0.0, {}, simulated=True))
    write_contracts(run, plan.contracts)
    first = session(run, plan, interrupt_after="b")
    assert first.stop is not None
    assert first.states["a"] is TaskState.SUCCEEDED
    assert first.states["b"] is TaskState.CANCELLED
    assert first.states["c"] is TaskState.CANCELLED

    second = session(run, plan)
    assert second.stop is None
    assert second.succeeded == {"a": 1, "b": 2, "c": 1, "d": 1}
    seen_by_c = (run.attempt(JobKey(RUN, "c", 1)).files / "c" / "seen.txt").read_text().split()
    assert seen_by_c == ["a/out.txt", "a/seen.txt", "api/types.py", "b/out.txt", "b/seen.txt"]
    assert (run.attempt(JobKey(RUN, "b", 2)).files / "b" / "out.txt").read_text() == f"{RUN}/b/2\n"
    begun = [(e.task, e.attempt) for e in read_journal(run.journal) if e.kind is Kind.JOB_INTENDED]
    assert len(begun) == len(set(begun))

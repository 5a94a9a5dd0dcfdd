"""The scheduler on exact scripts: what it does when, and how often it asks."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from backends.base import LogChunk, PollPace
from bench.schedule_virtual import list_schedule, random_plan
from core.errors import BackendError, SubmitError
from core.events import Kind
from core.job import JobHandle, JobKey, JobState, JobStatus, Outcome, Reason, TaskState, Usage
from engine.scheduling.types import Pacing, StopCause
from engine.scheduling.virtual_backend import VirtualEnd
from tests.fakes.events import data_of
from tests.fakes.plans import make_plan
from tests.fakes.virtual_run import (
    PACING,
    RUN,
    CountingCalls,
    Faults,
    FaultyBackend,
    SlowCalls,
    Window,
    World,
    always,
)

HANGS = VirtualEnd(duration_s=1e6)
FAILS = VirtualEnd(outcome=Outcome.DEFECT)
ONE = make_plan({"a": ()})
THREE = make_plan({"a": (), "b": (), "c": ()})


def reasons(world: World) -> list[str]:
    return [data_of(e)["reason"] for e in world.events(Kind.TASK_RETRY)]


def causes(world: World) -> list[str]:
    return [data_of(e)["cause"] for e in world.events(Kind.JOB_ENDED)]


# -- dispatch


def test_a_plan_without_trouble_succeeds_task_by_task() -> None:
    world = World(make_plan({"a": (), "b": ("a",)}), always(VirtualEnd(duration_s=5)))
    outcome = world.run()
    assert outcome.states == {"a": TaskState.SUCCEEDED, "b": TaskState.SUCCEEDED}
    assert outcome.succeeded == {"a": 1, "b": 1}
    assert outcome.stop is None
    assert outcome.messages == {}
    assert world.clock.monotonic() == 10


def test_a_ready_task_never_waits_for_slower_tasks_of_its_level() -> None:
    plan = make_plan({"slow": (), "quick": (), "after-quick": ("quick",), "last": ("after-quick",)})
    world = World(plan, always(VirtualEnd(duration_s=10), slow=VirtualEnd(duration_s=100)))
    world.run()
    # with levels, after-quick would start at 100 and last at 110
    begun = {e.task: e.at for e in world.events(Kind.JOB_INTENDED)}
    assert begun == {"slow": 0, "quick": 0, "after-quick": 10, "last": 20}
    assert world.clock.monotonic() == 100


def test_the_longest_remaining_path_is_started_first() -> None:
    plan = make_plan(
        {"leaf": (), "head": (), "tail": ("head",)}, {"leaf": 40, "head": 10, "tail": 50}
    )
    world = World(plan, always(), pacing=replace(PACING, max_executors=1))
    world.run()
    assert [key.task for key in world.backend.inner.started] == ["head", "tail", "leaf"]


@pytest.mark.parametrize("executors", [1, 3, 16])
def test_the_makespan_is_that_of_critical_path_first_list_scheduling(executors: int) -> None:
    plan = random_plan(200, random.Random(executors))
    seconds = {t.id: float(t.estimate) for t in plan.tasks}
    world = World(
        plan,
        lambda key: VirtualEnd(duration_s=seconds[key.task]),
        pacing=Pacing(max_executors=executors, task_timeout_s=1e9),
    )
    world.run()
    assert world.clock.monotonic() == list_schedule(plan, executors, seconds).makespan_s


def test_free_slots_are_filled_by_one_submit_and_all_jobs_asked_after_by_one_poll() -> None:
    plan = make_plan({f"t{n}": () for n in range(40)})
    world = World(plan, always(), pacing=replace(PACING, max_executors=40))
    world.run()
    assert world.backend.called["submit"] == 1
    assert world.backend.called["poll"] == 2  # they run; they have ended
    assert world.backend.called["collect"] == 1


def test_queued_jobs_hold_their_slots() -> None:
    world = World(THREE, always(VirtualEnd(queued_s=50)), pacing=replace(PACING, max_executors=2))
    world.run()
    assert [e.at for e in world.events(Kind.JOB_INTENDED)] == [0, 0, 51]
    assert world.most_at_once() == 2


# -- the loop's thrift


class Telling(FaultyBackend):
    """A backend that tells of every change, and needs few polls for that."""

    pace = PollPace(first_s=60.0, most_s=3600.0)


def test_the_loop_waits_a_few_times_for_each_job_and_never_spins() -> None:
    plan = make_plan({f"t{n}": () for n in range(50)})
    pacing = replace(PACING, max_executors=2, task_timeout_s=5000)
    world = World(plan, always(VirtualEnd(duration_s=1000)), pacing=pacing, backend_type=Telling)
    calls = CountingCalls(world.clock)
    world.run(calls)
    ends = 25  # two at a time
    assert calls.waits < 15 * ends
    assert calls.started["submit"] == ends
    assert calls.started["collect"] == ends
    assert calls.started["poll"] <= 7 * ends  # begun, at 60, 180, 420 and 900 s, ended


def test_polls_back_off_while_nothing_changes_and_come_back_after_a_change() -> None:
    world = World(
        make_plan({"a": (), "b": ("a",)}),
        always(VirtualEnd(duration_s=200)),
        Faults(silent=True),
    )
    world.run()
    gaps = [b - a for a, b in pairwise(world.backend.polled_at)]
    assert gaps[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert len(gaps) < 30
    assert min(gaps) >= 1
    assert world.clock.monotonic() < 400 + 2 * 31


def test_a_run_of_a_silent_backend_makes_few_waits() -> None:
    world = World(ONE, always(VirtualEnd(duration_s=250)), Faults(silent=True))
    calls = CountingCalls(world.clock)
    world.run(calls)
    assert calls.waits < 3 * len(world.backend.polled_at)


def test_failing_polls_and_cancels_are_repeated_at_a_pace_and_not_in_a_storm() -> None:
    outages = (Window("poll", 100, 500), Window("cancel", 300, 700))
    world = World(ONE, always(a=(HANGS, VirtualEnd())), Faults(outages))
    calls = CountingCalls(world.clock)
    assert world.run(calls).succeeded == {"a": 2}
    assert causes(world) == ["TIMEOUT", "OK"]
    assert calls.started["cancel"] < 400
    assert calls.waits < 1500


# -- retries


def test_a_failed_attempt_is_tried_again_after_a_delay_and_told_why() -> None:
    world = World(ONE, always(a=(FAILS, VirtualEnd())))
    assert world.run().succeeded == {"a": 2}
    assert reasons(world) == ["DEFECT"]
    delay_s = data_of(world.events(Kind.TASK_RETRY)[0])["delay_s"]
    assert 0.25 <= delay_s <= 0.5
    intended = [e.at for e in world.events(Kind.JOB_INTENDED)]
    assert intended[1] == pytest.approx(1 + delay_s, abs=0.001)
    assert [m[0] for m in world.store.meanings.values()] == ["", "DEFECT by script"]


def test_a_task_that_keeps_failing_fails_after_its_tries_and_blocks_its_descendants() -> None:
    plan = make_plan({"a": (), "b": ("a",), "c": ("b",), "d": ()})
    world = World(plan, always(a=FAILS))
    outcome = world.run()
    assert world.jobs_of("a") == [1, 2, 3]
    assert outcome.states == {
        "a": TaskState.FAILED,
        "b": TaskState.BLOCKED,
        "c": TaskState.BLOCKED,
        "d": TaskState.SUCCEEDED,
    }
    assert outcome.messages["a"] == "DEFECT by script"
    assert outcome.messages["c"] == "It depends on 'a', which failed."
    assert outcome.stop is None


def test_a_rate_limited_attempt_holds_all_launches_until_it_may_go_again() -> None:
    limited = VirtualEnd(outcome=Outcome.RATE_LIMITED)
    world = World(THREE, always(a=(limited, VirtualEnd())))
    world.pacing = replace(PACING, max_executors=1)
    world.run()
    delay_s = data_of(world.events(Kind.TASK_RETRY)[0])["delay_s"]
    assert delay_s >= 7.5
    assert world.events(Kind.JOB_INTENDED)[1].at == pytest.approx(1 + delay_s, abs=0.001)


def test_an_outage_of_submit_does_not_shorten_the_pause_after_a_rate_limit() -> None:
    limited = VirtualEnd(outcome=Outcome.RATE_LIMITED, duration_s=2)
    world = World(
        THREE,
        always(a=(limited, VirtualEnd()), b=VirtualEnd(duration_s=1)),
        Faults((Window("submit", 1, 3),)),
        pacing=replace(PACING, max_executors=2),
    )
    world.run()
    submits = [keys for name, keys in (e for e in world.timeline if isinstance(e, tuple))]
    assert [k.task for k in submits[0]] == ["a", "b"]
    delay_s = data_of(world.events(Kind.TASK_RETRY)[0])["delay_s"]
    c_started = next(e.at for e in world.events(Kind.JOB_SUBMITTED) if e.task == "c")
    assert c_started >= 2 + delay_s - 0.001


def test_a_refused_job_is_tried_again_unless_it_never_will_be_accepted() -> None:
    busy = VirtualEnd(refused=SubmitError("The queue is full."))
    never = VirtualEnd(refused=SubmitError("No such partition.", retryable=False))
    world = World(THREE, always(a=(busy, VirtualEnd()), b=never))
    outcome = world.run()
    assert outcome.states["a"] is TaskState.SUCCEEDED
    assert outcome.states["b"] is TaskState.FAILED
    assert outcome.messages["b"] == "No such partition."
    assert world.jobs_of("b") == [1]
    assert reasons(world) == ["LAUNCH"]


def test_each_end_is_reported_with_its_usage_and_cause() -> None:
    world = World(ONE, always(a=VirtualEnd(status=JobStatus(JobState.FAILED), outcome=None)))
    used = Usage("anthropic", "m", output_tokens=7)
    world.store.used[JobKey(RUN, "a", 1)] = (used,)
    world.run()
    ends = world.events(Kind.JOB_ENDED)
    assert [data_of(e)["cause"] for e in ends] == ["EXIT"] * 3
    assert data_of(ends[0])["usage"][0]["output_tokens"] == 7
    assert data_of(ends[1])["usage"] == []
    assert data_of(ends[0])["state"] == "FAILED"


# -- deadlines and graces


def test_a_job_over_its_time_is_cancelled_and_tried_once_more() -> None:
    world = World(ONE, always(a=HANGS))
    outcome = world.run()
    assert causes(world) == ["TIMEOUT", "TIMEOUT"]
    assert outcome.messages["a"] == "The worker ran into its time limit."
    first = world.events(Kind.JOB_ENDED)[0]
    assert first.at == PACING.task_timeout_s + PACING.timeout_margin_s


def test_a_job_that_ignores_its_cancel_gives_its_slot_back_after_the_grace() -> None:
    deaf = replace(HANGS, ignores_cancel=True)
    world = World(make_plan({"a": (), "b": ()}, {"a": 5}), always(a=(deaf, VirtualEnd())))
    world.pacing = replace(PACING, max_executors=1)
    outcome = world.run()
    assert outcome.succeeded == {"a": 2, "b": 1}
    first = world.events(Kind.JOB_ENDED)[0]
    assert data_of(first)["cause"] == "TIMEOUT"
    assert first.at == 300 + 30 + PACING.cancel_grace_s


def test_what_a_job_that_was_given_up_has_left_by_then_is_taken() -> None:
    """Its end shows late, as where a service stops it and tells of it half a minute later."""
    stops_late = VirtualEnd(duration_s=345, ignores_cancel=True)
    lag = Faults(disguises=(Window("UNKNOWN", 340, 1e9, "a"),), silent=True)
    world = World(ONE, always(a=stops_late), lag)
    outcome = world.run()
    assert causes(world) == ["OK"]
    assert outcome.succeeded == {"a": 1}


def test_the_time_of_a_job_counts_from_its_start_and_anew_after_a_requeue() -> None:
    requeued = Faults(disguises=(Window("QUEUED", 200, 260, "a"),), silent=True)
    world = World(ONE, always(a=VirtualEnd(duration_s=300, queued_s=400)))
    assert world.run().succeeded == {"a": 1}
    world = World(ONE, always(a=VirtualEnd(duration_s=500)), requeued)
    assert world.run().succeeded == {"a": 1}
    world = World(ONE, always(a=VirtualEnd(duration_s=500)), Faults(silent=True))
    world.max_attempts = 1
    assert world.run().states == {"a": TaskState.FAILED}


def test_a_job_of_which_nothing_can_be_told_for_long_loses_its_slot() -> None:
    unknown = Faults(disguises=(Window("UNKNOWN", 0, 1e9, "a"),))
    world = World(make_plan({"a": (), "b": ()}), always(a=HANGS), unknown)
    outcome = world.run()
    assert outcome.states == {"a": TaskState.FAILED, "b": TaskState.SUCCEEDED}
    assert causes(world).count("TIMEOUT") == 2


def test_a_job_missing_for_a_moment_is_not_lost() -> None:
    gap = Window("MISSING", 10, 10 + FaultyBackend.grace_s - 1, "a")
    world = World(ONE, always(a=VirtualEnd(duration_s=90)), Faults(disguises=(gap,)))
    assert world.run().succeeded == {"a": 1}


def test_a_job_missing_for_longer_than_the_grace_is_lost_at_its_end() -> None:
    gone = Window("MISSING", 0, 40, "a")
    script = always(a=(VirtualEnd(duration_s=1e6, ignores_cancel=True), VirtualEnd()))
    world = World(ONE, script, Faults(disguises=(gone,), silent=True))
    assert world.run().succeeded == {"a": 2}
    end = world.events(Kind.JOB_ENDED)[0]
    assert data_of(end)["cause"] == "MISSING"
    assert end.at == pytest.approx(FaultyBackend.grace_s, abs=2)


def test_a_job_that_was_given_up_as_lost_is_told_to_stop_should_it_be_there_after_all() -> None:
    gone = Window("MISSING", 0, 40, "a")
    script = always(a=(VirtualEnd(duration_s=1e6), VirtualEnd(duration_s=100)))
    world = World(ONE, script, Faults(disguises=(gone,), silent=True))
    assert world.run().succeeded == {"a": 2}
    [first, _] = world.backend.inner.started
    assert world.backend.inner._statuses[first].state is JobState.CANCELLED


def test_a_job_that_is_given_up_while_others_are_told_to_stop_is_told_after_them() -> None:
    gone = (Window("MISSING", 0, 25, "a"), Window("MISSING", 3, 28, "b"))
    script = always(VirtualEnd(duration_s=100), a=(HANGS, VirtualEnd()), b=(HANGS, VirtualEnd()))
    world = World(THREE, script, Faults(disguises=gone, silent=True))
    slow_cancel = SlowCalls(world.clock, lambda method: (0, 10) if method == "cancel" else (0, 0))
    assert world.run(slow_cancel).succeeded == {"a": 2, "b": 2, "c": 1}
    states = world.backend.inner._statuses
    stopped = {key.task for key in states if states[key].state is JobState.CANCELLED}
    assert stopped == {"a", "b"}


def test_a_slowly_polled_backend_still_ends_the_grace_of_a_missing_job_in_time() -> None:
    class Slow(FaultyBackend):
        pace = PollPace(first_s=15.0, most_s=3600.0)

    gone = Faults(disguises=(Window("MISSING", 1, 1e4, "a"),), silent=True)
    world = World(ONE, always(a=(HANGS, FAILS)), gone, max_attempts=1, backend_type=Slow)
    world.run()
    assert world.clock.monotonic() == 15 + Slow.grace_s


def test_a_result_that_arrives_within_the_grace_is_taken() -> None:
    world = World(ONE, always(), Faults(late_s=FaultyBackend.grace_s - 2))
    assert world.run().succeeded == {"a": 1}
    assert world.clock.monotonic() == pytest.approx(1 + FaultyBackend.grace_s - 2, abs=1)


def test_success_without_a_result_is_none_once_the_grace_is_over() -> None:
    world = World(ONE, always(), Faults(late_s=1e6), max_attempts=1)
    outcome = world.run()
    assert outcome.states == {"a": TaskState.FAILED}
    assert causes(world) == ["EXIT"]
    assert "ended without a result" in outcome.messages["a"]
    assert "has no result yet" in outcome.messages["a"]
    assert world.clock.monotonic() == pytest.approx(1 + FaultyBackend.grace_s, abs=1)


def test_a_lost_job_that_left_a_result_has_succeeded() -> None:
    lost = VirtualEnd(status=JobStatus(JobState.LOST, Reason.NODE_LOST))
    world = World(ONE, always(a=lost))
    assert world.run().succeeded == {"a": 1}


def test_a_backend_that_forgets_to_answer_for_a_result_is_asked_again_until_the_grace_ends() -> (
    None
):
    class Forgetful(FaultyBackend):
        def collect(self, handles, destination):  # type: ignore[no-untyped-def]  # a broken backend
            return {} if self._clock.monotonic() < 8 else super().collect(handles, destination)

    world = World(ONE, always(), backend_type=Forgetful)
    assert world.run().succeeded == {"a": 1}


# -- stops


@pytest.mark.parametrize("outcome", [Outcome.AUTH, Outcome.BILLING, Outcome.BUDGET])
def test_refused_credentials_or_money_stop_launches_while_running_jobs_finish(
    outcome: Outcome,
) -> None:
    plan = make_plan({"a": (), "b": (), "c": (), "after-b": ("b",)}, {"a": 9, "b": 8})
    script = always(
        a=(VirtualEnd(duration_s=10, outcome=outcome), VirtualEnd()), b=VirtualEnd(duration_s=100)
    )
    world = World(plan, script, pacing=replace(PACING, max_executors=2))
    found = world.run()
    assert found.stop is not None
    assert found.stop.cause == StopCause(outcome)
    assert found.stop.message == f"{outcome} by script"
    assert [key.task for key in world.backend.inner.started] == ["a", "b"]
    assert found.states == {
        "a": TaskState.CANCELLED,
        "b": TaskState.SUCCEEDED,
        "c": TaskState.CANCELLED,
        "after-b": TaskState.CANCELLED,
    }
    assert world.clock.monotonic() == 100
    resumed = world.run()
    assert resumed.stop is None
    assert resumed.succeeded == {"a": 2, "b": 1, "c": 1, "after-b": 1}


def test_a_stop_does_not_wait_for_jobs_that_could_not_be_handed_over() -> None:
    stopped = World(
        THREE,
        always(a=VirtualEnd(duration_s=5, outcome=Outcome.AUTH), b=VirtualEnd(duration_s=1)),
        Faults((Window("submit", 0.5, 1e9),)),
        pacing=replace(PACING, max_executors=2),
    )
    outcome = stopped.run()
    assert outcome.stop is not None
    assert outcome.states["c"] is TaskState.CANCELLED
    assert stopped.clock.monotonic() == 5


def test_a_submit_under_way_when_the_run_stops_and_then_fails_is_not_waited_for() -> None:
    script = always(a=VirtualEnd(duration_s=5, outcome=Outcome.AUTH), b=VirtualEnd(duration_s=1))
    world = World(
        THREE,
        script,
        Faults((Window("submit", 0.5, 1e9),)),
        pacing=replace(PACING, max_executors=2),
    )
    calls = SlowCalls(
        world.clock, lambda m: (0, 20) if m == "submit" and world.clock.time() else (0, 0)
    )
    outcome = world.run(calls)
    assert outcome.stop is not None
    assert world.clock.monotonic() == 21
    assert world.jobs_of("c") == [1]


def test_an_interrupt_cancels_what_runs_and_ends_soon() -> None:
    world = World(THREE, always(HANGS), pacing=replace(PACING, max_executors=2))
    scheduler = world.scheduler()
    world.clock.call_at(42, scheduler.interrupt)
    outcome = scheduler.run()
    assert world.clock.monotonic() == 42
    assert outcome.stop is not None
    assert outcome.stop.cause is StopCause.INTERRUPTED
    assert set(outcome.states.values()) == {TaskState.CANCELLED}
    assert causes(world) == ["INTERRUPTED", "INTERRUPTED"]
    assert outcome.messages["a"] == "It was stopped when the run was interrupted."


def test_an_interrupt_fails_no_task_even_on_its_last_try() -> None:
    world = World(THREE, always(HANGS), max_attempts=1)
    scheduler = world.scheduler()
    world.clock.call_at(42, scheduler.interrupt)
    assert set(scheduler.run().states.values()) == {TaskState.CANCELLED}
    assert world.events(Kind.TASK_RETRY) == []


def test_an_interrupted_job_that_answers_with_its_own_words_keeps_them() -> None:
    class Saying(FaultyBackend):
        """A worker that saves what it has when it is told to stop."""

        def cancel(self, handles):  # type: ignore[no-untyped-def]  # only the timing differs
            self._clock.call_at(self._clock.monotonic() + 1, lambda: None)

    ends = VirtualEnd(duration_s=45, outcome=Outcome.INTERRUPTED)
    world = World(ONE, always(ends), backend_type=Saying)
    scheduler = world.scheduler()
    world.clock.call_at(42, scheduler.interrupt)
    assert scheduler.run().messages["a"] == "INTERRUPTED by script"


def test_jobs_that_ignore_an_interrupt_do_not_hold_it_up_for_longer_than_the_grace() -> None:
    world = World(THREE, always(replace(HANGS, ignores_cancel=True)))
    scheduler = world.scheduler()
    world.clock.call_at(42, scheduler.interrupt)
    outcome = scheduler.run()
    assert world.clock.monotonic() == 42 + PACING.interrupt_grace_s
    assert set(outcome.states.values()) == {TaskState.CANCELLED}
    assert world.events(Kind.JOB_ENDED) == []


def test_an_interrupt_ends_a_run_that_waits_for_running_jobs_after_a_stop() -> None:
    script = always(HANGS, a=VirtualEnd(outcome=Outcome.AUTH))
    world = World(THREE, script)
    scheduler = world.scheduler()
    world.clock.call_at(42, scheduler.interrupt)
    outcome = scheduler.run()
    assert outcome.stop is not None
    assert outcome.stop.cause is StopCause.INTERRUPTED
    assert world.clock.monotonic() == 42


def test_an_interrupt_while_bundles_are_written_hands_nothing_over() -> None:
    class Pressed(World):
        def commit(self) -> None:  # the moment between the intent and the backend
            scheduler.interrupt()

    world = Pressed(THREE, always())
    scheduler = world.scheduler()
    outcome = scheduler.run()
    assert set(outcome.states.values()) == {TaskState.CANCELLED}
    assert world.backend.called["submit"] == 0
    notices = [data_of(e)["text"] for e in world.events(Kind.NOTICE)]
    assert notices == ["Interrupted: stopping what runs; the run can be resumed."]


def test_a_result_that_says_the_credentials_were_refused_beats_a_cancel_that_came_late() -> None:
    auth = VirtualEnd(duration_s=335, outcome=Outcome.AUTH, ignores_cancel=True)
    world = World(ONE, always(a=auth))
    outcome = world.run()
    assert outcome.stop is not None
    assert outcome.stop.cause is StopCause.AUTH


def test_a_job_that_succeeds_although_it_was_cancelled_has_succeeded() -> None:
    world = World(ONE, always(a=VirtualEnd(duration_s=335, ignores_cancel=True)))
    assert world.run().succeeded == {"a": 1}


# -- broken infrastructure


@pytest.mark.parametrize("method", ["submit", "poll", "collect"])
def test_a_backend_out_of_reach_for_a_while_is_told_of_once_and_asked_again(method: str) -> None:
    world = World(THREE, always(VirtualEnd(duration_s=5)), Faults((Window(method, 0, 100),)))
    assert set(world.run().states.values()) == {TaskState.SUCCEEDED}
    notices = [data_of(e)["text"] for e in world.events(Kind.NOTICE)]
    assert notices == [f"faulty {method}: {method} is out of reach. Trying again."]


@pytest.mark.parametrize("method", ["submit", "poll", "collect"])
def test_a_backend_out_of_reach_for_too_long_ends_the_run_with_its_error(method: str) -> None:
    world = World(ONE, always(VirtualEnd(duration_s=5)), Faults((Window(method, 0, 1e9),)))
    with pytest.raises(BackendError, match=f"{method} is out of reach"):
        world.run()
    assert PACING.give_up_s <= world.clock.monotonic() <= PACING.give_up_s + 70


def test_a_submit_whose_answer_was_lost_does_not_start_a_job_twice() -> None:
    world = World(THREE, always(), Faults((Window("submit", 0, 5),), answers_lost=True))
    assert set(world.run().states.values()) == {TaskState.SUCCEEDED}
    assert sorted(world.backend.inner.started) == [JobKey(RUN, t, 1) for t in "abc"]


def test_two_outages_of_cancel_far_apart_do_not_add_up() -> None:
    plan = make_plan({"a": (), "b": ("a",), "c": ("b",)})
    ends = always(
        a=VirtualEnd(duration_s=332), b=VirtualEnd(duration_s=320), c=VirtualEnd(duration_s=1e6)
    )
    # a ends by itself while its cancel fails; only c needs the next one, long after
    outages = (Window("cancel", 330, 400), Window("cancel", 980, 1000))
    world = World(plan, ends, Faults(outages), pacing=replace(PACING, give_up_s=400))
    world.max_attempts = 1
    outcome = world.run()
    assert outcome.succeeded == {"a": 1, "b": 1}
    assert outcome.states["c"] is TaskState.FAILED


@pytest.mark.parametrize("method", ["submit", "poll", "collect", "cancel"])
def test_a_call_that_never_comes_back_is_told_of_in_time_and_then_given_up(method: str) -> None:
    world = World(ONE, always(HANGS if method == "cancel" else VirtualEnd(duration_s=100)))
    with pytest.raises(BackendError, match=f"faulty has not answered {method} for 9.. s"):
        world.run(SlowCalls(world.clock, hang=frozenset({method})))
    notices = world.events(Kind.NOTICE)
    assert [method in data_of(e)["text"] for e in notices] == [True]
    begun = {"submit": 0, "poll": 0, "collect": 100, "cancel": 330}[method]
    assert begun + 60 <= notices[0].at <= begun + 2 * PACING.call_notice_s
    assert world.clock.monotonic() <= begun + PACING.give_up_s + PACING.call_notice_s


def test_a_hang_is_told_of_in_time_although_nothing_else_is_due_for_long() -> None:
    class Quiet(FaultyBackend):
        pace = PollPace(first_s=5000.0, most_s=5000.0)

    world = World(
        make_plan({"a": (), "b": ()}),
        always(VirtualEnd(duration_s=100), b=HANGS),
        pacing=replace(PACING, task_timeout_s=1e5),
        backend_type=Quiet,
    )
    with pytest.raises(BackendError, match="has not answered collect"):
        world.run(SlowCalls(world.clock, hang=frozenset({"collect"})))
    assert 160 <= world.events(Kind.NOTICE)[0].at <= 220
    assert world.clock.monotonic() <= 100 + PACING.give_up_s + PACING.call_notice_s


def test_a_program_error_in_a_backend_is_raised_at_once() -> None:
    class Broken(FaultyBackend):
        def poll(self, handles):  # type: ignore[no-untyped-def]  # it only raises
            raise KeyError("a bug")

    world = World(ONE, always(), backend_type=Broken)
    with pytest.raises(KeyError, match="a bug"):
        world.run()
    assert world.clock.monotonic() == 0


# -- progress


class Chatty(FaultyBackend):
    """Says a line at each look, and hears which cursor it was asked with."""

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        super().logs(handle, cursor)
        return LogChunk((f"line {cursor}", '{"kind": "progress", "text": "x"}'), f"{cursor}|")


def test_the_lines_of_running_jobs_are_told_as_progress() -> None:
    world = World(ONE, always(VirtualEnd(duration_s=10)), backend_type=Chatty)
    world.pacing = replace(PACING, progress_s=4.0)
    world.run()
    told = [data_of(e)["text"] for e in world.events(Kind.PROGRESS)]
    assert told[:4] == ["line ", "x", "line |", "x"]
    assert world.backend.called["logs"] <= 4
    assert all(e.task == "a" and e.attempt == 1 for e in world.events(Kind.PROGRESS))


class ChattyInTurns(FaultyBackend):
    """Takes few questions for logs at a time, and keeps whose they were."""

    logs_a_round = 2

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.read: list[tuple[float, str]] = []

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        self.read.append((self._clock.monotonic(), handle.key.task))
        return super().logs(handle, cursor)


def test_no_backend_is_asked_for_logs_more_often_than_it_likes() -> None:
    class Slow(ChattyInTurns):
        logs_every_s = 25.0

    world = World(ONE, always(VirtualEnd(duration_s=100)), backend_type=Slow)
    world.pacing = replace(PACING, progress_s=4.0)
    world.run()
    assert isinstance(world.backend, Slow)
    at = [when for when, _ in world.backend.read]
    assert len(at) >= 3
    assert all(after - before >= 25 for before, after in pairwise(at))


def test_jobs_are_followed_in_turns_where_the_backend_takes_few_at_a_time() -> None:
    tasks = [f"t{n}" for n in range(5)]
    plan = make_plan(dict.fromkeys(tasks, ()))
    world = World(plan, always(VirtualEnd(duration_s=100)), backend_type=ChattyInTurns)
    world.pacing = replace(PACING, progress_s=4.0, max_executors=5)
    world.run()
    backend = world.backend
    assert isinstance(backend, ChattyInTurns)
    assert max(Counter(at for at, _ in backend.read).values()) == 2
    everyone = [task for at, task in backend.read if 20 <= at <= 80]  # all of them run then
    turns = [everyone[n : n + 5] for n in range(0, len(everyone) - 4, 5)]
    assert len(turns) >= 5
    assert all(sorted(turn) == tasks for turn in turns), turns


def test_logs_that_cannot_be_read_or_never_come_do_not_harm_the_run() -> None:
    pacing = replace(PACING, progress_s=4.0, task_timeout_s=1e4)
    script = always(VirtualEnd(duration_s=2000))
    world = World(ONE, script, Faults((Window("logs", 0, 1e9),)), pacing=pacing)
    assert world.run().succeeded == {"a": 1}
    world = World(ONE, script, pacing=pacing)
    assert world.run(SlowCalls(world.clock, hang=frozenset({"logs"}))).succeeded == {"a": 1}
    assert len(world.events(Kind.NOTICE)) == 1


def test_lines_that_arrive_after_the_jobs_end_are_left_out() -> None:
    plan = make_plan({"a": (), "b": ("a",)})
    pacing = replace(PACING, progress_s=4.0)
    world = World(plan, always(VirtualEnd(duration_s=10)), pacing=pacing, backend_type=Chatty)
    world.run(SlowCalls(world.clock, lambda m: (0, 15) if m == "logs" else (0, 0)))
    ended_at = {e.task: e.at for e in world.events(Kind.JOB_ENDED)}
    assert all(e.at <= ended_at[e.task] for e in world.events(Kind.PROGRESS))
    assert world.backend.called["logs"] >= 1

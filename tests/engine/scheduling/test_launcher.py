"""Which ready tasks go out: with a cold cache, under a budget, and where the provider throttles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from backends.base import LogChunk
from core.bundle import Allowance
from core.errors import SubmitError
from core.events import Kind
from core.job import (
    Amount,
    JobHandle,
    JobKey,
    JobState,
    JobStatus,
    Outcome,
    Reason,
    TaskState,
    Usage,
)
from core.plan import Plan
from core.wire import plain
from engine.money.budget import Budget, CostEstimate, open_budget
from engine.money.ledger import Ledger
from engine.run.run_view import replay
from engine.scheduling.types import RunOutcome, StopCause
from engine.scheduling.virtual_backend import VirtualEnd
from tests.fakes.events import data_of
from tests.fakes.plans import make_plan
from tests.fakes.virtual_run import (
    COSTLY_PREFIX,
    PACING,
    RUN,
    CountingCalls,
    Crash,
    FaultyBackend,
    World,
    always,
)

FOUR = make_plan({"a": (), "b": (), "c": (), "d": ()}, {"a": 4, "b": 3, "c": 2, "d": 1})
WARMING = replace(PACING, max_executors=4, cold_prefix=COSTLY_PREFIX)
BEGUN = json.dumps({"kind": "answer_begun"})
USED = json.dumps({"kind": "progress", "usage": plain(Usage("p", "m", 5))})


def by_token(usage: Usage) -> float | None:
    return usage.total_tokens / 1000


def used(tokens: int, **end: Any) -> VirtualEnd:
    return replace(VirtualEnd(10.0), usage=(Usage("p", "m", tokens),), **end)


def needs(low: int, high: int, **others: tuple[int, int]) -> dict[str, CostEstimate]:
    sizes = dict.fromkeys("abcd", (low, high)) | others
    return {
        name: CostEstimate(Amount(least), Amount((least + most) // 2), Amount(most))
        for name, (least, most) in sizes.items()
    }


def under(cap: int, wanted: dict[str, CostEstimate], world: World) -> RunOutcome:
    """Run, or go on with, a world under a cap of tokens."""
    world.budget = open_budget(cap, None, replay(RUN, world.journal).jobs, by_token)
    world.budget.expect(wanted)
    return world.run()


def begun(world: World) -> list[tuple[str, float]]:
    return [(e.task, e.at) for e in world.events(Kind.JOB_INTENDED)]


# -- the prompt cache


class Telling(FaultyBackend):
    """The log of a job: its first answer begins after four seconds and takes three minutes."""

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        self.called["logs"] += 1
        now = self._clock.monotonic()
        lines = [line for line, at in ((BEGUN, 4.0), (USED, 184.0)) if now >= at]
        return LogChunk(tuple(lines[int(cursor or 0) :]), str(len(lines)))


class TellingThreads(Telling):
    in_process = True


def test_the_first_executor_warms_the_cache_for_the_others() -> None:
    world = World(FOUR, always(VirtualEnd(50.0)), pacing=WARMING, backend_type=Telling)
    world.run()
    assert begun(world) == [("a", 0.0), ("b", 4.0), ("c", 4.0), ("d", 4.0)]


@pytest.mark.parametrize("progress_s", [None, 0.5, 60.0])
def test_fifteen_wait_a_second_at_most_for_a_first_answer_of_three_minutes(
    progress_s: float | None,
) -> None:
    names = [f"t{n}" for n in range(16)]
    plan = make_plan(dict.fromkeys(names, ()), {n: 20 - i for i, n in enumerate(names)})
    pacing = replace(WARMING, max_executors=16, progress_s=progress_s)
    world = World(plan, always(VirtualEnd(200.0)), pacing=pacing, backend_type=TellingThreads)
    world.run()
    first, *others = begun(world)
    assert first == ("t0", 0.0)
    assert len(others) == 15
    assert all(4.0 <= at <= 5.0 for _, at in others)
    # of what began nothing was used yet, and what was used is told once
    assert len(world.events(Kind.ANSWER_BEGUN)) <= 16
    assert len(world.events(Kind.PROGRESS)) <= 16


def test_nobody_is_asked_for_progress_once_the_cache_is_warm() -> None:
    world = World(FOUR, always(VirtualEnd(50.0)), pacing=WARMING, backend_type=Telling)
    world.run()
    assert 1 < world.backend.called["logs"] <= 9  # twice a second, for four seconds
    assert len(world.events(Kind.ANSWER_BEGUN)) == 1


def test_without_news_the_others_wait_for_its_end() -> None:
    world = World(FOUR, always(VirtualEnd(12.0)), pacing=WARMING)
    calls = CountingCalls(world.clock)
    world.run(calls)
    assert [at for _, at in begun(world)] == [0.0, 12.0, 12.0, 12.0]
    assert calls.waits < 120


def test_the_others_wait_half_a_minute_at_most() -> None:
    world = World(FOUR, always(VirtualEnd(100.0)), pacing=WARMING)
    world.run()
    assert [at for _, at in begun(world)] == [0.0, 30.0, 30.0, 30.0]


def test_all_start_at_once_where_the_first_answer_would_come_too_late() -> None:
    slow = replace(WARMING, cold_prefix=replace(COSTLY_PREFIX, begins_s=60.0))
    world = World(FOUR, always(VirtualEnd(50.0)), pacing=slow, backend_type=Telling)
    world.run()
    assert [at for _, at in begun(world)] == [0.0, 0.0, 0.0, 0.0]
    assert world.backend.called["logs"] == 0


def test_what_becomes_ready_before_an_answer_has_begun_waits_for_it() -> None:
    plan = make_plan({"a": (), "b": (), "c": ("a",), "d": ("a",)}, {"a": 9})
    few = replace(WARMING, max_executors=2)
    world = World(plan, always(VirtualEnd(50.0)), pacing=few, backend_type=Telling)
    world.run()
    assert begun(world)[:2] == [("a", 0.0), ("b", 4.0)]


def test_a_first_executor_that_never_starts_holds_nobody_up() -> None:
    refused = (VirtualEnd(refused=SubmitError("Not now.")), VirtualEnd())
    world = World(FOUR, always(VirtualEnd(5.0), a=refused), pacing=WARMING)
    world.run()
    assert [at for task, at in begun(world) if task != "a"] == [0.0, 0.0, 0.0]


def test_jobs_taken_up_have_warmed_it_already() -> None:
    world = World(FOUR, always(VirtualEnd(50.0)), pacing=replace(WARMING, max_executors=2))
    world.crash_on = (Kind.JOB_SUBMITTED, "a")
    with pytest.raises(Crash):
        world.run()
    world.pacing = WARMING
    world.run()
    assert [at for task, at in begun(world) if task != "a"] == [0.0, 0.0, 0.0]


# -- the budget


def test_what_does_not_fit_waits_for_a_settlement_and_is_not_overtaken() -> None:
    world = World(FOUR, always(used(20)), pacing=replace(PACING, max_executors=4))
    outcome = under(130, needs(50, 100, b=(50, 90), c=(1, 10)), world)
    assert begun(world) == [("a", 0.0), ("b", 10.0), ("c", 10.0), ("d", 20.0)]
    assert outcome.stop is None


def test_the_last_of_the_budget_goes_to_whoever_can_do_with_it() -> None:
    world = World(FOUR, always(used(60)))
    outcome = under(150, needs(50, 100, b=(95, 100), c=(40, 100)), world)
    assert begun(world) == [("a", 0.0), ("c", 10.0)]
    assert world.store.allowances[JobKey(RUN, "c", 1)] == Allowance(90)
    assert outcome.stop is not None
    assert outcome.stop.cause is StopCause.BUDGET
    assert outcome.stop.message.endswith("120 of 150 tokens are spent or reserved.")
    assert outcome.stop.resume_with == "--max-tokens 392"  # 120, 97 and 75 likely, 100 of room
    assert outcome.states["a"] is outcome.states["c"] is TaskState.SUCCEEDED
    assert outcome.states["b"] is outcome.states["d"] is TaskState.CANCELLED


def test_a_budget_too_small_for_anything_stops_before_the_first_launch() -> None:
    world = World(FOUR, always(used(1)))
    outcome = under(49, needs(50, 100), world)
    assert begun(world) == []
    assert outcome.stop is not None
    assert set(outcome.states.values()) == {TaskState.CANCELLED}


def test_an_attempt_that_ran_out_goes_again_with_twice_as_much_and_no_try_is_lost() -> None:
    short = used(90, outcome=Outcome.BUDGET)
    broken = used(10, outcome=Outcome.DEFECT)
    world = World(make_plan({"a": ()}), always(a=(short, short, broken, used(10))), max_attempts=2)
    outcome = under(5_000, needs(50, 100), world)
    assert outcome.succeeded == {"a": 4}
    given = [world.store.allowances[JobKey(RUN, "a", n)].max_tokens for n in (1, 2, 3, 4)]
    assert given == [100, 200, 400, 400]
    assert [data_of(e)["reason"] for e in world.events(Kind.TASK_RETRY)] == [
        "BUDGET",
        "BUDGET",
        "DEFECT",
    ]


def test_an_attempt_that_ran_out_for_good_stops_the_run_which_can_be_resumed() -> None:
    script = always(used(20), a=(used(95, outcome=Outcome.BUDGET), used(150)))
    world = World(FOUR, script, pacing=replace(PACING, max_executors=2))
    outcome = under(290, needs(50, 100), world)
    assert outcome.stop is not None
    assert outcome.stop.cause is StopCause.BUDGET
    assert outcome.states["b"] is TaskState.SUCCEEDED
    assert outcome.states["a"] is TaskState.CANCELLED
    outcome = under(600, needs(50, 200), world)
    assert outcome.stop is None
    assert set(outcome.states.values()) == {TaskState.SUCCEEDED}


def test_waiting_for_the_budget_does_not_spin() -> None:
    world = World(FOUR, always(used(50, duration_s=1_000.0)))
    calls = CountingCalls(world.clock)
    world.budget = Budget(Ledger(1_000), by_token)
    world.budget.expect(needs(900, 950, a=(50, 100)))
    world.pacing = replace(PACING, task_timeout_s=1e6)
    world.run(calls)
    assert calls.waits < 400


def test_the_intent_holds_the_reservation_and_an_end_that_nobody_knows_keeps_it() -> None:
    lost = VirtualEnd(5.0, status=JobStatus(JobState.FAILED), outcome=None)
    world = World(make_plan({"a": ()}), always(a=(lost, used(30))))
    under(1_000, needs(50, 100), world)
    first, _ = world.events(Kind.JOB_INTENDED)
    assert data_of(first)["reservation"] == {"tokens": 100, "cost_usd": 0.0}
    ends = world.events(Kind.JOB_ENDED)
    assert [data_of(e).get("unaccounted") for e in ends] == [True, None]
    history = replay(RUN, world.journal).jobs
    assert history.reserved == {JobKey(RUN, "a", 1): Amount(100)}
    assert [u.total_tokens for u in history.spent] == [30]
    assert world.budget is not None
    assert world.budget.left() == Allowance(870)


@pytest.mark.parametrize("retryable", [True, False])
def test_a_job_that_could_not_be_started_has_used_nothing(retryable: bool) -> None:
    refused = VirtualEnd(refused=SubmitError("No.", retryable=retryable))
    world = World(make_plan({"a": ()}), always(a=(refused, used(30))))
    under(1_000, needs(50, 100), world)
    assert world.budget is not None
    assert world.budget.left() == Allowance(970 if retryable else 1_000)


def test_a_job_that_died_is_settled_by_what_it_told_before() -> None:
    lost = VirtualEnd(5.0, status=JobStatus(JobState.FAILED), outcome=None)
    world = World(make_plan({"a": ()}), always(a=(lost, used(30))))
    world.store.used[JobKey(RUN, "a", 1)] = (Usage("p", "m", 7),)
    under(1_000, needs(50, 100), world)
    assert world.budget is not None
    assert world.budget.left() == Allowance(963)


def test_a_job_that_died_cannot_tell_of_more_than_it_could_use() -> None:
    """Its events.jsonl was in reach of what the model ran."""
    lost = VirtualEnd(5.0, status=JobStatus(JobState.FAILED), outcome=None)
    world = World(make_plan({"a": ()}), always(a=(lost, used(30))))
    world.store.used[JobKey(RUN, "a", 1)] = (Usage("p", "m", 60), Usage("p", "m", 41))
    under(1_000, needs(50, 100), world)
    first = data_of(world.events(Kind.JOB_ENDED)[0])
    assert (first["usage"], first["unaccounted"]) == ([], True)
    assert world.budget is not None
    assert world.budget.left() == Allowance(870)
    again = open_budget(1_000, None, replay(RUN, world.journal).jobs, by_token)
    assert again.left() == Allowance(870)


def test_a_job_that_was_never_sent_goes_out_again_with_the_reservation_it_had() -> None:
    world = World(make_plan({"a": ()}), always(a=used(30)))
    world.backend.dies_before_submit = 1
    with pytest.raises(Crash):
        under(1_000, needs(50, 100), world)
    outcome = under(1_000, needs(300, 700), world)
    assert outcome.succeeded == {"a": 1}
    assert world.store.allowances[JobKey(RUN, "a", 1)] == Allowance(100)
    assert world.budget is not None
    assert world.budget.left() == Allowance(970)


# -- what workers elsewhere meet


def run_throttled(*throttled: int, in_process: bool) -> list[int]:
    """How many jobs each submit of a run had, by what its jobs met one after the other."""
    names = [f"t{n}" for n in range(12)]
    plan: Plan = make_plan(dict.fromkeys(names, ()), {n: 20 - i for i, n in enumerate(names)})

    class There(FaultyBackend):
        pass

    There.in_process = in_process
    met = dict(zip(names, throttled, strict=False))

    def script(key: JobKey) -> VirtualEnd:
        return VirtualEnd(10.0, throttled=met.get(key.task, 0))

    pacing = replace(PACING, max_executors=4)
    world = World(plan, script, pacing=pacing, backend_type=There)
    world.run()
    return _sizes([e.at for e in world.events(Kind.JOB_INTENDED)])


def _sizes(times: Sequence[float]) -> list[int]:
    return [list(times).count(at) for at in sorted(set(times))]


def test_launches_slow_down_when_workers_elsewhere_are_throttled() -> None:
    assert run_throttled(3, 1, 2, 5, in_process=False)[:2] == [4, 2]
    assert run_throttled(in_process=False) == [4, 4, 4]


def test_workers_of_this_process_are_left_to_its_governor() -> None:
    assert run_throttled(3, 1, 2, 5, in_process=True) == [4, 4, 4]


# -- workers that cannot start

DIES = VirtualEnd(
    1.0, JobStatus(JobState.FAILED, Reason.LAUNCH, 1, "no such package"), outcome=None
)


def test_where_no_worker_begins_each_further_one_is_a_trial_and_the_run_stops() -> None:
    many = make_plan({f"t{number:02}": () for number in range(20)})
    world = World(many, always(DIES), pacing=replace(PACING, max_executors=4))
    outcome = world.run()
    assert outcome.stop is not None
    assert outcome.stop.cause is StopCause.LAUNCH
    assert "no such package" in outcome.stop.message
    assert TaskState.FAILED not in outcome.states.values()
    intended, ended = (
        [e.at for e in world.events(kind)] for kind in (Kind.JOB_INTENDED, Kind.JOB_ENDED)
    )
    assert [at < ended[0] for at in intended].count(True) == 4
    trials = zip(intended[4:], ended[3:], strict=False)
    assert all(begun >= before for begun, before in trials), "one at a time"
    assert len(intended) < 20


def test_one_worker_that_begins_makes_a_failed_start_the_matter_of_its_task() -> None:
    world = World(FOUR, always(a=DIES), pacing=replace(PACING, max_executors=1))
    outcome = world.run()
    assert outcome.stop is None
    assert outcome.states == {"a": TaskState.FAILED} | dict.fromkeys("bcd", TaskState.SUCCEEDED)

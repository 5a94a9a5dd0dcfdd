"""Deadlines in virtual time: who is given up when, in which words, and who is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.base import PollPace
from core.bundle import Allowance
from core.events import Kind
from core.job import Amount, JobKey, JobState, Outcome, Reason, TaskState
from engine.money.budget import Budget, CostEstimate
from engine.money.ledger import Ledger
from engine.scheduling.types import StopCause
from engine.scheduling.virtual_backend import VirtualEnd
from tests.fakes.events import data_of
from tests.fakes.plans import make_plan
from tests.fakes.virtual_run import (
    PACING,
    RUN,
    Faults,
    FaultyBackend,
    SlowCalls,
    Window,
    World,
    always,
)

ONE = make_plan({"a": ()})
TWO = make_plan({"a": (), "b": ()}, {"a": 9})
FOREVER = VirtualEnd(queued_s=1e7)
NO_FAULTS = Faults()
HANGS = VirtualEnd(duration_s=1e7)
SHORT = replace(PACING, queue_timeout_s=1000.0, unschedulable_s=100.0)


def queued(begin: float, end: float, message: str = "Priority", task: str = "a") -> Window:
    return Window("QUEUED", begin, end, task, message)


def stuck(begin: float, end: float, message: str = "BadConstraints", task: str = "a") -> Window:
    return Window("STUCK", begin, end, task, message)


def waiting(*disguises: Window, end: VirtualEnd = FOREVER, silent: bool = False) -> World:
    """One task whose job never starts, unless `end` says otherwise."""
    return World(ONE, always(a=end), Faults(disguises=disguises, silent=silent), pacing=SHORT)


def ends(world: World) -> list[tuple[str, str, float]]:
    return [(e.task, data_of(e)["cause"], e.at) for e in world.events(Kind.JOB_ENDED)]


class TestStuck:
    def test_a_job_that_will_never_start_is_cancelled_after_its_patience_and_not_tried_again(
        self,
    ) -> None:
        world = waiting(stuck(0, 1e9))
        outcome = world.run()
        assert ends(world) == [("a", "UNSCHEDULABLE", 100)]
        assert world.backend.called["cancel"] == 1
        assert outcome.states == {"a": TaskState.FAILED}
        assert outcome.messages["a"] == (
            "It could not be started for 1:40: BadConstraints. Correct the backend's options or"
            " the queue, then resume the run."
        )

    def test_all_others_go_on_meanwhile_and_get_its_slot(self) -> None:
        plan = make_plan({"a": (), "b": ()}, {"a": 9})
        world = World(plan, always(a=FOREVER), Faults(disguises=(stuck(0, 1e9),)))
        world.pacing = replace(SHORT, max_executors=1)
        assert world.run().succeeded == {"b": 1}
        assert world.clock.monotonic() == 101

    def test_an_interruption_of_the_state_begins_the_patience_anew(self) -> None:
        world = waiting(stuck(0, 90), queued(90, 95), stuck(95, 1e9))
        world.backend.pace = PollPace(5.0, 5.0)
        world.run()
        assert ends(world) == [("a", "UNSCHEDULABLE", 195)]

    def test_not_knowing_for_a_while_is_no_interruption(self) -> None:
        world = waiting(stuck(0, 40), Window("UNKNOWN", 40, 90, "a"), stuck(90, 1e9))
        world.run()
        assert ends(world) == [("a", "UNSCHEDULABLE", 100)]

    def test_it_is_not_given_up_while_nobody_can_tell(self) -> None:
        world = waiting(stuck(0, 90), Window("UNKNOWN", 90, 150, "a"), queued(150, 1e9))
        world.run()
        assert ends(world) == [("a", "UNSCHEDULABLE", 1000)]

    def test_what_is_mended_in_time_runs(self) -> None:
        world = waiting(stuck(0, 95), end=VirtualEnd(queued_s=99))
        assert world.run().succeeded == {"a": 1}

    def test_a_queue_deadline_that_comes_first_blames_what_keeps_the_job_and_not_the_queue(
        self,
    ) -> None:
        world = waiting(queued(0, 30), stuck(30, 1e9))
        world.pacing = replace(SHORT, queue_timeout_s=60.0)
        message = world.run().messages["a"]
        assert ends(world)[0][2] == 60
        assert message.startswith("It could not be started for 0:30")
        assert "BadConstraints" in message

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("", ": the backend gave no reason. "),
            ("Held by admin.", ": Held by admin. "),
            ("\x1b[31mred\nline", ": red line. "),
        ],
    )
    def test_the_reason_is_named_in_words_that_can_be_shown(self, said: str, told: str) -> None:
        assert told in waiting(stuck(0, 1e9, said)).run().messages["a"]

    def test_the_message_fits_a_line_however_long_the_reason_is(self) -> None:
        message = waiting(stuck(0, 1e9, "node-17, " * 99)).run().messages["a"]
        assert len(message) <= 200
        assert message.endswith("then resume the run.")


class TestQueueTimeout:
    def test_a_job_that_waited_too_long_is_given_up_with_what_raises_the_limit(self) -> None:
        world = waiting(queued(0, 1e9, "Resources"))
        outcome = world.run()
        assert ends(world) == [("a", "UNSCHEDULABLE", 1000)]
        assert outcome.messages["a"] == (
            "It was still queued after 16:40, as the queue was busy: Resources. Raise"
            " --queue-timeout, then resume the run."
        )

    def test_that_message_fits_a_line_too(self) -> None:
        world = waiting(queued(0, 1e9, "x" * 500))
        world.pacing = replace(SHORT, queue_timeout_s=360_000.0)
        assert len(world.run().messages["a"]) <= 200

    def test_a_job_that_starts_in_time_has_all_its_own_time(self) -> None:
        slow = VirtualEnd(queued_s=999, duration_s=299)
        world = World(ONE, always(a=slow), pacing=SHORT)
        assert world.run().succeeded == {"a": 1}

    def test_neither_limit_counts_before_a_requeue(self) -> None:
        pacing = replace(SHORT, queue_timeout_s=300.0)
        back = (queued(250, 510), queued(700, 960))
        slow = VirtualEnd(queued_s=1, duration_s=1250)
        world = World(ONE, always(a=slow), Faults(disguises=back, silent=True), pacing=pacing)
        assert world.run().succeeded == {"a": 1}

    def test_a_requeue_that_lasts_is_given_up_and_may_have_used_something(self) -> None:
        world = waiting(queued(200, 1e9), end=HANGS, silent=True)
        world.run()
        [(_, cause, at)] = ends(world)
        assert cause == "UNSCHEDULABLE"
        assert 1200 <= at <= 1231  # since a poll has seen it
        assert data_of(world.events(Kind.JOB_ENDED)[0])["unaccounted"] is True

    def test_what_never_ran_has_used_nothing_and_taken_no_time(self) -> None:
        world = waiting(queued(0, 1e9))
        world.run()
        ended = data_of(world.events(Kind.JOB_ENDED)[0])
        assert "unaccounted" not in ended
        assert ended["duration_s"] == 0

    def test_the_time_of_an_attempt_is_told_without_that_in_the_queue(self) -> None:
        world = World(ONE, always(a=VirtualEnd(queued_s=900, duration_s=50)), pacing=SHORT)
        world.run()
        ended = data_of(world.events(Kind.JOB_ENDED)[0])
        assert 50 <= ended["duration_s"] <= 50 + world.backend.pace.most_s

    @pytest.mark.parametrize("first_s", [7.0, 400.0])
    def test_the_loop_asks_at_the_deadline_however_slowly_it_polls(self, first_s: float) -> None:
        class Slow(FaultyBackend):
            pace = PollPace(first_s, 1e6)

        for world in (waiting(stuck(0, 1e9)), waiting(queued(0, 1e9))):
            world = replace(world, backend_type=Slow, timeline=[], journal=[])
            due = 100 if world.faults.disguises[0].what == "STUCK" else 1000
            calls = SlowCalls(world.clock)
            world.run(calls)
            assert ends(world)[0][2] == due
            assert world.backend.called["poll"] < 15

    def test_a_queue_whose_words_keep_changing_is_not_asked_more_often_for_that(self) -> None:
        world = waiting(*(queued(n * 10, n * 10 + 10, f"place {n}") for n in range(100)))
        world.run()
        assert len(world.events(Kind.JOB_STATE)) > 20
        assert world.backend.called["poll"] < 45

    def test_a_job_that_starts_just_before_its_deadline_is_left_alone(self) -> None:
        # seen queued at 511 and asked again at the deadline: by then it runs
        world = waiting(queued(0, 999), end=VirtualEnd(duration_s=1100), silent=True)
        world.pacing = replace(SHORT, task_timeout_s=1e6)
        assert world.run().succeeded == {"a": 1}
        assert world.backend.called["cancel"] == 0

    def test_a_backend_out_of_reach_at_the_deadline_decides_nothing_until_it_answers(self) -> None:
        starts = VirtualEnd(queued_s=1100)
        outage = (Window("poll", 990, 1200),)
        world = World(ONE, always(a=starts), Faults(outage), pacing=SHORT)
        assert world.run().succeeded == {"a": 1}

    def test_a_job_that_starts_while_it_cannot_be_cancelled_is_wanted_again(self) -> None:
        starts = VirtualEnd(queued_s=1100, duration_s=200)
        outage = (Window("cancel", 990, 1200),)
        world = World(ONE, always(a=starts), Faults(outage), pacing=SHORT)
        assert world.run().succeeded == {"a": 1}
        assert world.backend.called["cancel"] > 1

    def test_a_job_that_succeeds_before_its_cancel_arrives_has_succeeded(self) -> None:
        starts = VirtualEnd(queued_s=1005, duration_s=10)
        world = World(ONE, always(a=starts), pacing=SHORT)
        assert world.run(SlowCalls(world.clock, slow_cancel)).succeeded == {"a": 1}

    def test_an_answer_to_a_cancel_that_comes_after_the_end_changes_nothing(self) -> None:
        patient = replace(SHORT, task_timeout_s=1e6)
        world = World(TWO, always(a=FOREVER, b=VirtualEnd(duration_s=2000)), pacing=patient)
        late = SlowCalls(world.clock, lambda method: (0, 300) if method == "cancel" else (0, 0))
        assert world.run(late).succeeded == {"b": 1}
        assert [(task, cause) for task, cause, _ in ends(world)] == [
            ("a", "UNSCHEDULABLE"),
            ("b", "OK"),
        ]

    def test_a_job_that_ignores_its_cancel_gives_its_slot_back_after_the_grace(self) -> None:
        deaf = replace(FOREVER, ignores_cancel=True)
        world = World(TWO, always(a=deaf), pacing=replace(SHORT, max_executors=1))
        assert world.run().succeeded == {"b": 1}
        first = world.events(Kind.JOB_ENDED)[0]
        assert (data_of(first)["cause"], first.at) == ("UNSCHEDULABLE", 1000 + SHORT.cancel_grace_s)
        assert data_of(first)["unaccounted"] is True  # it may start yet

    def test_an_adopted_job_waits_anew_and_may_have_run_before(self) -> None:
        world = World(ONE, always(a=FOREVER), pacing=SHORT)
        scheduler = world.scheduler()
        world.clock.call_at(900, scheduler.interrupt)
        world.faults = Faults((Window("cancel", 0, 1e4),))
        world.backend.faults = world.faults
        scheduler.run()
        world.backend.faults = Faults()
        resumed_at = world.clock.monotonic()
        world.run()
        assert ends(world)[0] == ("a", "UNSCHEDULABLE", resumed_at + 1000)
        assert data_of(world.events(Kind.JOB_ENDED)[0])["unaccounted"] is True


def slow_cancel(method: str) -> tuple[float, float]:
    return (50.0, 0.0) if method == "cancel" else (0.0, 0.0)


REFUSED = [Outcome.AUTH, Outcome.BILLING]


class TestHopeless:
    """`a` runs and is refused at 50; `b` runs for longer, `c` is queued."""

    PLAN = make_plan({"a": (), "b": (), "c": (), "d": ("c",)}, {"a": 9, "b": 8, "c": 7})

    def world(self, outcome: Outcome, c: VirtualEnd, faults: Faults = NO_FAULTS) -> World:
        script = always(
            a=(VirtualEnd(50, outcome=outcome), VirtualEnd()),
            b=VirtualEnd(100),
            c=(c, VirtualEnd()),
        )
        return World(self.PLAN, script, faults, pacing=PACING, max_attempts=1)

    @pytest.mark.parametrize("outcome", REFUSED)
    def test_once_credentials_or_money_are_refused_what_is_still_queued_does_not_run(
        self, outcome: Outcome
    ) -> None:
        world = self.world(outcome, FOREVER)
        found = world.run()
        assert found.stop is not None
        assert found.stop.cause == StopCause(outcome)
        assert ends(world) == [("a", outcome, 50), ("c", "INTERRUPTED", 50), ("b", "OK", 100)]
        assert found.states["c"] is TaskState.CANCELLED
        assert found.messages["c"] == "It was taken out of the queue when the run stopped."
        assert [key.task for key in world.backend.inner.started] == ["a", "b"]
        assert world.events(Kind.TASK_RETRY) == []

    def test_no_try_is_lost_and_the_run_can_be_resumed(self) -> None:
        world = self.world(Outcome.AUTH, FOREVER)
        world.run()
        assert world.run().succeeded == {"a": 2, "b": 1, "c": 2, "d": 1}

    def test_what_is_spent_does_not_grow_by_what_never_ran(self) -> None:
        need = CostEstimate(Amount(1), Amount(100), Amount(100))
        budget = Budget(Ledger(max_tokens=1000))
        budget.expect(dict.fromkeys("abcd", need))
        world = self.world(Outcome.AUTH, FOREVER)
        world.budget = budget
        world.run()
        assert budget.left() == Allowance(1000, None)

    def test_a_budget_stop_lets_them_run_as_they_have_their_reservation(self) -> None:
        world = self.world(Outcome.BUDGET, VirtualEnd(queued_s=70))
        assert world.run().succeeded == {"b": 1, "c": 1}

    def test_a_job_that_has_started_since_the_last_look_is_left_to_end(self) -> None:
        world = self.world(Outcome.AUTH, VirtualEnd(queued_s=45, duration_s=30))
        world.backend.faults = Faults(silent=True)
        assert world.run().succeeded == {"b": 1, "c": 1}

    def test_what_is_queued_again_after_the_stop_is_cancelled_too(self) -> None:
        back = Faults(disguises=(queued(60, 200, task="c"),))
        world = self.world(Outcome.AUTH, VirtualEnd(duration_s=300), faults=back)
        assert world.run().states["c"] is TaskState.CANCELLED
        assert ends(world)[1][:2] == ("c", "INTERRUPTED")
        assert data_of(world.events(Kind.JOB_ENDED)[1])["unaccounted"] is True

    def test_an_interrupt_meanwhile_still_ends_everything(self) -> None:
        world = self.world(Outcome.AUTH, replace(FOREVER, ignores_cancel=True))
        scheduler = world.scheduler()
        world.clock.call_at(60, scheduler.interrupt)
        outcome = scheduler.run()
        assert outcome.stop is not None
        assert outcome.stop.cause is StopCause.INTERRUPTED
        assert world.clock.monotonic() <= 60 + PACING.interrupt_grace_s


# -- whatever a queue says

LIMITS = replace(PACING, queue_timeout_s=400.0, unschedulable_s=60.0, max_executors=2)
KINDS = ["QUEUED", "STUCK", "UNKNOWN", "MISSING", ""]  # the last is the truth
says = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 300)), max_size=6)


def windows_of(task: str, said: list[tuple[str, int]]) -> list[Window]:
    found, now = [], 0.0
    for what, length in said:
        found += [Window(what, now, now + length, task, what)] if what else []
        now += length
    return found


@settings(max_examples=150)
@given(
    said=st.tuples(says, says),
    queued_s=st.tuples(*[st.sampled_from([0.0, 30.0, 399.0, 401.0, 1e7])] * 2),
    duration_s=st.sampled_from([1.0, 250.0, 1e7]),
    deaf=st.booleans(),
    silent=st.booleans(),
)
def test_every_wait_has_an_end_and_nobody_is_given_up_before_it(
    said: tuple[list[tuple[str, int]], ...],
    queued_s: tuple[float, ...],
    duration_s: float,
    deaf: bool,
    silent: bool,
) -> None:
    disguises = (*windows_of("a", said[0]), *windows_of("b", said[1]))
    goes = [VirtualEnd(duration_s, queued_s=s, ignores_cancel=deaf) for s in queued_s]
    script = always(a=goes[0], b=goes[1])
    world = World(TWO, script, Faults(disguises=disguises, silent=silent), pacing=LIMITS)
    outcome = world.run()

    longest = 1800 + 400 + 330 + 30 + 2 * 20 + 31  # disguises, queue, own time, graces, a poll
    assert world.clock.monotonic() <= longest * world.max_attempts
    assert all(state.final for state in outcome.states.values())
    for task, number in {(e.task, e.attempt) for e in world.events(Kind.JOB_ENDED)}:
        check_patience(world, JobKey(RUN, task, number))


def check_patience(world: World, key: JobKey) -> None:
    """Replays what was told of an attempt: a give-up has its wait behind it."""
    of_it = [
        e
        for kind in (Kind.JOB_SUBMITTED, Kind.JOB_STATE, Kind.JOB_ENDED)
        for e in world.events(kind)
        if (e.task, e.attempt) == (key.task, key.attempt)
    ]
    queued_since: float | None = None
    stuck_since: float | None = None
    patience_is_over = False
    for event in sorted(of_it, key=lambda e: (e.at, world.timeline.index(e))):
        waits = [(queued_since, LIMITS.queue_timeout_s), (stuck_since, LIMITS.unschedulable_s)]
        patience_is_over |= any(s is not None and event.at >= s + limit for s, limit in waits)
        state = data_of(event).get("state")
        if event.kind is Kind.JOB_ENDED:
            assert patience_is_over or data_of(event)["cause"] != Reason.UNSCHEDULABLE
        elif event.kind is Kind.JOB_SUBMITTED:
            queued_since = event.at
        elif state == JobState.QUEUED:
            queued_since = event.at if queued_since is None else queued_since
            is_stuck = data_of(event)["reason"] == Reason.UNSCHEDULABLE
            stuck_since = (event.at if stuck_since is None else stuck_since) if is_stuck else None
        elif state == JobState.RUNNING:
            queued_since = stuck_since = None

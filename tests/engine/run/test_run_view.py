"""The run view: one reducer of events, whatever order of happenings a run has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.events import Forecast, Kind, Range
from core.job import JobHandle, JobKey, Usage
from core.wire import plain
from engine.run.run_view import RunView
from engine.run.task_view import Pending, TaskPhase
from tests.fakes.events import event_of


def usage(
    tokens_in: int = 100, tokens_out: int = 10, model: str = "m", **more: Any
) -> dict[str, Any]:
    return {
        "provider": "anthropic",
        "model": model,
        "input_tokens": tokens_in,
        "output_tokens": tokens_out,
        **more,
    }


def handle(task: str, attempt: int) -> JobHandle:
    return JobHandle(JobKey("r1", task, attempt), "threading", "1")


CONFLICT = {"path": "x", "owners": ["a", "b"], "kept_as": "x.b", "why": "both own it"}
REFUSED = {"path": "y", "owner": "a", "why": "is a device"}


def price(of: Usage) -> float | None:
    return None if of.model == "unknown" else of.total_tokens / 1000


class Story:
    """A run view, and short ways to tell it what happens. `at` is the time of the next event."""

    def __init__(self) -> None:
        self.run_view = RunView(price)
        self.at = 100.0

    def tell(self, kind: Kind, task: str = "", attempt: int = 0, **data: Any) -> Story:
        self.run_view.apply(event_of(kind, self.at, task, attempt, data))
        return self

    def start(self, **header: Any) -> Story:
        facts = {"run": "r1", "max_executors": 2, "simulated": False, **header}
        return self.tell(Kind.RUN_STARTED, **facts)

    def plan(self, *tasks: tuple[str, list[str], int]) -> Story:
        rows = [[name, f"Title {name}", needs, estimate] for name, needs, estimate in tasks]
        return self.tell(Kind.PLAN_READY, title="P", tasks=rows)

    def begin(self, task: str, attempt: int = 1) -> Story:
        self.tell(Kind.JOB_INTENDED, task, attempt)
        self.tell(Kind.JOB_SUBMITTED, task, attempt, handle=handle(task, attempt))
        return self.tell(Kind.JOB_STATE, task, attempt, state="RUNNING")

    def end(self, task: str, attempt: int = 1, **data: Any) -> Story:
        return self.tell(Kind.JOB_ENDED, task, attempt, **data)

    def finish(self, task: str, state: str = "SUCCEEDED", message: str = "") -> Story:
        return self.tell(Kind.TASK_ENDED, task, 1, state=state, message=message)

    def phase(self, task: str) -> TaskPhase:
        return self.run_view.tasks[task].phase


@pytest.fixture
def story() -> Story:
    return Story().start().plan(("a", [], 100), ("b", ["a"], 300), ("c", [], 100))


def test_a_task_goes_from_waiting_to_done(story: Story) -> None:
    assert story.phase("a") is TaskPhase.WAITING
    story.tell(Kind.JOB_INTENDED, "a", 1)
    assert story.phase("a") is TaskPhase.QUEUED
    story.tell(Kind.JOB_SUBMITTED, "a", 1, handle=handle("a", 1))
    story.tell(Kind.JOB_STATE, "a", 1, state="RUNNING")
    assert story.phase("a") is TaskPhase.RUNNING
    story.at += 5
    assert story.run_view.tasks["a"].elapsed_s(story.at) == 5
    story.end("a", files=3, duration_s=6.0).finish("a")
    assert story.phase("a") is TaskPhase.SUCCEEDED
    assert (story.run_view.tasks["a"].busy_s, story.run_view.tasks["a"].files) == (6.0, 3)


def test_a_requeued_job_waits_again(story: Story) -> None:
    story.begin("a").tell(Kind.JOB_STATE, "a", 1, state="QUEUED")
    assert story.phase("a") is TaskPhase.QUEUED
    story.at += 50
    assert story.run_view.tasks["a"].elapsed_s(story.at) == 0


def test_what_a_queued_job_waits_for_is_kept_until_it_runs(story: Story) -> None:
    story.begin("a").tell(Kind.PROGRESS, "a", 1, text="writing")
    story.tell(Kind.JOB_STATE, "a", 1, state="QUEUED", reason=None, message="Priority")
    task = story.run_view.tasks["a"]
    assert (task.pending, task.activity) == (Pending("Priority"), "")
    story.tell(Kind.JOB_STATE, "a", 1, state="UNKNOWN", reason=None, message="")
    story.tell(Kind.JOB_INTENDED, "c", 1)
    story.tell(Kind.JOB_STATE, "c", 1, state="QUEUED", reason="UNSCHEDULABLE", message="")
    assert story.run_view.tasks.waits() == {Pending("Priority"): 1, Pending("", stuck=True): 1}
    story.tell(Kind.JOB_STATE, "a", 1, state="RUNNING").end("c")
    assert not story.run_view.tasks.waits()


def test_a_queue_that_does_not_say_why_is_no_reason(story: Story) -> None:
    story.tell(Kind.JOB_INTENDED, "a", 1)
    story.tell(Kind.JOB_STATE, "a", 1, state="QUEUED", reason=None, message="Priority")
    story.tell(Kind.JOB_STATE, "a", 1, state="QUEUED", reason=None, message="")
    assert story.run_view.tasks["a"].pending is None
    assert not story.run_view.tasks.waits()


def test_states_that_tell_nothing_change_nothing(story: Story) -> None:
    story.begin("a").tell(Kind.JOB_STATE, "a", 1, state="UNKNOWN")
    assert story.phase("a") is TaskPhase.RUNNING


def test_progress_is_evidence_of_running(story: Story) -> None:
    story.tell(Kind.JOB_INTENDED, "a", 1).tell(Kind.PROGRESS, "a", 1, text="writing")
    assert story.phase("a") is TaskPhase.RUNNING
    assert story.run_view.tasks["a"].activity == "writing"


def test_an_answer_is_written_from_its_beginning_until_its_usage(story: Story) -> None:
    story.tell(Kind.JOB_INTENDED, "a", 1).tell(Kind.ANSWER_BEGUN, "a", 1)
    task = story.run_view.tasks["a"]
    assert (task.phase, task.is_writing) == (TaskPhase.RUNNING, True)
    assert story.run_view.spend().requests == 0
    story.tell(Kind.PROGRESS, "a", 1, text="waiting for the rate limit")
    assert task.is_writing
    story.tell(Kind.PROGRESS, "a", 1, usage=usage())
    assert not task.is_writing


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Kind.JOB_STATE, {"state": "QUEUED"}),
        (Kind.JOB_ENDED, {"usage": []}),
        (Kind.TASK_ENDED, {"state": "SUCCEEDED"}),
    ],
)
def test_an_attempt_that_is_over_writes_nothing(
    story: Story, kind: Kind, data: dict[str, Any]
) -> None:
    story.begin("a").tell(Kind.ANSWER_BEGUN, "a", 1).tell(kind, "a", 1, **data)
    assert not story.run_view.tasks["a"].is_writing
    if kind is not Kind.JOB_STATE:
        story.tell(Kind.ANSWER_BEGUN, "a", 1)  # late news
        assert story.phase("a") is not TaskPhase.RUNNING
        assert not story.run_view.tasks["a"].is_writing


def test_a_retry_keeps_the_time_and_money_of_the_attempt_before(story: Story) -> None:
    story.begin("a").end("a", 1, usage=[usage()], duration_s=4.0)
    story.tell(Kind.TASK_RETRY, "a", 1, reason="TIMEOUT", delay_s=1.0)
    assert story.phase("a") is TaskPhase.RETRYING
    assert story.run_view.tasks["a"].message == "TIMEOUT"
    story.begin("a", 2).end("a", 2, usage=[usage()], duration_s=5.0)
    assert story.run_view.tasks["a"].busy_s == 9.0
    assert story.run_view.tasks["a"].spend.requests == 2


class TestSpend:
    def test_the_final_list_replaces_what_was_seen_under_way(self, story: Story) -> None:
        story.begin("a").tell(Kind.PROGRESS, "a", 1, usage=usage())
        assert story.run_view.spend().requests == 1
        story.end("a", usage=[usage(), usage(50, 5)])
        spend = story.run_view.spend()
        assert (spend.requests, spend.input_tokens, spend.output_tokens) == (2, 150, 15)
        assert spend.cost_usd == pytest.approx(0.165)

    def test_an_attempt_that_tells_nothing_is_settled_at_what_was_seen(self, story: Story) -> None:
        story.begin("a").tell(Kind.PROGRESS, "a", 1, usage=usage()).end("a", usage=[])
        assert story.run_view.spend().input_tokens == 100

    def test_an_end_told_twice_or_late_news_count_once(self, story: Story) -> None:
        story.begin("a").end("a", usage=[usage()], duration_s=2.0)
        story.end("a", usage=[usage()], duration_s=2.0)
        story.tell(Kind.PROGRESS, "a", 1, usage=usage())
        assert story.run_view.spend().requests == 1
        assert story.run_view.tasks.work_s() == 2.0

    def test_planning_counts_too_and_a_plan_told_again_does_not(self) -> None:
        story = Story().start().tell(Kind.PROGRESS, usage=usage())
        assert story.run_view.spend().requests == 1
        story.plan(("a", [], 1))
        story.start(resumed=True).plan(("a", [], 1))
        assert story.run_view.spend().requests == 1

    def test_an_unknown_price_is_counted_and_not_guessed(self, story: Story) -> None:
        story.begin("a").end("a", usage=[usage(), usage(model="unknown")])
        spend = story.run_view.spend()
        assert spend.unpriced == 1
        assert spend.cost_usd == pytest.approx(0.11)
        assert spend.total_tokens == 220

    def test_all_four_kinds_of_tokens_are_kept_apart(self, story: Story) -> None:
        story.begin("a").end("a", usage=[usage(1, 2, cache_read_tokens=3, cache_write_tokens=4)])
        spend = story.run_view.spend()
        assert spend.total_tokens == 10
        assert (spend.cache_read_tokens, spend.cache_write_tokens) == (3, 4)


class TestTime:
    def test_wall_time_adds_up_the_sessions_and_not_the_night_between(self) -> None:
        story = Story().start().plan(("a", [], 1))
        story.at += 10
        story.tell(Kind.RUN_ENDED, exit_code=130)
        assert story.run_view.wall_s(now=9e9) == 10
        story.at += 36_000
        story.start(resumed=True)
        story.at += 5
        assert story.run_view.wall_s(now=story.at) == 15

    def test_before_the_start_there_is_no_time(self) -> None:
        run_view = RunView(price)
        assert run_view.wall_s(now=5.0) == 0.0
        assert run_view.tasks.critical_path_s() == 0.0
        assert run_view.tasks.progress(5.0) == 0.0

    def test_the_critical_path_is_the_longest_chain_as_it_took(self, story: Story) -> None:
        for name, seconds in (("a", 2.0), ("b", 3.0), ("c", 4.0)):
            story.begin(name).end(name, duration_s=seconds).finish(name)
        assert story.run_view.tasks.critical_path_s() == 5.0
        assert story.run_view.tasks.work_s() == 9.0

    def test_a_duration_that_was_not_told_is_taken_from_the_events(self, story: Story) -> None:
        story.begin("a")
        story.at += 7
        assert story.end("a").run_view.tasks.work_s() == 7.0

    def test_an_end_without_a_beginning_takes_no_time(self, story: Story) -> None:
        assert story.end("a").run_view.tasks.work_s() == 0.0

    def test_there_is_no_eta_before_a_task_is_done_nor_after_the_end(self, story: Story) -> None:
        assert story.run_view.eta_s(story.at) is None
        story.begin("a").end("a", duration_s=10.0).finish("a").begin("b")
        assert story.run_view.eta_s(story.at) is not None
        story.tell(Kind.RUN_ENDED, exit_code=0)
        assert story.run_view.eta_s(story.at) is None

    def test_the_eta_is_the_longest_chain_at_the_pace_so_far(self, story: Story) -> None:
        story.begin("a").end("a", duration_s=10.0).finish("a")  # 0.1 s a token
        assert story.run_view.eta_s(story.at) is None, "nothing runs"
        story.begin("b")
        assert story.run_view.eta_s(story.at) == pytest.approx(30.0)
        assert story.run_view.eta_s(story.at + 12) == pytest.approx(18.0)
        assert story.run_view.eta_s(story.at + 1000) == pytest.approx(10.0)

    def test_there_is_no_eta_while_nothing_moves(self, story: Story) -> None:
        run_view = story.run_view
        story.begin("a").end("a", duration_s=10.0).finish("a").begin("b").begin("c")
        story.tell(Kind.ANSWER_PROGRESS, "b", 1, silent_s=5.0)
        assert run_view.silent_s(story.at) == 0.0, "c may be at work"
        assert run_view.eta_s(story.at) is not None
        story.at += 10
        story.tell(Kind.ANSWER_PROGRESS, "c", 1, tokens=70, path="c.py", silent_s=5.0)
        assert run_view.silent_s(story.at + 35) == 40.0
        assert run_view.eta_s(story.at + 35) is None
        assert (run_view.tasks["b"].is_writing, run_view.tasks["c"].is_writing) == (False, True)
        story.tell(Kind.PROGRESS, "b", 1, text="Trying again.")
        assert run_view.silent_s(story.at + 35) == 0.0

    def test_a_planner_that_is_silent_is_known_as_long_as_no_task_runs(self) -> None:
        story = Story().start().tell(Kind.ANSWER_PROGRESS, tokens=300, silent_s=8.0)
        assert story.run_view.silent_s(story.at + 2) == 10.0
        assert story.run_view.written == 300
        story.plan(("a", [], 5)).begin("a")
        assert story.run_view.silent_s(story.at) == 0.0
        story.tell(Kind.PROGRESS, usage=usage())
        assert (story.run_view.written, story.run_view.planning.silent_since) == (0, None)

    def test_late_news_of_planning_moves_no_task(self) -> None:
        story = Story().start().tell(Kind.JOB_INTENDED).tell(Kind.PROGRESS, text="asking")
        assert story.run_view.planning.activity == "asking"
        assert not story.run_view.tasks.counts

    def test_the_eta_is_bound_by_the_executors(self) -> None:
        story = Story().start(max_executors=2)
        story.plan(*[(f"t{n}", [], 100) for n in range(9)])
        story.begin("t0").end("t0", duration_s=10.0).finish("t0").begin("t1")
        assert story.run_view.eta_s(story.at) == pytest.approx(40.0)

    def test_progress_grows_with_what_should_have_been_done(self, story: Story) -> None:
        story.begin("a").end("a", duration_s=10.0).finish("a")
        assert story.run_view.tasks.progress(story.at) == pytest.approx(0.2)
        story.begin("b")
        assert story.run_view.tasks.progress(story.at + 15) == pytest.approx(0.5)
        assert story.run_view.tasks.progress(story.at + 1e6) == pytest.approx(0.74)


class TestSlots:
    def test_the_lowest_free_slot_is_taken(self, story: Story) -> None:
        story.begin("a").begin("c")
        assert [story.run_view.tasks[t].slot for t in "ac"] == [1, 2]
        story.end("a").finish("a").begin("b")
        assert [story.run_view.tasks[t].slot for t in "abc"] == [None, 1, 2]

    @given(steps=st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=60))
    def test_no_two_tasks_share_one_and_none_is_wasted(self, steps: list[tuple[int, bool]]) -> None:
        story = Story().start().plan(*[(f"t{n}", [], 1) for n in range(8)])
        for number, (task, begins) in enumerate(steps):
            story.begin(f"t{task}", number) if begins else story.end(f"t{task}", number)
            tasks = story.run_view.tasks.values()
            slots = [t.slot for t in tasks if t.slot is not None]
            assert len(slots) == len(set(slots)) == sum(t.phase.active for t in tasks)
            assert max(slots, default=0) <= 8
            counted = {p: n for p, n in story.run_view.tasks.counts.items() if n}
            phases = [t.phase for t in tasks]
            assert counted == {p: phases.count(p) for p in set(phases)}


class TestResume:
    def test_done_stays_done_and_all_else_starts_over(self, story: Story) -> None:
        story.begin("a").end("a").finish("a")
        story.finish("b", "BLOCKED", "why").begin("c")
        story.start(resumed=True)
        assert [story.phase(t) for t in "abc"] == [
            TaskPhase.SUCCEEDED,
            TaskPhase.WAITING,
            TaskPhase.WAITING,
        ]
        assert story.run_view.tasks["b"].message == ""
        assert story.run_view.tasks["c"].slot is None
        assert story.run_view.header.resumed

    def test_a_job_found_again_goes_on_in_a_slot(self, story: Story) -> None:
        story.begin("a").start(resumed=True).tell(Kind.JOB_STATE, "a", 1, state="RUNNING")
        assert story.phase("a") is TaskPhase.RUNNING
        assert story.run_view.tasks["a"].slot == 1


def test_a_task_that_the_plan_does_not_name_is_still_counted() -> None:
    story = Story().start().begin("stray")
    assert story.phase("stray") is TaskPhase.RUNNING


def test_what_is_told_of_the_whole_run_is_kept(story: Story) -> None:
    story.tell(Kind.MERGE_INTENDED, target="/t", files=2)
    story.tell(Kind.DELIVERED, files=2, conflicts=[CONFLICT], refused=[REFUSED])
    run_view = story.run_view
    assert (run_view.delivered_files, len(run_view.conflicts), len(run_view.refused)) == (2, 1, 1)


def test_every_kind_of_event_is_understood() -> None:
    run_view = RunView(price)
    figures = Range(1.0, 1.0, 1.0)
    forecast = plain(Forecast(1, figures, 1.0, figures, None))
    data = {"state": "FAILED", "handle": handle("t", 1), **forecast}
    check = {"phase": "check", "command": "true", "tasks": [], "number": 1, "total": 1}
    repair = {"round": 1, "checks": [], "suspects": [], "passed": 0, "total": 1}
    for kind in Kind:
        own = {**check, "state": "passed"} if kind.startswith("check") else {**data, **repair}
        own = {} if kind is Kind.ANSWER_PROGRESS else own
        run_view.apply(event_of(kind, 1.0, "t", 1, own))
    assert run_view.tasks["t"].phase is TaskPhase.FAILED


# -- a plan that was corrected


def corrected() -> Story:
    """Of three running tasks "a" was begun anew and "c" has left the plan; "b" goes on."""
    story = Story().start(max_executors=3).plan(("a", [], 5), ("b", [], 5), ("c", [], 5))
    for name in "abc":
        story.tell(Kind.JOB_INTENDED, name, 1)
        story.tell(Kind.JOB_STATE, name, 1, state="RUNNING")
    rows = [["a", "Other", [], 9], ["b", "Title b", [], 5]]
    return story.tell(Kind.PLAN_READY, title="P", tasks=rows, restarted=["a"])


def phases(story: Story) -> dict[str, TaskPhase]:
    return {name: task.phase for name, task in story.run_view.tasks.items()}


def test_what_is_begun_anew_waits_again_and_what_left_the_plan_is_shown_no_more() -> None:
    story = corrected()
    assert phases(story) == {"a": TaskPhase.WAITING, "b": TaskPhase.RUNNING}
    assert story.run_view.tasks["a"].title == "Other"
    assert sum(story.run_view.tasks.counts.values()) == 2
    assert story.run_view.tasks["a"].slot is None


def test_late_news_of_void_attempts_moves_nothing_but_their_spend_counts() -> None:
    story = (
        corrected().tell(Kind.JOB_INTENDED, "a", 2).tell(Kind.JOB_STATE, "a", 2, state="RUNNING")
    )
    before = phases(story)
    for name in "ac":
        story.tell(Kind.JOB_STATE, name, 1, state="RUNNING")
        story.tell(Kind.ANSWER_BEGUN, name, 1)
        story.tell(Kind.PROGRESS, name, 1, text="late", usage=usage())
        story.tell(Kind.JOB_ENDED, name, 1, cause="OK", usage=[usage()], files=3)
    assert phases(story) == before
    assert (story.run_view.tasks["a"].attempt, story.run_view.tasks["a"].files) == (2, 0)
    assert story.run_view.spend().requests == story.run_view.task_spend().requests == 2
    assert sum(story.run_view.tasks.counts.values()) == 2


def test_a_task_that_comes_back_into_the_plan_keeps_what_it_spent() -> None:
    story = corrected().tell(Kind.JOB_ENDED, "c", 1, cause="OK", usage=[usage()])
    story.plan(("a", [], 5), ("b", [], 5), ("c", [], 5))
    assert phases(story)["c"] is TaskPhase.WAITING
    assert story.run_view.tasks["c"].spend.requests == 1
    assert sum(story.run_view.tasks.counts.values()) == 3


def test_what_is_tried_before_there_is_a_plan_is_no_planning_and_sets_no_pace() -> None:
    story = Story().start().tell(Kind.TASK_ADDED, "reproduce-1", title="Run the checks", estimate=1)
    story.begin("reproduce-1")
    story.at += 300.0
    story.end("reproduce-1", duration_s=200.0).finish("reproduce-1")
    assert not story.run_view.has_begun
    story.at += 40.0
    story.plan(("a", [], 500))
    assert story.run_view.planning_s == 40.0
    assert story.run_view.tasks.done_of_plan() == (0, 1)
    story.begin("a")
    assert story.run_view.eta_s(story.at) is None
    assert story.run_view.has_begun

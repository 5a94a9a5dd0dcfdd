"""The run's time as spans on lanes."""

from __future__ import annotations

from typing import Any

from core.events import Event, Kind
from engine.report.timeline import PLANNER, PROOF, SpanKind, Timeline
from engine.run.run_view import RunView
from tests.fakes.events import event_of
from tests.fakes.reported_runs import RUN, USAGE, begun, done, ended, job, planned


def timeline_of(*events: Event) -> Timeline:
    timeline = Timeline(RunView(run_id=RUN))
    timeline.read(RUN, sorted(events, key=lambda event: event.at))
    return timeline


def rows(timeline: Timeline, kind: SpanKind) -> list[tuple[Any, ...]]:
    return [(s.lane, s.task, s.begin, s.end, s.state) for s in timeline.spans if s.kind is kind]


PLAN = planned([("a", []), ("b", ["a"]), ("c", [])])


def test_jobs_stand_on_the_slot_that_they_had() -> None:
    jobs = [*job("a", 2, 4), *job("c", 2.5, 6), done("a", 4), *job("b", 4, 5)]
    assert rows(timeline_of(begun(), PLAN, *jobs), SpanKind.JOB) == [
        ("1", "a", 2, 4, "ok"),
        ("2", "c", 2.5, 6, "ok"),
        ("1", "b", 4, 5, "ok"),
    ]


def test_a_job_that_waited_tells_how_long_it_worked() -> None:
    (span,) = (s for s in timeline_of(begun(), PLAN, *job("a", 2, 10, ran_s=3)).spans if s.task)
    assert (span.begin, span.end, span.ran_s) == (2, 10, 3)


def test_a_failed_attempt_and_the_wait_after_it_are_spans() -> None:
    retry = event_of(Kind.TASK_RETRY, 4, "a", 1, {"delay_s": 3, "message": "no a.py"})
    timeline = timeline_of(begun(), PLAN, *job("a", 2, 3.9, cause="DEFECT"), retry)
    assert rows(timeline, SpanKind.JOB) == [("1", "a", 2, 3.9, "failed")]
    assert rows(timeline, SpanKind.WAIT) == [("1", "a", 4, 7, "")]
    assert timeline.attempts["a"][1].cause == "DEFECT"


def test_planning_ends_with_its_last_request() -> None:
    late = event_of(Kind.PROGRESS, 3, data={"usage": USAGE})
    timeline = timeline_of(begun(), PLAN, late)
    assert rows(timeline, SpanKind.PLANNING) == [(PLANNER, "", 0, 3, "ok")]


def test_what_a_crash_left_open_is_lost_and_the_time_between_sessions_is_none() -> None:
    intended = event_of(Kind.JOB_INTENDED, 3, "a", 1)
    resumed = event_of(Kind.RUN_STARTED, 90_000, data={"run": RUN, "resumed": True})
    timeline = timeline_of(begun(), PLAN, intended, resumed, *job("a", 90_001, 90_003, attempt=2))
    assert rows(timeline, SpanKind.JOB) == [("1", "a", 3, 3, "lost"), ("1", "a", 4, 6, "ok")]
    assert timeline.sessions == [0, 3]
    assert len(rows(timeline, SpanKind.PLANNING)) == 1


def test_delivery_and_checks_have_their_lane() -> None:
    check = {"phase": "check", "command": "true", "tasks": [], "state": "failed", "seconds": 2}
    timeline = timeline_of(
        begun(),
        PLAN,
        event_of(Kind.MERGE_INTENDED, 5),
        event_of(Kind.DELIVERED, 6, data={"files": 1}),
        event_of(Kind.CHECK_ENDED, 9, data=check),
        ended(9),
    )
    assert rows(timeline, SpanKind.MERGE) == [(PROOF, "", 5, 6, "ok")]
    assert rows(timeline, SpanKind.CHECK) == [(PROOF, "", 7, 9, "failed")]


def test_an_attempt_that_a_corrected_plan_made_void_is_shown_as_such() -> None:
    again = event_of(
        Kind.PLAN_READY, 3, data={"title": "T", "tasks": [["a", "A", [], 1]], "restarted": ["a"]}
    )
    timeline = timeline_of(begun(), PLAN, *job("a", 2, 4), again)
    assert rows(timeline, SpanKind.JOB) == [("1", "a", 2, 4, "void")]


def test_a_journal_without_its_beginning_can_be_shown() -> None:
    timeline = timeline_of(*job("a", 2, 4), event_of(Kind.PROGRESS, 5, data={"usage": USAGE}))
    assert [span.task for span in timeline.spans] == ["a"]

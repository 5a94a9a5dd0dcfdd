from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import PollPace
from core.events import AnswerBegun, AnswerProgress, EventData, Progress
from core.job import JobHandle, JobKey, JobState, JobStatus, Outcome, Reason, TaskResult, Usage
from engine.scheduling.attempt import (
    Attempt,
    CancelReason,
    PollTimer,
    Wait,
)
from engine.scheduling.job_end import End
from engine.scheduling.progress_line import MOST_CHARS, parse_progress
from engine.scheduling.types import Pacing

KEY = JobKey("run", "a", 1)
RUNNING = JobStatus(JobState.RUNNING)
QUEUED = JobStatus(JobState.QUEUED)
STUCK = JobStatus(JobState.QUEUED, Reason.UNSCHEDULABLE, message="held")
UNKNOWN = JobStatus(JobState.UNKNOWN)
MISSING = JobStatus(JobState.LOST, Reason.MISSING)
DONE = JobStatus(JobState.SUCCEEDED)
GRACE_S = 20.0
LIMITS = Pacing(task_timeout_s=300.0)


def attempt() -> Attempt:
    return Attempt(KEY, 0.0, JobHandle(KEY, "virtual", "1"))


def test_what_a_poll_says_is_news_only_when_it_is_new() -> None:
    one = attempt()
    assert not one.observe(QUEUED, 1, GRACE_S)
    assert one.observe(RUNNING, 2, GRACE_S)
    assert one.is_running
    assert not one.observe(RUNNING, 3, GRACE_S)
    assert one.observe(JobStatus(JobState.RUNNING, message="on node 3"), 4, GRACE_S)


def test_the_time_limit_counts_from_the_first_sight_of_it_running() -> None:
    one = attempt()
    one.observe(QUEUED, 500, GRACE_S)
    assert not one.runs_over(10_000, LIMITS)
    one.observe(RUNNING, 1000, GRACE_S)
    one.observe(RUNNING, 1100, GRACE_S)
    assert not one.runs_over(1329, LIMITS)
    assert one.runs_over(1330, LIMITS)
    assert list(one.due_times(LIMITS, GRACE_S)) == [1330]


def test_a_requeue_starts_its_time_anew() -> None:
    one = attempt()
    one.observe(RUNNING, 0, GRACE_S)
    assert one.observe(QUEUED, 100, GRACE_S)
    assert list(one.due_times(LIMITS, GRACE_S)) == [100 + LIMITS.queue_timeout_s]
    one.observe(RUNNING, 1000, GRACE_S)
    assert not one.runs_over(1300, LIMITS)


def test_not_knowing_takes_nothing_from_the_time_of_a_running_job() -> None:
    one = attempt()
    one.observe(RUNNING, 0, GRACE_S)
    one.observe(UNKNOWN, 100, GRACE_S)
    assert not one.is_running
    assert one.runs_over(330, LIMITS)


def test_a_job_of_which_nothing_is_known_counts_as_running_until_it_is_seen() -> None:
    one = attempt()
    one.observe(UNKNOWN, 10, GRACE_S)
    one.observe(UNKNOWN, 50, GRACE_S)
    assert one.runs_over(340, LIMITS)
    assert not one.runs_over(339, LIMITS)
    one.observe(RUNNING, 339, GRACE_S)
    assert not one.runs_over(340, LIMITS)


def test_missing_is_no_end_until_the_grace_is_over() -> None:
    one = attempt()
    one.observe(RUNNING, 0, GRACE_S)
    assert not one.observe(MISSING, 10, GRACE_S)
    assert not one.observe(MISSING, 29.9, GRACE_S)
    assert one.status == RUNNING
    assert one.observe(MISSING, 30, GRACE_S)
    assert one.ended_at == 30
    assert not one.can_be_polled


def test_a_job_that_shows_again_has_all_its_grace_again_but_not_knowing_shows_nothing() -> None:
    one = attempt()
    one.observe(MISSING, 0, GRACE_S)
    one.observe(RUNNING, 10, GRACE_S)
    one.observe(MISSING, 15, GRACE_S)
    one.observe(UNKNOWN, 25, GRACE_S)
    assert not one.observe(MISSING, 34, GRACE_S)
    assert one.observe(MISSING, 35, GRACE_S)


def test_without_a_grace_missing_is_lost_at_once() -> None:
    assert attempt().observe(MISSING, 5, 0.0)


def test_an_ended_job_is_to_be_collected_and_neither_polled_nor_cancelled() -> None:
    one = attempt()
    assert (one.can_be_polled, one.can_be_cancelled, one.to_collect(99)) == (True, True, False)
    one.observe(DONE, 5, GRACE_S)
    one.collect_at = 7
    assert not one.to_collect(6)
    assert one.to_collect(7)
    assert (one.can_be_polled, one.can_be_cancelled) == (False, False)
    assert not one.runs_over(1e9, LIMITS)
    assert list(one.due_times(LIMITS, GRACE_S)) == [7]


def test_a_job_without_a_handle_can_be_asked_nothing() -> None:
    one = Attempt(KEY, 0.0)
    assert not one.can_be_polled
    assert not one.can_be_cancelled


def test_a_cancel_is_asked_once_and_ignored_after_its_grace() -> None:
    one = attempt()
    one.observe(RUNNING, 0, GRACE_S)
    one.cancel_asked_at = 400
    assert not one.can_be_cancelled
    assert list(one.due_times(LIMITS, GRACE_S)) == [430]
    assert not one.ignores_cancel(429, 30)
    assert one.ignores_cancel(430, 30)
    one.observe(DONE, 429, GRACE_S)
    assert not one.ignores_cancel(430, 30)


def test_the_backends_own_words_beat_the_reason_for_no_result() -> None:
    one = attempt()
    assert one.explained("no file").message == "no file"
    one.observe(JobStatus(JobState.FAILED, Reason.OOM, 137, "killed"), 1, GRACE_S)
    assert one.explained("no file").message == "killed"


def test_the_wait_in_the_queue_begins_when_the_backend_has_the_job_and_only_polls_end_it() -> None:
    one = Attempt(KEY, 0.0)
    one.hand_over(JobHandle(KEY, "virtual", "1"), 5)
    assert list(one.poll_times(LIMITS, GRACE_S)) == [5 + LIMITS.queue_timeout_s]
    assert not one.queued.is_over(0)
    one.observe(QUEUED, 10, GRACE_S)
    assert one.queued.is_over(5)
    assert not one.queued.is_over(6)


@pytest.mark.parametrize("between", [UNKNOWN, MISSING])
def test_not_knowing_neither_starts_nor_stops_a_wait(between: JobStatus) -> None:
    one = Attempt(KEY, 0.0, JobHandle(KEY, "virtual", "1"))
    one.observe(between, 1, GRACE_S)
    assert (one.queued.since, one.stuck.since) == (None, None)
    one.observe(STUCK, 2, GRACE_S)
    one.observe(between, 3, GRACE_S)
    assert (one.queued, one.stuck) == (Wait(2, 2, "held"), Wait(2, 2, "held"))
    one.observe(STUCK, 4, GRACE_S)
    assert (one.queued, one.stuck) == (Wait(2, 4, "held"), Wait(2, 4, "held"))


def test_what_can_start_again_is_stuck_no_longer_and_goes_on_waiting() -> None:
    one, stuck = attempt(), []
    for now, status in enumerate([STUCK, QUEUED], 1):
        one.observe(status, now, GRACE_S)
        stuck.append(one.is_stuck)
    assert stuck == [True, False]
    assert (one.queued.since, one.stuck.since) == (1, None)
    one.observe(STUCK, 3, GRACE_S)
    assert (one.queued.since, one.stuck.since) == (1, 3)
    one.observe(RUNNING, 4, GRACE_S)
    assert (one.queued.since, one.stuck.since) == (None, None)
    one.observe(QUEUED, 5, GRACE_S)
    assert one.queued.since == 5


def test_a_poll_decides_about_what_is_missing_stuck_or_queued_until_the_job_has_ended() -> None:
    one = attempt()
    one.observe(STUCK, 1, GRACE_S)
    one.observe(MISSING, 2, GRACE_S)
    limits = Pacing(unschedulable_s=100.0, queue_timeout_s=1000.0)
    assert list(one.poll_times(limits, GRACE_S)) == [22, 101, 1001]
    assert set(one.poll_times(limits, GRACE_S)) <= set(one.due_times(limits, GRACE_S))
    one.observe(DONE, 3, GRACE_S)
    assert list(one.poll_times(limits, GRACE_S)) == []


def test_time_in_a_queue_is_no_time_at_work() -> None:
    one = Attempt(KEY, 3.0, JobHandle(KEY, "virtual", "1"))
    one.observe(RUNNING, 10, GRACE_S)
    assert one.at_work_from == 3
    one.observe(QUEUED, 20, GRACE_S)
    one.observe(QUEUED, 50, GRACE_S)
    one.observe(RUNNING, 60, GRACE_S)
    assert one.at_work_from == 50


@pytest.mark.parametrize(
    ("in_queue", "seen", "end", "never_ran"),
    [
        (True, [QUEUED], JobState.CANCELLED, True),
        (True, [RUNNING, QUEUED], JobState.CANCELLED, False),
        (True, [QUEUED], JobState.FAILED, False),
        (False, [QUEUED], JobState.CANCELLED, False),
    ],
)
def test_only_what_was_taken_out_of_the_queue_and_never_seen_to_run_has_not_run(
    in_queue: bool, seen: list[JobStatus], end: JobState, never_ran: bool
) -> None:
    one = attempt()
    for now, status in enumerate([*seen, JobStatus(end)]):
        one.observe(status, now, GRACE_S)
    one.cancelled_in_queue = in_queue
    assert one.never_ran is never_ran


def test_the_end_of_a_cancelled_attempt_says_why_it_was_cancelled() -> None:
    result = TaskResult(KEY, Outcome.INTERRUPTED, "saved")
    late, interrupted = (
        CancelReason(Reason.TIMEOUT, "late"),
        CancelReason(Outcome.INTERRUPTED, "stopped"),
    )
    assert late.end(End("X", "x")) == End(Reason.TIMEOUT, "late")
    assert late.end(End("X", "saved", result)) == End(Reason.TIMEOUT, "late", result)
    assert interrupted.end(End("X", "x")) == End(Outcome.INTERRUPTED, "stopped")
    assert interrupted.end(End("X", "saved", result)).message == "saved"


def test_polls_come_later_each_time_until_something_changes() -> None:
    timer = PollTimer(PollPace(2.0, 10.0), news=False)
    now, gaps = 0.0, []
    for changed in (False, False, False, False, True, False):
        timer.answered(now, changed)
        gaps.append(timer.at - now)
        now = timer.at
    assert gaps == [2, 4, 8, 10, 2, 4]


def test_a_poll_is_due_at_once_when_there_is_news() -> None:
    timer = PollTimer(PollPace(2.0, 10.0), news=True)
    assert timer.due(0)
    timer.news = False
    timer.answered(0, changed=False)
    assert not timer.due(1.9)
    assert timer.due(2)


def test_something_begun_brings_the_next_poll_nearer_and_never_puts_it_off() -> None:
    timer = PollTimer(PollPace(2.0, 60.0), news=False)
    for _ in range(5):
        timer.answered(0, changed=False)
    assert timer.at == 32
    timer.soon(10)
    assert timer.at == 12
    timer.soon(11)
    assert timer.at == 12


@pytest.mark.parametrize(
    ("line", "data"),
    [
        ("hello", Progress("hello")),
        ('{"kind": "answer_begun"}', AnswerBegun()),
        ('{"kind": "answer_begun", "usage": {"provider": "p", "model": "m"}}', AnswerBegun()),
        (
            '{"kind": "answer_progress", "tokens": 5, "path": "a.py"}',
            AnswerProgress(5, "a.py"),
        ),
        ('{"kind": "answer_progress", "silent_s": 1e999}', AnswerProgress(silent_s=86_400.0)),
        ('{"kind": "answer_progress", "silent_s": NaN}', AnswerProgress(silent_s=86_400.0)),
        (f'{{"kind": "answer_progress", "tokens": {10**30}}}', AnswerProgress(10**7)),
        ('{"kind": "answer_progress", "tokens": -1, "silent_s": -1}', AnswerProgress()),
        ('{"kind": "answer_progress", "tokens": "many"}', AnswerProgress()),
        ('{"kind": "progress", "text": "x", "more": 1}', Progress("x")),
        (
            '{"kind": "progress", "usage": {"provider": "anthropic", "model": "m"}}',
            Progress(usage=Usage("anthropic", "m")),
        ),
        ('{"kind": "other"}', Progress('{"kind": "other"}')),
        ('["progress"]', Progress('["progress"]')),
        ("", Progress("")),
        ("[" * 100_000, Progress("[" * MOST_CHARS)),
        (f'{{"kind": "progress", "text": "{"x" * 100_000}"}}', Progress("x" * MOST_CHARS)),
    ],
)
def test_a_line_of_a_worker_is_its_event_or_a_text(line: str, data: EventData) -> None:
    assert parse_progress(line) == data


@pytest.mark.parametrize(
    "bad", ["null", '"text"', "5", "{}", '{"provider": "x"}', '{"provider": 1, "model": "m"}']
)
def test_what_is_no_usage_is_left_out(bad: str) -> None:
    assert parse_progress(f'{{"kind": "progress", "usage": {bad}}}') == Progress()


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_no_line_breaks_the_reading_of_progress(line: str) -> None:
    assert parse_progress(line) == Progress(line[:MOST_CHARS])

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.base import PollPace
from core.job import JobHandle, JobKey, JobState, JobStatus, Outcome, Reason, TaskResult
from engine.retry_policy import End
from engine.watch import MOST_CHARS, Attempt, PollTimer, parse_progress

KEY = JobKey("run", "a", 1)
RUNNING = JobStatus(JobState.RUNNING)
QUEUED = JobStatus(JobState.QUEUED)
UNKNOWN = JobStatus(JobState.UNKNOWN)
MISSING = JobStatus(JobState.LOST, Reason.MISSING)
DONE = JobStatus(JobState.SUCCEEDED)
GRACE_S = 20.0


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
    assert not one.runs_over(10_000, 300, 30)
    one.observe(RUNNING, 1000, GRACE_S)
    one.observe(RUNNING, 1100, GRACE_S)
    assert not one.runs_over(1329, 300, 30)
    assert one.runs_over(1330, 300, 30)
    assert list(one.due_times(300, 30, 30)) == [1330]


def test_a_requeue_starts_its_time_anew() -> None:
    one = attempt()
    one.observe(RUNNING, 0, GRACE_S)
    assert one.observe(QUEUED, 100, GRACE_S)
    assert list(one.due_times(300, 30, 30)) == []
    one.observe(RUNNING, 1000, GRACE_S)
    assert not one.runs_over(1300, 300, 30)


def test_not_knowing_takes_nothing_from_the_time_of_a_running_job() -> None:
    one = attempt()
    one.observe(RUNNING, 0, GRACE_S)
    one.observe(UNKNOWN, 100, GRACE_S)
    assert not one.is_running
    assert one.runs_over(330, 300, 30)


def test_a_job_of_which_nothing_is_known_counts_as_running_until_it_is_seen() -> None:
    one = attempt()
    one.observe(UNKNOWN, 10, GRACE_S)
    one.observe(UNKNOWN, 50, GRACE_S)
    assert one.runs_over(340, 300, 30)
    assert not one.runs_over(339, 300, 30)
    one.observe(RUNNING, 339, GRACE_S)
    assert not one.runs_over(340, 300, 30)


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
    assert not one.runs_over(1e9, 300, 30)
    assert list(one.due_times(300, 30, 30)) == [7]


def test_a_job_without_a_handle_can_be_asked_nothing() -> None:
    one = Attempt(KEY, 0.0)
    assert not one.can_be_polled
    assert not one.can_be_cancelled


def test_a_cancel_is_asked_once_and_ignored_after_its_grace() -> None:
    one = attempt()
    one.observe(RUNNING, 0, GRACE_S)
    one.cancel_asked_at = 400
    assert not one.can_be_cancelled
    assert list(one.due_times(300, 30, 30)) == [430]
    assert not one.ignores_cancel(429, 30)
    assert one.ignores_cancel(430, 30)
    one.observe(DONE, 429, GRACE_S)
    assert not one.ignores_cancel(430, 30)


def test_the_backends_own_words_beat_the_reason_for_no_result() -> None:
    one = attempt()
    assert one.explained("no file").message == "no file"
    one.observe(JobStatus(JobState.FAILED, Reason.OOM, 137, "killed"), 1, GRACE_S)
    assert one.explained("no file").message == "killed"


def test_an_unwanted_end_says_why_it_was_unwanted() -> None:
    one = attempt()
    one.unwanted = Reason.TIMEOUT
    assert one.why_unwanted(End("X", "x")) == "The worker ran into its time limit."
    one.unwanted = Outcome.INTERRUPTED
    assert one.why_unwanted(End("X", "x")) == "It was stopped when the run was interrupted."
    result = TaskResult(KEY, Outcome.INTERRUPTED, "saved")
    assert one.why_unwanted(End("X", "saved", result)) == "saved"


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


def test_a_poll_that_decides_is_not_put_off_but_one_in_the_past_is_no_reason_to_hurry() -> None:
    timer = PollTimer(PollPace(30.0, 60.0), news=False)
    timer.answered(0, changed=False)
    timer.no_later(20, now=0)
    assert timer.at == 20
    timer.no_later(5, now=5)
    assert timer.at == 20
    timer.no_later(25, now=5)
    assert timer.at == 20


@pytest.mark.parametrize(
    ("line", "data"),
    [
        ("hello", {"text": "hello"}),
        ('{"kind": "progress", "text": "x", "more": 1}', {"text": "x"}),
        ('{"kind": "progress", "usage": {"model": "m"}}', {"usage": {"model": "m"}}),
        ('{"kind": "other"}', {"text": '{"kind": "other"}'}),
        ('["progress"]', {"text": '["progress"]'}),
        ("", {"text": ""}),
        ("[" * 100_000, {"text": "[" * MOST_CHARS}),
        (f'{{"kind": "progress", "text": "{"x" * 100_000}"}}', {"text": "x" * MOST_CHARS}),
    ],
)
def test_a_line_of_a_worker_is_its_event_or_a_text(line: str, data: dict[str, object]) -> None:
    assert parse_progress(line) == data


@given(st.text() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_no_line_breaks_the_reading_of_progress(line: str) -> None:
    assert set(parse_progress(line)) <= {"text", "usage"}

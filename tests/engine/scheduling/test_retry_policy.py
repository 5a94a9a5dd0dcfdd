from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.job import JobKey, JobState, JobStatus, Outcome, Reason, TaskResult
from engine.scheduling.job_end import End, describe, end_of
from engine.scheduling.retry_policy import RULES, RetryPolicy

KEY = JobKey("run", "a", 1)
FAILURES = [o for o in Outcome if o is not Outcome.OK] + list(Reason)
STOPS = {Outcome.AUTH, Outcome.BILLING, Outcome.BUDGET, Reason.OUTDATED}


def policy(max_attempts: int = 3) -> RetryPolicy:
    return RetryPolicy(max_attempts, random.Random(1))


def test_every_failure_there_is_has_a_rule_and_success_has_none() -> None:
    assert set(RULES) == set(FAILURES)


@given(cause=st.sampled_from(FAILURES), tries=st.integers(0, 10**6), most=st.integers(1, 10**6))
def test_a_delay_is_positive_bounded_and_never_given_after_the_last_try(
    cause: str, tries: int, most: int
) -> None:
    verdict = policy(most).judge(cause, tries)
    assert verdict.stops_run == (cause in STOPS)
    if verdict.delay_s is None:
        assert cause in STOPS or tries >= min(most, RULES[cause].tries or most)
    else:
        assert tries < most
        assert 0 < verdict.delay_s <= RULES[cause].most_s


def test_delays_double_with_each_try_between_half_and_all_of_the_step() -> None:
    for tries, step_s in [(1, 15), (2, 30), (3, 60), (4, 120), (5, 240), (6, 300), (60, 300)]:
        delay_s = policy(1000).judge(Outcome.RATE_LIMITED, tries).delay_s
        assert delay_s is not None
        assert step_s / 2 <= delay_s <= step_s


def test_delays_differ_from_task_to_task() -> None:
    one = policy()
    assert len({one.judge(Reason.EXIT, 1).delay_s for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("cause", "tries"),
    [
        (Outcome.REFUSED, 2),
        (Reason.OOM, 2),
        (Reason.TIMEOUT, 2),
        (Reason.UNSCHEDULABLE, 1),
        (Reason.EXIT, 3),
        (Outcome.DEFECT, 3),
    ],
)
def test_some_causes_are_worth_fewer_tries_than_allowed(cause: str, tries: int) -> None:
    assert policy().judge(cause, tries - 1).delay_s is not None or tries == 1
    assert policy().judge(cause, tries).delay_s is None


def test_one_attempt_allowed_is_one_attempt() -> None:
    assert all(policy(1).judge(cause, 1).delay_s is None for cause in FAILURES)


@pytest.mark.parametrize("state", list(JobState))
def test_a_result_counts_whatever_the_backend_says(state: JobState) -> None:
    result = TaskResult(KEY, Outcome.OK)
    end = end_of(JobStatus(state, Reason.NODE_LOST), result)
    assert end.ok
    assert end == End(Outcome.OK, "ok", result)


def test_a_result_is_described_in_its_own_words() -> None:
    end = end_of(JobStatus(JobState.SUCCEEDED), TaskResult(KEY, Outcome.DEFECT, "No files."))
    assert (end.cause, end.message, end.ok) == (Outcome.DEFECT, "No files.", False)


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (JobStatus(JobState.SUCCEEDED), Reason.EXIT),
        (JobStatus(JobState.FAILED), Reason.EXIT),
        (JobStatus(JobState.FAILED, Reason.OOM), Reason.OOM),
        (JobStatus(JobState.LOST), Reason.MISSING),
        (JobStatus(JobState.LOST, Reason.NODE_LOST), Reason.NODE_LOST),
        (JobStatus(JobState.CANCELLED), Reason.PREEMPTED),
        (JobStatus(JobState.CANCELLED, Reason.TIMEOUT), Reason.TIMEOUT),
    ],
)
def test_without_a_result_the_backends_reason_is_the_cause(
    status: JobStatus, cause: Reason
) -> None:
    end = end_of(status, None)
    assert end.cause == cause
    assert not end.ok
    assert end.message == describe(status, cause)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_one_sentence(reason: Reason) -> None:
    text = describe(JobStatus(JobState.FAILED, reason, 137, "killed."), reason)
    told = "killed; exit code 137." if reason is Reason.EXIT else "(exit code 137): killed."
    assert text.endswith(told)
    assert describe(JobStatus(JobState.FAILED), reason).count(".") == 1

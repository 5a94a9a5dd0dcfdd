"""Submissions to AWS Batch: throttled, refused, lost on the way, and made twice."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from core.errors import AwsRefused, BackendError, SubmitError
from core.job import JobHandle, JobKey, JobState, Outcome, Reason
from parallel_task_orchestrator.conformance.live_run import LiveRun
from tests.fakes.aws import FakeAws
from tests.fakes.aws_calls import fault, lost_connection
from tests.fakes.aws_server import Answer
from tests.fakes.batch_run import NoWaiting, batch_run
from tests.fakes.strict_batch import Refusal

THROTTLED = Refusal("Too Many Requests", "TooManyRequestsException", 429)
DENIED = Refusal("User is not authorized to perform that", "AccessDenied", 403)


# -- throttling, and lost answers


@pytest.mark.parametrize("answer", [THROTTLED, lost_connection(), Refusal("no", "X", 503)])
@pytest.mark.parametrize("action", ["describejobs", "listjobs", "ListObjectsV2", "PutObject"])
def test_what_fails_for_a_moment_is_asked_again(
    live: LiveRun, aws: FakeAws, clock: NoWaiting, action: str, answer: Any
) -> None:
    live.submit("fast-02")  # so that there is something to list
    aws.faults.append(fault(action, answer, times=2))
    live.backend = live.another_backend()
    [handle] = live.submit("fast-01")
    [status] = live.poll(handle)
    assert status.state is JobState.SUCCEEDED
    assert len(clock.slept) >= 2
    assert max(clock.slept) > clock.slept[0], "the second pause is longer than the first"


def test_a_service_that_throttles_slows_down_its_own_calls_that_follow_and_no_others(
    live: LiveRun, aws: FakeAws, clock: NoWaiting
) -> None:
    [handle] = live.submit("fast-01")
    aws.faults.append(fault("describejobs", THROTTLED, times=3))
    live.poll(handle)
    before = len(clock.slept)
    live.result(handle)
    live.read_log(handle)
    assert clock.slept[before:] == [], "S3 and the logs waited for AWS Batch"
    live.backend.cancel([handle])
    assert clock.slept[before:] == [], "nothing was asked"
    live.submit("fast-02")
    assert clock.slept[before:], "the next call of AWS Batch did not wait"
    for _ in range(20):
        live.backend.reattach(live.run.run_id)
    before = len(clock.slept)
    live.backend.reattach(live.run.run_id)
    assert clock.slept[before:] == [], "it never went back to full speed"


def test_logs_that_are_throttled_slow_down_no_poll(
    live: LiveRun, aws: FakeAws, clock: NoWaiting
) -> None:
    aws.runner.never_ends = True
    [handle] = live.submit("fast-01")
    live.poll(handle)
    aws.faults.append(fault("GetLogEvents", THROTTLED, times=3))
    live.read_log(handle)
    before = len(clock.slept)
    live.poll(handle)
    live.submit("fast-02")
    assert clock.slept[before:] == []


def test_a_service_that_stays_throttled_is_out_of_reach_and_nothing_is_lost(
    live: LiveRun, aws: FakeAws
) -> None:
    [handle] = live.submit("fast-01")
    aws.faults.append(fault("describejobs", THROTTLED, times=6))
    with pytest.raises(BackendError, match=r"DescribeJobs.*TooManyRequests"):
        live.poll(handle)
    assert live.poll(handle)[0].state is JobState.SUCCEEDED


def test_a_lost_answer_to_a_submission_makes_no_second_one(live: LiveRun, aws: FakeAws) -> None:
    left = [1]

    def lose(call: Any) -> None:
        if call.action == "submitjob" and left[0]:
            left[0] -= 1
            raise lost_connection()

    aws.after = lose
    handles = live.submit("fast-01", "fast-02")
    assert aws.count("submitjob") == 1
    assert {s.state for s in live.poll(*handles)} == {JobState.SUCCEEDED}
    assert len(aws.runner.started) == 2


def test_a_refusal_after_a_lost_answer_says_nothing_of_the_job(live: LiveRun, aws: FakeAws) -> None:
    left = [1]

    def lose(call: Any) -> None:
        if call.action == "submitjob" and left[0]:
            left[0] -= 1
            aws.faults.append(fault("listjobs", Refusal("expired", "ExpiredTokenException", 403)))
            raise lost_connection()

    aws.after = lose
    job = live.prepare("fast-01")
    with pytest.raises(BackendError) as told:
        live.backend.submit([job])
    assert not isinstance(told.value, AwsRefused)
    [handle] = live.submit_jobs(job)
    assert live.poll(handle)[0].state is JobState.SUCCEEDED
    assert aws.count("submitjob") == len(aws.runner.started) == 1


def test_a_submission_made_twice_all_the_same_runs_each_job_once(
    live: LiveRun, aws: FakeAws, clock: NoWaiting
) -> None:
    """The answer is lost, and the queue does not list the job yet: nobody can know."""
    left = [1]

    def lose(call: Any) -> None:
        if call.action == "submitjob" and left[0]:
            left[0] -= 1
            raise lost_connection()

    aws.after = lose
    aws.faults.append(fault("listjobs", Answer(200, b'{"jobSummaryList": []}'), times=1))
    handles = live.submit("fast-01", "fast-02")
    assert aws.count("submitjob") == 2
    assert len(aws.runner.started) == 4, "there are two arrays"
    found = live.poll(*handles)
    assert {s.state for s in found} == {JobState.SUCCEEDED}, found
    for handle in handles:
        assert live.result(handle).outcome is Outcome.OK
    assert _worked(aws) == ["fast-01", "fast-02"]


def _worked(aws: FakeAws) -> list[str]:
    """The tasks whose results were stored, each time one was."""
    stored = [c.path for c in aws.calls if c.action == "PutObject" and "/results/" in c.path]
    return sorted(path.split("/")[-2] for path in stored)


def test_a_queue_that_is_not_there_refuses_each_job_for_good(tmp_path: Path, aws: FakeAws) -> None:
    with batch_run(tmp_path, aws, batch_job_queue="nowhere") as live:
        jobs = [live.prepare("fast-01"), live.prepare("fast-02")]
        answers = live.backend.submit(jobs)
        assert [type(a) for a in answers] == [SubmitError, SubmitError]
        assert not any(a.retryable for a in answers if isinstance(a, SubmitError))
        assert "Job queue nowhere does not exist" in str(answers[0])


POLICY = "arn:aws:batch:eu-central-1:123456789012:scheduling-policy/fair"


@pytest.mark.parametrize(("policy", "share"), [(POLICY, "orchestrator"), ("", None)])
def test_a_queue_that_shares_fairly_is_told_whose_the_jobs_are(
    live: LiveRun, aws: FakeAws, policy: str, share: str | None
) -> None:
    aws.queues["a-queue"]["schedulingPolicyArn"] = policy
    live.submit("fast-01")
    live.submit("fast-02", "fast-03")
    submitted = [c.params for c in aws.calls if c.action == "submitjob"]
    assert [asked.get("shareIdentifier") for asked in submitted] == [share, share]
    assert aws.count("describejobqueues") == 1


def test_who_may_not_look_at_the_queue_may_submit_all_the_same(live: LiveRun, aws: FakeAws) -> None:
    aws.faults.append(fault("describejobqueues", DENIED))
    assert live.submit("fast-01")


# -- describe answers that are empty right after submit, and jobs that are forgotten


def test_a_job_that_does_not_show_yet_is_missing_and_then_there(
    live: LiveRun, aws: FakeAws
) -> None:
    aws.batch.hide_next = 2
    aws.runner.never_ends = True
    [handle] = live.submit("fast-01")
    states = [live.poll(handle)[0] for _ in range(3)]
    assert [s.state for s in states] == [JobState.LOST, JobState.LOST, JobState.RUNNING]
    assert {s.reason for s in states[:2]} == {Reason.MISSING}, "which the engine waits for"


def test_a_job_of_an_array_that_goes_on_is_not_missing_though_it_does_not_show(
    live: LiveRun, aws: FakeAws
) -> None:
    aws.batch.hide_next = 2
    aws.runner.never_ends = True
    handles = live.submit("fast-01", "fast-02")
    seen = [{s.state for s in live.poll(*handles)} for _ in range(3)]
    assert seen == [{JobState.UNKNOWN}, {JobState.UNKNOWN}, {JobState.RUNNING}]
    aws.batch.forget(*(h.native_id for h in handles))
    assert {s.reason for s in live.poll(*handles)} == {Reason.MISSING}


def test_a_forgotten_job_has_succeeded_when_its_result_is_there(
    live: LiveRun, aws: FakeAws
) -> None:
    handles = live.submit("fast-01", "fast-02")
    aws.batch.forget(*(h.native_id for h in handles))
    live.backend = live.another_backend()
    before = aws.count("ListObjectsV2")
    assert {s.state for s in live.poll(*handles)} == {JobState.SUCCEEDED}
    assert aws.count("ListObjectsV2") == before + 1, "one listing for all that are missing"
    assert live.result(handles[0]).outcome is Outcome.OK


def test_a_forgotten_run_is_taken_up_again_from_the_bucket(live: LiveRun, aws: FakeAws) -> None:
    handles = live.submit("fast-01", "fast-02")
    aws.batch.forget(*(h.native_id for h in handles))
    live.backend = live.another_backend()
    found = live.backend.reattach(live.run.run_id)
    assert [h.key for h in found] == [h.key for h in handles]
    again = live.submit("fast-01")
    assert {s.state for s in live.poll(*found, *again)} == {JobState.SUCCEEDED}
    assert len(aws.runner.started) == 2, "what has its result was run again"


def test_claims_of_a_forgotten_run_are_read_side_by_side(live: LiveRun, aws: FakeAws) -> None:
    tasks = [f"fast-{n:02}" for n in range(8)]
    handles = live.submit(*tasks)
    aws.batch.forget(*(h.native_id for h in handles))
    together = threading.Barrier(4, timeout=20)

    def meet(call: Any) -> None:
        if call.action == "GetObject" and "/claims/" in call.path:
            together.wait()

    aws.after = meet
    live.backend = live.another_backend()
    assert live.backend.reattach(live.run.run_id) == handles


def test_a_forgotten_job_without_a_result_is_gone(live: LiveRun, aws: FakeAws) -> None:
    aws.runner.never_ends = True
    [handle] = live.submit("fast-01")
    aws.batch.forget(handle.native_id)
    [status] = live.poll(handle)
    assert (status.state, status.reason) == (JobState.LOST, Reason.MISSING)


def test_a_job_that_another_has_taken_leaves_it_alone(live: LiveRun, aws: FakeAws) -> None:
    """Its claim names nobody that Batch could know."""
    key = JobKey(live.run.run_id, "fast-01", 1)
    aws.runner.never_ends = True
    [handle] = live.submit("fast-01")
    root = live.backend._objects(live.backend._location).root  # type: ignore[attr-defined]
    aws.objects[f"{root}claims/fast-01/1"] = b"somebody"
    aws.runner.never_ends = False
    [status] = live.poll(handle)
    assert (status.state, status.exit_code) == (JobState.FAILED, 75)
    assert _worked(aws) == []
    assert handle == JobHandle(key, "batch", handle.native_id)

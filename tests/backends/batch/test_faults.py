"""What AWS does when it does not do as it is asked, each at the level of boto3's own client."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.base import PollPace
from core.bundle import AttemptDir, Limits, SimulationSettings
from core.clock import Clock, SystemClock
from core.errors import AwsRefused, BackendError, CollectError, SubmitError
from core.job import JobHandle, JobKey, JobState, Outcome, Reason, TaskResult, TaskState
from core.transfer.archive import decompressed, pack, unpack
from core.worker.source import SOURCE_ROOT, source_digest
from engine.scheduling.types import StopCause
from tests.conformance.live_run import LiveRun, schedule
from tests.fakes.aws import (
    BUCKET,
    DEFINITION,
    QUEUE,
    Call,
    FakeAws,
    fault,
    lost_connection,
)
from tests.fakes.aws_policies import caller_policy
from tests.fakes.aws_server import Answer
from tests.fakes.batch_run import NoWaiting, batch_run
from tests.fakes.strict_batch import Ran, Refusal

THROTTLED = Refusal("Too Many Requests", "TooManyRequestsException", 429)
SLOW_DOWN = Refusal("Please reduce your request rate.", "SlowDown", 503)
DENIED = Refusal("User is not authorized to perform that", "AccessDenied", 403)


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws()


@pytest.fixture
def clock() -> NoWaiting:
    return NoWaiting()


@pytest.fixture
def live(tmp_path: Path, aws: FakeAws, clock: NoWaiting) -> Iterator[LiveRun]:
    with batch_run(tmp_path, aws, clock=clock) as made:
        yield made


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


# -- a place that is no more


@pytest.mark.parametrize("gone", ["queue", "bucket", "both"])
def test_of_a_run_whose_queue_or_bucket_was_deleted_nothing_runs_and_nothing_is_left(
    live: LiveRun, aws: FakeAws, gone: str
) -> None:
    aws.runner.never_ends = True
    [known, forgotten] = [*live.submit("fast-01"), *live.submit("fast-02")]
    aws.batch.forget(forgotten.native_id)
    aws.batch.terminate({"jobId": known.native_id, "reason": "The queue was deleted."})
    if gone != "bucket":
        aws.queues.clear()
    if gone != "queue":
        no_bucket = Refusal("The specified bucket does not exist", "NoSuchBucket", 404)
        aws.faults.append(lambda call: no_bucket if call.service == "s3" else None)
    backend = live.backend = live.another_backend()
    found = backend.reattach(live.run.run_id)
    assert {handle.key for handle in found} <= {known.key, forgotten.key}
    [first, second] = live.poll(known, forgotten)
    assert first.state is JobState.CANCELLED
    assert (second.state, second.reason) == (JobState.LOST, Reason.MISSING)
    assert isinstance(live.collect(known), CollectError)
    backend.cancel([known, forgotten])
    backend.cleanup(live.run.run_id)
    assert backend.leftovers(live.run.run_id) == []


# -- jobs that are told to stop


def test_a_policy_by_tags_refuses_nothing_of_a_job_that_is_not_there(
    live: LiveRun, aws: FakeAws
) -> None:
    aws.runner.never_ends = True
    aws.caller = caller_policy(BUCKET, QUEUE, DEFINITION)
    [gone] = live.submit("fast-01")
    [there] = live.submit("fast-02")
    aws.batch.forget(gone.native_id)
    live.backend.cancel([gone, there])
    assert live.poll(there)[0].state is JobState.CANCELLED
    aws.faults.append(fault("terminatejob", DENIED))
    [forbidden] = live.submit("fast-03")
    with pytest.raises(AwsRefused, match=r"TerminateJob of .* was refused"):
        live.backend.cancel([forbidden])


def test_one_job_that_may_not_be_stopped_keeps_no_other_from_it(
    live: LiveRun, aws: FakeAws
) -> None:
    aws.runner.never_ends = True
    first, *others = live.submit(*(f"fast-{n:02}" for n in range(20)))
    refused = threading.Event()

    def look(call: Call) -> Refusal | None:
        if call.action != "terminatejob":
            return None
        if call.params["jobId"] == first.native_id:
            refused.set()
            return DENIED
        assert refused.wait(10)
        time.sleep(0.02)  # the first is known to be refused before the last is begun
        return None

    aws.faults.append(look)
    with pytest.raises(AwsRefused):
        live.backend.cancel([first, *others])
    assert {s.state for s in live.poll(*others)} == {JobState.CANCELLED}


# -- jobs that wait


@pytest.mark.parametrize(
    ("why", "help_text"),
    [
        ("MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - too small", "maxvCpus"),
        ("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - no such instance", "--batch-vcpus"),
        ("MISCONFIGURATION:SERVICE_ROLE_PERMISSIONS - no", "service role"),
        ("MISCONFIGURATION:SOMETHING_NEW", "SOMETHING_NEW"),
    ],
)
def test_a_job_that_can_never_start_says_why(
    live: LiveRun, aws: FakeAws, why: str, help_text: str
) -> None:
    aws.batch.stuck = why
    [handle] = live.submit("fast-01")
    [status] = live.poll(handle)
    assert (status.state, status.reason) == (JobState.QUEUED, Reason.UNSCHEDULABLE)
    assert why in status.message
    assert help_text in status.message


def test_a_job_that_waits_for_capacity_only_waits(live: LiveRun, aws: FakeAws) -> None:
    aws.batch.stuck = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - none left"
    [handle] = live.submit("fast-01")
    [status] = live.poll(handle)
    assert (status.state, status.reason) == (JobState.QUEUED, None)
    assert "INSUFFICIENT_INSTANCE_CAPACITY" in status.message
    live.backend.cancel([handle])
    assert live.poll(handle)[0].state is JobState.CANCELLED


# -- ends


def test_a_lost_host_is_tried_again_by_batch_itself_and_another_worker_takes_over(
    tmp_path: Path, clock: NoWaiting
) -> None:
    aws = FakeAws(lazy=True)
    aws.runner.never_ends = True
    with batch_run(tmp_path, aws, clock=clock) as live:
        handles = live.submit("fast-01", "fast-02")
        aws.runner.never_ends = False
        aws.batch.lose_host(handles[0].native_id)
        assert {s.state for s in live.poll(*handles)} == {JobState.SUCCEEDED}
        assert len(aws.runner.started) == 3
        assert live.result(handles[0]).outcome is Outcome.OK


def test_what_was_spent_on_a_host_that_was_lost_is_counted(
    tmp_path: Path, clock: NoWaiting
) -> None:
    aws = FakeAws(lazy=True)
    aws.runner.never_ends = True
    with batch_run(tmp_path, aws, clock=clock) as live:
        [handle] = live.submit("fast-01")
        aws.logs[f"a-definition/default/{handle.native_id}#1"] = [_spent(7), "a word", _spent(9)]
        aws.runner.never_ends = False
        aws.batch.lose_host(handle.native_id)
        live.poll(handle)
        assert [u.input_tokens for u in live.result(handle).usage] == [7, 9]
        assert [u.input_tokens for u in live.result(handle).usage] == [7, 9], "and once"


def _spent(tokens: int) -> str:
    usage = {"provider": "anthropic", "model": "m", "input_tokens": tokens, "simulated": True}
    return json.dumps({"kind": "progress", "usage": usage})


@pytest.mark.parametrize("lost", [1, 3])
def test_a_host_that_is_lost_each_time_is_the_engines_matter(
    tmp_path: Path, clock: NoWaiting, lost: int
) -> None:
    aws = FakeAws(lazy=True)
    aws.runner.never_ends = True
    with batch_run(tmp_path, aws, clock=clock) as live:
        [handle] = live.submit("fast-01")
        for _ in range(lost):
            aws.batch.lose_host(handle.native_id)
        [status] = live.poll(handle)
        expected = (JobState.RUNNING, None) if lost < 3 else (JobState.FAILED, Reason.NODE_LOST)
        assert (status.state, status.reason) == expected


@pytest.mark.parametrize(
    ("end", "reason", "told"),
    [
        (
            Ran("FAILED", 137, "OutOfMemoryError: Container killed due to memory usage"),
            Reason.OOM,
            "--batch-memory gives more",
        ),
        (
            Ran("FAILED", None, "CannotPullContainerError: Error response: manifest unknown"),
            Reason.LAUNCH,
            "manifest unknown",
        ),
        (
            Ran("FAILED", None, "ResourceInitializationError: unable to pull secrets"),
            Reason.LAUNCH,
            "unable to pull secrets",
        ),
        (Ran("FAILED", 137), Reason.EXIT, "out of memory"),
        (Ran("FAILED", 3), Reason.EXIT, "Essential container in task exited"),
    ],
)
def test_how_a_container_ended_is_told(
    live: LiveRun, aws: FakeAws, end: Ran, reason: Reason, told: str
) -> None:
    aws.runner.next_ends = [end]
    [handle] = live.submit("fast-01")
    [status] = live.poll(handle)
    assert (status.state, status.reason, status.exit_code) == (
        JobState.FAILED,
        reason,
        end.exit_code,
    )
    assert told in status.message
    assert len(aws.runner.started) == 1, "it was tried again by Batch"
    assert isinstance(live.collect(handle), CollectError)


def test_a_job_that_somebody_terminates_says_so(live: LiveRun, aws: FakeAws) -> None:
    aws.runner.never_ends = True
    [handle, spared] = live.submit("fast-01", "fast-02")
    aws.client("batch").terminate_job(jobId=handle.native_id, reason="by Eve")
    [status, other] = live.poll(handle, spared)
    assert status.state is JobState.CANCELLED
    assert "terminated by somebody: by Eve" in status.message
    assert other.state is JobState.RUNNING


def test_a_spot_task_that_is_taken_back_was_preempted(live: LiveRun, aws: FakeAws) -> None:
    aws.runner.never_ends = True
    [handle] = live.submit("fast-01")
    aws.batch.lose_host(handle.native_id, "Your Spot Task was interrupted.")
    [status] = live.poll(handle)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.PREEMPTED)


def test_a_job_that_batch_ends_for_its_time_ran_too_long(live: LiveRun, aws: FakeAws) -> None:
    aws.runner.never_ends = True
    [handle] = live.submit("fast-01")
    aws.batch.lose_host(handle.native_id, "Job attempt duration exceeded timeout")
    assert live.poll(handle)[0].reason is Reason.TIMEOUT


# -- S3


def test_a_result_that_is_cut_on_its_way_is_fetched_again(live: LiveRun, aws: FakeAws) -> None:
    [handle] = live.submit("fast-01")
    live.poll(handle)
    [whole] = [data for name, data in aws.objects.items() if "/results/" in name]
    cut = Answer(200, whole[:40], {"content-length": str(len(whole))})
    aws.faults.append(fault("GetObject", cut, path="/results/"))
    assert live.result(handle).outcome is Outcome.OK


def test_a_result_that_is_changed_on_its_way_is_fetched_again(live: LiveRun, aws: FakeAws) -> None:
    [handle] = live.submit("fast-01")
    live.poll(handle)
    [whole] = [data for name, data in aws.objects.items() if "/results/" in name]
    changed = Answer(200, whole[:-9] + bytes(9), {"x-amz-checksum-crc32": "AAAAAA=="})
    aws.faults.append(fault("GetObject", changed, path="/results/"))
    assert live.result(handle).outcome is Outcome.OK


def test_a_result_that_is_damaged_where_it_lies_is_not_taken(live: LiveRun, aws: FakeAws) -> None:
    handles = live.submit("fast-01", "fast-02")
    live.poll(*handles)
    [name] = [name for name in aws.objects if "/results/fast-01/" in name]
    for bad in (aws.objects[name][:60], b"", b"rubbish", aws.objects[name][:-30]):
        aws.objects[name] = bad
        found = live.backend.collect(handles, live.run.tasks)
        assert isinstance(found[handles[0].key], CollectError)
        assert isinstance(found[handles[1].key], TaskResult)


def test_a_sound_result_whose_files_are_not_those_of_its_manifest_is_not_taken(
    live: LiveRun, aws: FakeAws, tmp_path: Path
) -> None:
    [handle] = live.submit("fast-01")
    live.poll(handle)
    [name] = [name for name in aws.objects if "/results/" in name]
    there = tmp_path / "result"
    unpack(decompressed(io.BytesIO(aws.objects[name])), there, Limits())
    [left] = [path for path in (there / "files").rglob("*") if path.is_file()]
    for change in (lambda: left.write_text("fast-0!\n"), left.unlink):
        change()
        changed = io.BytesIO()
        pack(there, changed)
        aws.objects[name] = changed.getvalue()
        assert "does not match the manifest" in str(live.collect(handle))
        live.backend = live.another_backend()
        shutil.rmtree(live.run.attempt(handle.key).result)


def test_a_result_of_another_attempt_is_not_taken(live: LiveRun, aws: FakeAws) -> None:
    handles = live.submit("fast-01", "fast-02")
    live.poll(*handles)
    names = sorted(name for name in aws.objects if "/results/" in name)
    aws.objects[names[0]] = aws.objects[names[1]]
    assert isinstance(live.collect(handles[0]), CollectError)


@pytest.mark.parametrize("action", ["GetObject", "PutObject", "ListObjectsV2"])
def test_a_bucket_that_may_not_be_used_is_told_with_its_fix(
    live: LiveRun, aws: FakeAws, action: str
) -> None:
    handles = live.submit("fast-01")
    live.poll(*handles)
    aws.faults.append(fault(action, DENIED, times=99))
    live.backend = live.another_backend()
    calls: dict[str, Callable[[], object]] = {
        "GetObject": lambda: live.backend.collect(handles, live.run.tasks),
        "PutObject": lambda: live.submit("fast-02"),
        "ListObjectsV2": lambda: live.backend.reattach(live.run.run_id),
    }
    with pytest.raises(BackendError, match=rf"{action} on s3://a-bucket/.*refused") as refused:
        calls[action]()
    assert "Allow" in str(refused.value)


def test_a_slow_bucket_is_waited_for(live: LiveRun, aws: FakeAws) -> None:
    aws.faults.append(fault("PutObject", SLOW_DOWN, times=2, path="/requests/"))
    [handle] = live.submit("fast-01")
    live.poll(handle)
    aws.faults.append(fault("GetObject", SLOW_DOWN, times=2, path="/results/"))
    assert live.result(handle).outcome is Outcome.OK


def test_a_bucket_out_of_reach_loses_no_result(live: LiveRun, aws: FakeAws) -> None:
    [handle] = live.submit("fast-01")
    live.poll(handle)
    aws.faults.append(fault("GetObject", SLOW_DOWN, times=6, path="/results/"))
    with pytest.raises(BackendError, match="SlowDown"):
        live.collect(handle)
    assert live.result(handle).outcome is Outcome.OK


def test_a_bucket_that_does_not_exist_is_named(tmp_path: Path, aws: FakeAws) -> None:
    with batch_run(tmp_path, aws, batch_s3_bucket="no-such-bucket") as live:
        job = live.prepare("fast-01")
        with pytest.raises(BackendError, match=r"no-such-bucket.*NoSuchBucket"):
            live.backend.submit([job])


def test_a_request_that_is_gone_fails_the_job_and_says_so(tmp_path: Path, clock: NoWaiting) -> None:
    aws = FakeAws(lazy=True)
    with batch_run(tmp_path, aws, clock=clock) as live:
        handles = live.submit("fast-01", "fast-02")
        [name] = [name for name in aws.objects if "/requests/" in name]
        whole = aws.objects.pop(name)
        [status] = live.poll(handles[0])
        assert status.state is JobState.FAILED
        assert "does not exist in the bucket" in status.message
        aws.objects[name] = whole[:-40]
        [status] = live.poll(handles[1])
        assert status.state is JobState.FAILED
        assert "fast-02" in status.message


KMS = ("aws:kms", "arn:aws:kms:eu-central-1:123456789012:key/1")


@pytest.mark.parametrize("demanded", [("AES256", ""), KMS, ("aws:kms:dsse", KMS[1])])
def test_every_object_is_put_as_the_buckets_policy_demands(
    live: LiveRun, aws: FakeAws, demanded: tuple[str, str]
) -> None:
    aws.encryption = aws.demanded = demanded
    handles = live.submit("fast-01", "fast-02")
    live.poll(*handles)
    assert {live.result(handle).outcome for handle in handles} == {Outcome.OK}
    asked = [call for call in aws.calls if call.action == "GetBucketEncryption"]
    assert [call.by_worker for call in asked] == [False], "workers know it from their request"
    live.backend = live.another_backend()
    live.backend.reattach(live.run.run_id)
    live.submit("fast-03")


@pytest.mark.parametrize(
    "answer",
    [
        DENIED,
        Refusal("none", "ServerSideEncryptionConfigurationNotFoundError", 404),
        Refusal("what?", "NotImplemented", 501),
    ],
)
def test_a_bucket_that_tells_no_encryption_decides_alone(
    live: LiveRun, aws: FakeAws, answer: Refusal
) -> None:
    aws.faults.append(fault("GetBucketEncryption", answer, times=9))
    [handle] = live.submit("fast-01")
    live.poll(handle)
    assert live.result(handle).outcome is Outcome.OK
    sent = [c for c in aws.calls if c.action == "PutObject" and not c.by_worker]
    assert not any("encryption" in name for call in sent for name in call.params)
    aws.demanded = KMS
    live.backend = live.another_backend()
    aws.objects.clear()
    with pytest.raises(BackendError) as told:
        live.submit("fast-02")
    assert "allow s3:GetEncryptionConfiguration" in str(told.value)


def test_a_sign_in_that_has_ended_is_no_bucket_without_encryption(
    live: LiveRun, aws: FakeAws
) -> None:
    aws.encryption = aws.demanded = KMS
    ended = Refusal("The token is expired", "ExpiredToken", 400)
    aws.faults.append(fault("GetBucketEncryption", ended))
    job = live.prepare("fast-01")
    with pytest.raises(BackendError, match="sign-in"):
        live.backend.submit([job])
    assert live.submit_jobs(job)


# -- logs


def test_a_failure_ends_with_the_last_words_of_its_log_and_names_the_stream(
    live: LiveRun, aws: FakeAws
) -> None:
    def fail(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        raise BackendError("sk-ant-canary broke it.")

    aws.runner.work = fail
    [handle] = live.submit("fast-01")
    [status] = live.poll(handle)
    assert "error: ******** broke it" in status.message
    assert f"log stream: a-definition/default/{handle.native_id}#1" in status.message


def test_an_image_of_another_version_stops_the_run_with_what_to_do(
    tmp_path: Path, aws: FakeAws
) -> None:
    aws.runner.source = "other"
    with batch_run(tmp_path, aws, clock=SystemClock()) as live:
        live.backend.pace = PollPace(0.02, 0.1)
        outcome, _ = schedule(live, SimulationSettings(speed=0))
        assert outcome.stop is not None
        assert outcome.stop.cause is StopCause.OUTDATED
        assert "The worker is of another version of this program" in outcome.stop.message
        assert "push it (docker/README.md), then resume" in outcome.stop.message
        assert len(aws.runner.started) == len(set(aws.runner.started)) <= 3
        aws.runner.source = source_digest(SOURCE_ROOT)
        outcome, _ = schedule(live, SimulationSettings(speed=0), max_executors=30)
        assert outcome.stop is None
        assert set(outcome.states.values()) == {TaskState.SUCCEEDED}


def test_a_log_that_cannot_be_read_spoils_nothing(live: LiveRun, aws: FakeAws) -> None:
    aws.runner.next_ends = [Ran("FAILED", 3)]
    aws.faults.append(fault("GetLogEvents", DENIED, times=9))
    [handle] = live.submit("fast-01")
    [status] = live.poll(handle)
    assert status.reason is Reason.EXIT
    assert "its log cannot be read" in status.message


def test_a_result_that_a_worker_could_not_store_leaves_what_it_told(
    live: LiveRun, aws: FakeAws
) -> None:
    aws.runner.next_ends = [Ran("FAILED", 137)]
    [handle] = live.submit("fast-01")
    aws.logs[f"a-definition/default/{handle.native_id}#1"] = [_spent(7), "not json", "{cut"]
    live.poll(handle)
    assert isinstance(live.collect(handle), CollectError)
    events = live.run.attempt(handle.key).events.read_text(encoding="utf-8")
    assert events == f"{_spent(7)}\n"


def test_no_result_yet_may_still_come(live: LiveRun, aws: FakeAws) -> None:
    aws.runner.never_ends = True
    [handle] = live.submit("fast-01")
    found = live.collect(handle)
    assert isinstance(found, CollectError)
    assert found.retryable


# -- nothing but the run's own


def test_cleaning_up_takes_the_runs_own_objects_and_no_others(
    tmp_path: Path, aws: FakeAws, clock: NoWaiting
) -> None:
    aws.runner.never_ends = True
    with (
        batch_run(tmp_path, aws, clock=clock) as live,
        batch_run(tmp_path, aws, clock=clock, run_id="20260101-120000-55556") as other,
    ):
        live.submit("fast-01", "fast-02")
        other.submit("fast-01")
        root = live.backend._bucket.where(live.backend._place).removeprefix("s3://a-bucket/")  # type: ignore[attr-defined]
        kept = {
            "parallel-orchestrator/readme": b"1",
            f"{root}notes.txt": b"2",
            f"{root}results/by-hand": b"3",
            "elsewhere": b"4",
            **{n: data for n, data in aws.objects.items() if "-55556/" in n},
        }
        aws.objects |= kept
        phrases = live.backend.leftovers(live.run.run_id)
        assert len([p for p in phrases if p.startswith("job orchestrator-")]) == 1
        assert any("object(s) in s3://a-bucket/parallel-orchestrator/" in p for p in phrases)
        work_dir = live.run.root.parent.parent
        assert live.backend.known_runs(work_dir) == [live.run.run_id, other.run.run_id]
        live.backend.cleanup(live.run.run_id)
        assert aws.objects == kept
        assert live.backend.leftovers(live.run.run_id) == []
        [status] = other.poll(*other.backend.reattach(other.run.run_id))
        assert status.state is JobState.RUNNING


def test_more_objects_than_one_request_takes_are_removed_too(live: LiveRun, aws: FakeAws) -> None:
    aws.page = 7
    live.submit(*(f"fast-{n:02}" for n in range(20)))
    assert len(aws.objects) == 41
    live.backend.cleanup(live.run.run_id)
    assert aws.objects == {}


def test_what_a_worker_leaves_while_it_is_told_to_stop_is_removed_too(
    live: LiveRun, aws: FakeAws, clock: NoWaiting
) -> None:
    aws.runner.never_ends = True
    live.submit("fast-01")
    root = live.backend._bucket.where(live.backend._place).removeprefix("s3://a-bucket/")  # type: ignore[attr-defined]
    late = [f"{root}results/fast-01/1", f"{root}claims/fast-01/1"]

    def store(call: Any) -> None:
        if call.action == "DeleteObjects" and late:
            aws.objects[late.pop()] = b"x"

    aws.after = store
    live.backend.cleanup(live.run.run_id)
    assert (late, aws.objects) == ([], {})
    assert aws.count("terminatejob") == 1


def test_a_job_that_does_not_end_is_not_waited_for_without_end(
    live: LiveRun, aws: FakeAws, clock: NoWaiting
) -> None:
    aws.runner.never_ends = True
    live.submit("fast-01")
    aws.faults.append(fault("terminatejob", Answer(200, b"{}"), times=99))
    began = clock.now
    live.backend.cleanup(live.run.run_id)
    assert 30 <= clock.now - began <= 90
    assert aws.count("terminatejob") == 1
    assert aws.objects == {}


def test_an_object_that_may_not_be_removed_is_told(live: LiveRun, aws: FakeAws) -> None:
    live.submit("fast-01")
    error = "<DeleteResult><Error><Key>k</Key><Code>AccessDenied</Code><Message>no</Message>"
    answer = Answer(200, f"{error}</Error></DeleteResult>".encode())
    aws.faults.append(fault("DeleteObjects", answer))
    with pytest.raises(BackendError, match="s3://a-bucket/k could not be removed"):
        live.backend.cleanup(live.run.run_id)


def test_without_a_bucket_nothing_is_asked_of_aws(tmp_path: Path, aws: FakeAws) -> None:
    with (
        batch_run(tmp_path, aws, batch_s3_bucket="") as live,
        pytest.raises(BackendError, match="No bucket was named"),
    ):
        live.backend.known_runs(tmp_path)
    assert aws.calls == []


def test_a_job_that_another_has_taken_leaves_it_alone(live: LiveRun, aws: FakeAws) -> None:
    """Its claim names nobody that Batch could know."""
    key = JobKey(live.run.run_id, "fast-01", 1)
    aws.runner.never_ends = True
    [handle] = live.submit("fast-01")
    root = live.backend._bucket.where(live.backend._place).removeprefix("s3://a-bucket/")  # type: ignore[attr-defined]
    aws.objects[f"{root}claims/fast-01/1"] = b"somebody"
    aws.runner.never_ends = False
    [status] = live.poll(handle)
    assert (status.state, status.exit_code) == (JobState.FAILED, 75)
    assert _worked(aws) == []
    assert handle == JobHandle(key, "batch", handle.native_id)

"""The status of jobs as AWS Batch reports it, and their ends."""

from __future__ import annotations

import json
import queue
import tempfile
import threading
import time
from pathlib import Path

import pytest

from backends.aws_batch_backend import AwsBatchBackend
from backends.base import PollPace
from backends.shared.result_watch import ResultWatch
from core.aws.bundles import RunObjects
from core.bundle import AttemptDir, SimulationSettings, write_result
from core.clock import Clock, SystemClock
from core.errors import AwsRefused, BackendError, CollectError
from core.job import JobHandle, JobKey, JobState, Outcome, Reason, TaskResult, TaskState
from core.worker.source import SOURCE_ROOT, source_digest
from engine.scheduling.types import StopCause
from parallel_task_orchestrator.conformance.live_run import LiveRun
from tests.conformance.scheduled_run import schedule
from tests.fakes.aws import DEFINITION, QUEUE, FakeAws
from tests.fakes.aws_calls import BUCKET, Call, fault
from tests.fakes.aws_policies import caller_policy
from tests.fakes.batch_run import NoWaiting, batch_run
from tests.fakes.strict_batch import Ran, Refusal

DENIED = Refusal("User is not authorized to perform that", "AccessDenied", 403)


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
    with pytest.raises(AwsRefused, match=r"TerminateJob on .* was refused"):
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
            "raise --batch-memory",
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


# -- what the bucket tells before Batch does


class Watched:
    """A run's backend with one who is woken, and looks at the bucket all the time."""

    def __init__(self, live: LiveRun) -> None:
        assert isinstance(live.backend, AwsBatchBackend)
        self.backend = live.backend
        self.backend._watch = ResultWatch(self.backend._states.look, self.wake, every_s=0.001)
        self.backend.on_change(self.wake)
        self._news: queue.SimpleQueue[JobKey] = queue.SimpleQueue()

    def wake(self, *keys: JobKey) -> None:
        for key in keys:
            self._news.put(key)

    def await_wake(self, handle: JobHandle) -> None:
        """May be woken for a job several times, until its end is known."""
        while self._news.get(timeout=20) != handle.key:
            pass


def test_a_claim_and_a_result_in_the_bucket_wake_for_their_job(live: LiveRun, aws: FakeAws) -> None:
    aws.runner.never_ends = True
    watched = Watched(live)
    first, second = live.submit("fast-01", "fast-02")
    objects = watched.backend._objects(watched.backend._location)
    objects.claim(second.key, second.native_id)
    watched.await_wake(second)
    assert live.poll(second)[0].state is JobState.RUNNING
    leave(objects, first)
    watched.await_wake(first)
    described = aws.count("describejobs")
    assert live.poll(first)[0].state is JobState.SUCCEEDED, "Batch takes it to be running"
    assert isinstance(live.collect(first), TaskResult)
    assert aws.count("describejobs") == described + 1


def test_a_cleanup_leaves_those_alone_that_have_stored_their_results_and_only_end(
    live: LiveRun, aws: FakeAws
) -> None:
    aws.runner.never_ends = True
    watched = Watched(live)
    [through] = live.submit("fast-01")
    array = live.submit("fast-02", "fast-03")
    objects = watched.backend._objects(watched.backend._location)
    for handle in (through, array[0]):
        leave(objects, handle)
        watched.await_wake(handle)
        assert live.poll(handle)[0].state is JobState.SUCCEEDED
    live.backend.cleanup(live.run.run_id)
    stopped = {c.params["jobId"] for c in aws.calls if c.action == "terminatejob"}
    assert stopped == {array[0].native_id.partition(":")[0]}


@pytest.mark.parametrize("told", ["cancelled", "queued"])
def test_a_result_is_no_end_of_a_job_that_was_cancelled_or_never_ran(
    live: LiveRun, aws: FakeAws, told: str
) -> None:
    aws.runner.never_ends = True
    aws.batch.stuck = "CAPACITY" if told == "queued" else ""
    watched = Watched(live)
    [handle] = live.submit("fast-01")
    leave(watched.backend._objects(watched.backend._location), handle)
    watched.await_wake(handle)
    if told == "cancelled":
        live.backend.cancel([handle])
    expected = JobState.QUEUED if told == "queued" else JobState.CANCELLED
    assert live.poll(handle)[0].state is expected


def leave(objects: RunObjects, handle: JobHandle) -> None:
    """The result that a worker stores, which has not ended yet."""
    with tempfile.TemporaryDirectory() as folder:
        attempt = AttemptDir(Path(folder))
        write_result(attempt, TaskResult(handle.key, Outcome.REFUSED, "no"))
        objects.store_result(handle.key, attempt.result)


# -- logs


def test_a_failure_ends_with_the_last_words_of_its_log_and_names_the_stream(
    live: LiveRun, aws: FakeAws
) -> None:
    def fail(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        raise BackendError("sk-ant-canary broke it.")

    aws.runner.work = fail
    [handle] = live.submit("fast-01")
    [status] = live.poll(handle)
    assert status.reason is Reason.EXIT
    assert status.message.startswith("******** broke it; ")
    assert f"log stream: a-definition/default/{handle.native_id}#1" in status.message


def test_a_worker_that_ends_before_it_has_claimed_its_job_was_not_started(
    live: LiveRun, aws: FakeAws
) -> None:
    aws.runner.next_ends = [Ran("FAILED", 1)]
    [handle] = live.submit("fast-01")
    aws.logs[f"a-definition/default/{handle.native_id}#1"] = ["error: It has no role.", "bye"]
    [status] = live.poll(handle)
    assert status.reason is Reason.LAUNCH
    assert status.message.startswith("It has no role; bye; Essential container in task exited; ")


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
        assert (
            "push the job definition's image (docker/README.md), then resume"
            in outcome.stop.message
        )
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

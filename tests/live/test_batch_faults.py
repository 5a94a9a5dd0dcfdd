"""What goes wrong with real containers, and whether the strict AWS of the tests is strict."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from backends import backend_class
from backends.base import BackendContext
from core.aws.bundles import PackUri, packs
from core.bundle import read_spent
from core.clock import SystemClock
from core.credentials import Credentials
from core.job import JobState, Outcome, Reason, TaskResult
from engine.run.rundir import RunDir, RunFacts, create_run
from parallel_task_orchestrator.conformance.live_run import PROMPT, Bounds, LiveRun, build_plan
from tests.fakes.strict_aws import KEYS, Cloud, cloud

pytestmark = [
    *(pytest.mark.moto, pytest.mark.docker_engine, pytest.mark.slow),
    pytest.mark.timeout(300),
]
IMAGE = os.environ.get("PTO_IMAGE", "parallel-orchestrator:slim")
BOUNDS = Bounds(state_s=120, cancel_s=40, look_every_s=0.3)


@pytest.fixture(scope="module")
def place() -> Iterator[Cloud]:
    with cloud(f"live-faults-{secrets.token_hex(4)}", IMAGE, dict(os.environ)) as made:
        yield made


@contextmanager
def run_on(place: Cloud, here: Path, **options: Any) -> Iterator[LiveRun]:
    keys = Credentials(
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
    )
    told = {**place.options, **options}

    def make(run: RunDir) -> Any:
        site = BackendContext(run.root, keys, SystemClock(), lambda *_: None, told, place.environ)
        return backend_class("batch").build(site)

    name = f"20260101-120000-{secrets.token_hex(2)}"
    run = create_run(here / "work", RunFacts(name, PROMPT, str(here / "out"), 0.0, {}, True))
    live = LiveRun(run, build_plan(), make, BOUNDS, SystemClock())
    try:
        yield live
    finally:
        live.end()


def told_spending(live: LiveRun, handle: Any) -> bool:
    return any('"usage"' in line for line in live.read_log(handle)[0])


def test_a_worker_that_is_told_to_stop_stores_what_there_is_and_why(
    place: Cloud, tmp_path: Path
) -> None:
    with run_on(place, tmp_path) as live:
        [handle] = live.submit("spending")
        live.eventually(lambda: told_spending(live, handle), "something was spent")
        place.aws.client("batch").terminate_job(jobId=handle.native_id, reason="by Eve")
        [status] = live.wait_ended(handle)
        assert status.state is JobState.CANCELLED
        assert "by Eve" in status.message
        found = live.collect(handle)
        assert isinstance(found, TaskResult), found
        assert found.outcome is Outcome.INTERRUPTED
        assert "was stopped" in found.message
        assert found.usage == tuple(read_spent(live.run.attempt(handle.key))) != ()


def test_a_host_that_is_lost_in_the_middle_is_made_good_by_another_worker(
    place: Cloud, tmp_path: Path
) -> None:
    """The first worker is killed without a word; the second takes its claim over."""
    with run_on(place, tmp_path) as live:
        [handle, _] = live.submit("spending", "fast-01")
        live.eventually(lambda: told_spending(live, handle), "something was spent")
        place.aws.batch.lose_host(handle.native_id)
        started = [job_id for job_id in place.aws.runner.started if job_id == handle.native_id]
        assert len(started) == 2
        live.wait_running(handle)
        live.eventually(lambda: told_spending(live, handle), "the second has begun")
        live.poll(handle)
        live.backend.cancel([handle])
        live.wait_ended(handle)
        found = live.collect(handle)
        assert isinstance(found, TaskResult), found
        claim = f"{live.run.run_id}/claims/spending/1"
        asked = [call.action for call in place.aws.calls if call.path.endswith(claim)]
        assert asked == ["PutObject", "PutObject", "GetObject"], "the second took it over"
        assert len(found.usage) >= 2, "what the first had spent counts too"


def test_an_image_that_cannot_be_pulled_is_a_job_that_could_not_be_started(
    place: Cloud, tmp_path: Path
) -> None:
    name = place.define(f"absent-{secrets.token_hex(4)}", "127.0.0.1:9/no/such-image:1")
    with run_on(place, tmp_path, batch_job_definition=name) as live:
        [handle] = live.submit("fast-01")
        [status] = live.wait_ended(handle)
        assert (status.state, status.reason) == (JobState.FAILED, Reason.LAUNCH)
        assert "Task failed to start" in status.message


def test_the_probe_runs_one_job_and_tells_what_it_finds(place: Cloud, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as provider:
        there = f"http://127.0.0.1:{provider.getsockname()[1]}"
        with run_on(place, tmp_path, base_url=there) as live:
            assert live.backend.probe() == []
    with run_on(place, tmp_path, base_url=there) as live:
        [problem] = live.backend.probe() or []
        assert f"cannot reach {there.removeprefix('http://')}" in problem.what
    found = place.aws.client("s3").list_objects_v2(Bucket=place.bucket)
    assert found.get("Contents", []) == []


def test_a_worker_of_another_version_says_so(place: Cloud, tmp_path: Path) -> None:
    with run_on(place, tmp_path) as live:
        backend: Any = live.backend
        jobs = [live.prepare("fast-01")]
        requests = [(jobs[0].key, jobs[0].attempt_dir / "request")]
        objects, region = backend._objects(backend._location), backend._settings.batch_region
        bucket, root = objects.bucket, objects.root
        [name] = [pack.store(bucket, root) for pack in packs(requests, "other", 9, 9)]
        uri = PackUri(bucket.name, root, name, region)
        backend._submit_array([jobs[0].key], uri, 60.0)
        [handle] = live.submit_jobs(*jobs)
        [status] = live.wait_ended(handle)
        assert (status.state, status.reason) == (JobState.FAILED, Reason.OUTDATED)
        assert "built from another version of this program" in status.message
        assert "docker/README.md" in status.message


def test_a_bucket_that_demands_its_encryption_is_told_it_by_workers_too(
    place: Cloud, tmp_path: Path
) -> None:
    algorithm, key = "aws:kms", "arn:aws:kms:eu-central-1:123456789012:key/1"
    default = {"SSEAlgorithm": algorithm, "KMSMasterKeyID": key}
    s3 = place.aws.client("s3")
    s3.put_bucket_encryption(
        Bucket=place.bucket,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": default}]
        },
    )
    place.aws.demanded[place.bucket] = (algorithm, key)
    try:
        with pytest.raises(ClientError, match="explicit deny"):
            s3.put_object(Bucket=place.bucket, Key="x", Body=b"x")
        with run_on(place, tmp_path) as live:
            handles = live.submit("fast-01", "fast-02")
            live.wait_ended(*handles)
            assert {live.result(handle).outcome for handle in handles} == {Outcome.OK}
    finally:
        place.aws.demanded.clear()
        s3.delete_bucket_encryption(Bucket=place.bucket)


# -- the strict AWS of these tests refuses what AWS refuses


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"arrayProperties": {"size": 1}}, "between 2 and 10000"),
        ({"arrayProperties": {"size": 10_001}}, "between 2 and 10000"),
        ({"containerOverrides": {"command": ["x" * 8200]}}, "at most 8192"),
        ({"timeout": {"attemptDurationSeconds": 59}}, "at least 60"),
        ({"tags": {"a": "ä;"}}, "tags cannot have"),
        ({"retryStrategy": {"attempts": 11}}, "between 1 and 10"),
        ({"shareIdentifier": "x"}, "with a scheduling policy only"),
    ],
)
def test_a_submission_that_aws_would_refuse_is_refused(
    place: Cloud, change: dict[str, Any], told: str
) -> None:
    asked = {"jobName": "a", "jobQueue": place.queue, "jobDefinition": place.definition}
    with pytest.raises(ClientError, match=told):
        place.aws.client("batch").submit_job(**asked, **change)


def test_a_description_of_more_than_a_hundred_jobs_is_refused(place: Cloud) -> None:
    batch = place.aws.client("batch")
    assert batch.describe_jobs(jobs=["x"] * 100)["jobs"] == []
    with pytest.raises(ClientError, match="1 to 100"):
        batch.describe_jobs(jobs=["x"] * 101)


def test_a_rule_that_matches_nothing_retries(place: Cloud, tmp_path: Path) -> None:
    """Which is why ours end with one that matches all."""
    made = place.aws.client("batch").submit_job(
        jobName="a-job",
        jobQueue=place.queue,
        jobDefinition=place.definition,
        containerOverrides={"command": ["false"]},
        retryStrategy={
            "attempts": 2,
            "evaluateOnExit": [{"onStatusReason": "Host EC2*", "action": "RETRY"}],
        },
    )
    with run_on(place, tmp_path) as live:

        def ended() -> bool:
            [job] = place.aws.client("batch").describe_jobs(jobs=[made["jobId"]])["jobs"]
            return bool(job["status"] == "FAILED")

        live.eventually(ended, "the end of a job that fails")
    assert place.aws.runner.started.count(made["jobId"]) == 2

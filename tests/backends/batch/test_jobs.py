"""Names, submissions and descriptions of jobs on AWS Batch, without AWS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.batch.jobs import (
    RunLocation,
    build_submission,
    chunks,
    is_job_id,
    native_ids,
    parse_job,
    work_dir_objects,
)
from backends.batch.settings import BatchSettings
from core.aws.bundles import PackName, PackUri
from core.job import JobKey, JobState, Reason
from tests.fakes.strict_batch import check_submission

ID = "0123abcd-0123-4567-89ab-0123456789ab"
LOCATION = RunLocation.of(Path("/home/ada/.orchestrator/runs/20260101-120000-aaaa"))


SETTINGS = BatchSettings(
    batch_job_queue="q", batch_job_definition="d", batch_vcpus=16, batch_memory="120g"
)


def uri(root: str = "a/b/") -> PackUri:
    return PackUri("bucket", root, PackName("0" * 32, 100), "eu-central-1")


def keys(count: int) -> list[JobKey]:
    return [JobKey(LOCATION.run, f"task-{n}", 1) for n in range(count)]


@pytest.mark.parametrize("count", [1, 2, 10_000])
@pytest.mark.parametrize("timeout_s", [0.01, 59.5, 86_400])
def test_a_submission_is_one_that_aws_takes(count: int, timeout_s: float) -> None:
    long = uri("x" * 400 + "/" + "y" * 100 + "/")
    asked = build_submission(SETTINGS, LOCATION, long, keys(count), timeout_s)
    check_submission(asked)
    assert json.loads(json.dumps(asked)) == asked


def test_no_run_is_found_by_the_name_of_another() -> None:
    other = RunLocation(f"{LOCATION.run}a", LOCATION.work_dir)
    assert not other.job_name("0" * 32).startswith(LOCATION.job_prefix)
    assert not other.objects("p").startswith(LOCATION.objects("p"))
    elsewhere = RunLocation.of(Path("/home/eve/.orchestrator/runs") / LOCATION.run)
    assert not elsewhere.job_name("0" * 32).startswith(LOCATION.job_prefix)


def test_a_run_named_by_hand_has_a_name_that_aws_takes() -> None:
    location = RunLocation("größe & co", "0" * 12)
    check_submission(build_submission(SETTINGS, location, uri(), keys(1), 60))


@pytest.mark.parametrize("prefix", ["", "/", "a", "a/", "/a//", "a/b"])
def test_objects_have_names_without_empty_parts(prefix: str) -> None:
    name = work_dir_objects(prefix, "place")
    assert name.endswith("place/")
    assert "//" not in name
    assert not name.startswith("/")


@given(st.lists(st.integers(0, 300).map(str), max_size=350))
def test_chunks_hold_each_id_once_and_no_more_than_a_hundred(ids: list[str]) -> None:
    made = chunks(ids)
    assert [i for chunk in made for i in chunk] == list(dict.fromkeys(ids))
    assert all(1 <= len(chunk) <= 100 for chunk in made)
    assert len(made) == -(-len(set(ids)) // 100)


def test_ids_of_jobs_are_told_from_other_words() -> None:
    assert all(map(is_job_id, [ID, f"{ID}:0", f"{ID}:9999"]))
    others = ["", "x", "nobody:1", f"{ID}:", f"{ID}:x", f"{ID}#1", ID.upper()]
    assert not any(map(is_job_id, others))
    assert native_ids(ID, 1) == [ID]
    assert native_ids(ID, 3) == [f"{ID}:0", f"{ID}:1", f"{ID}:2"]


@pytest.mark.parametrize("state", ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING"])
def test_what_has_not_started_is_queued_with_its_reason(state: str) -> None:
    status = parse_job({"status": state, "statusReason": "waiting."}).status
    assert (status.state, status.reason, status.message) == (JobState.QUEUED, None, "waiting")


def test_only_what_is_runnable_can_be_stuck() -> None:
    detail = {"status": "PENDING", "statusReason": "MISCONFIGURATION:X"}
    assert parse_job(detail).status.reason is None
    assert parse_job({**detail, "status": "RUNNABLE"}).status.reason is Reason.UNSCHEDULABLE


def test_a_state_that_nobody_knows_is_unknown() -> None:
    for detail in ({"status": "DREAMING"}, {}):
        assert parse_job(detail).status.state is JobState.UNKNOWN


def failed(why: str = "", **more: Any) -> Any:
    return parse_job({"status": "FAILED", "statusReason": why, **more}).status


def test_a_failure_says_all_that_is_told() -> None:
    status = failed(
        "Essential container in task exited", container={"exitCode": 3, "reason": "a reason."}
    )
    assert status.message == "Essential container in task exited; a reason"
    assert (status.reason, status.exit_code) == (Reason.EXIT, 3)


def test_what_only_the_last_attempt_tells_counts() -> None:
    attempts = [{"container": {"exitCode": 9}}, {"container": {"exitCode": 4, "reason": "x"}}]
    status = failed("Essential container in task exited", attempts=attempts)
    assert (status.exit_code, status.message) == (4, "Essential container in task exited; x")


def test_who_ended_a_job_is_told_apart() -> None:
    ours = failed("parallel-orchestrator: cancelled", isTerminated=True)
    assert (ours.state, ours.message) == (JobState.CANCELLED, "")
    theirs = failed("enough", isCancelled=True)
    assert (theirs.state, theirs.message) == (JobState.CANCELLED, "terminated by somebody: enough")
    itself = failed("Essential container in task exited", container={"exitCode": 143})
    assert itself.state is JobState.CANCELLED


@pytest.mark.parametrize("code", [None, 137, 143])
@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("Host EC2 (instance i-1) terminated.", Reason.NODE_LOST),
        ("Your Spot Task was interrupted.", Reason.PREEMPTED),
        ("Job attempt duration exceeded timeout", Reason.TIMEOUT),
    ],
)
def test_why_a_job_was_ended_counts_more_than_how_its_worker_took_it(
    why: str, reason: Reason, code: int | None
) -> None:
    status = failed(why, container={} if code is None else {"exitCode": code})
    assert (status.state, status.reason) == (JobState.FAILED, reason)


def test_streams_of_earlier_attempts_are_kept_apart() -> None:
    attempts = [{"container": {"logStreamName": name}} for name in ("one", "two", "two")]
    job = parse_job({"status": "RUNNING", "attempts": attempts})
    assert (job.stream, job.earlier_streams) == ("two", ("one",))
    log = {"options": {"awslogs-group": "/mine"}}
    container = {"logStreamName": "three", "logConfiguration": log}
    job = parse_job({"status": "RUNNING", "attempts": attempts, "container": container})
    assert (job.stream, job.group, job.earlier_streams) == ("three", "/mine", ("one", "two"))

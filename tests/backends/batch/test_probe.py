"""The probe of AWS Batch: what one job finds, and that nothing of it is left."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.batch.probe import PROBE_TIMEOUT_S
from batch_executor import work_from_bucket
from core.errors import Problem
from core.worker.check import WorkerCheck, read_check_request, write_check_result
from tests.fakes.aws import FakeAws
from tests.fakes.aws_calls import fault
from tests.fakes.batch_run import NoWaiting, backend_on, only, site_of
from tests.fakes.strict_batch import Ran, Refusal

DENIED = Refusal("Access Denied", "AccessDenied", 403)


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws(work_from_bucket)


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "doctor-1a2b"


def probed(aws: FakeAws, place: Path, port: int, **options: Any) -> list[Problem]:
    told = {"base_url": f"http://127.0.0.1:{port}", **options}
    found = backend_on(aws, site_of(place, NoWaiting(), **told)).probe()
    assert aws.objects == {}, "something stayed in the bucket"
    assert {job.end is not None for job in aws.batch.jobs.values()} <= {True}, "a job goes on"
    return found


def test_where_all_is_well_one_job_goes_the_whole_way(
    aws: FakeAws, place: Path, listening: int
) -> None:
    assert probed(aws, place, listening) == []
    by_worker = [c.action for c in aws.calls if c.by_worker]
    assert by_worker[-1] == "PutObject"
    assert aws.count("submitjob") == 1


def test_a_provider_that_takes_no_connection_is_named(aws: FakeAws, place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    what, fix = only(probed(aws, place, port))
    assert f"cannot reach 127.0.0.1:{port}" in what
    assert "NAT gateway" in fix


def test_an_image_of_another_version_is_named(aws: FakeAws, place: Path, listening: int) -> None:
    aws.runner.source = "other"
    what, fix = only(probed(aws, place, listening))
    assert "built from another version of this program" in what
    assert "Rebuild the image" in fix


@pytest.mark.parametrize("action", ["GetObject", "PutObject"])
def test_what_the_role_may_not_do_in_the_bucket_is_told_in_its_own_words(
    aws: FakeAws, place: Path, listening: int, action: str
) -> None:
    aws.faults.append(lambda call: DENIED if call.by_worker and call.action == action else None)
    what, fix = only(probed(aws, place, listening))
    assert "exit code 1" in what
    assert f"{action} on s3://a-bucket/" in what
    assert "docs/aws-batch.md" in fix


def test_an_image_that_does_not_start_is_told(aws: FakeAws, place: Path, listening: int) -> None:
    aws.runner.next_ends = [Ran("FAILED", None, "CannotPullContainerError: not found")]
    what, fix = only(probed(aws, place, listening))
    assert "CannotPullContainerError" in what
    assert "execution role" in fix


def test_a_job_that_never_starts_is_taken_back_and_why_it_waits_told(
    aws: FakeAws, place: Path, listening: int
) -> None:
    aws.batch.stuck = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CE is full"
    what, _ = only(probed(aws, place, listening))
    assert f"did not end within {PROBE_TIMEOUT_S:g} s" in what
    assert "raise the compute environment's maxvCpus" in what


def test_a_job_that_does_not_show_at_once_is_waited_for(
    aws: FakeAws, place: Path, listening: int
) -> None:
    aws.batch.hide_next = 2
    assert probed(aws, place, listening) == []


def test_a_queue_that_takes_no_job_is_told(aws: FakeAws, place: Path, listening: int) -> None:
    aws.faults.append(fault("submitjob", Refusal("the queue is disabled")))
    assert "the queue is disabled" in only(probed(aws, place, listening))[0]


def test_aws_out_of_reach_meanwhile_is_told(aws: FakeAws, place: Path, listening: int) -> None:
    aws.faults.append(fault("describejobs", DENIED))
    assert "DescribeJobs" in only(probed(aws, place, listening))[0]


def test_what_is_missing_in_the_image_is_told(aws: FakeAws, place: Path, listening: int) -> None:
    def look(attempt: Any, claimant: str, clock: Any) -> None:
        asked = read_check_request(attempt)
        assert asked is not None
        found = WorkerCheck(
            "3.11.2", "n", missing_package="No module anthropic", missing_cli="None."
        )
        write_check_result(attempt, asked.key, found)

    aws.runner.work = look
    first, second = probed(aws, place, listening)
    assert "Python 3.11.2 in the image lacks a package: No module anthropic." in first.what
    assert second.what == "In the image: None."

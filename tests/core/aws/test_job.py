"""The worker that takes its request from a bucket and leaves its result there."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from core.aws.bucket import S3Bucket
from core.aws.bundles import (
    PackName,
    PackUri,
)
from core.aws.calls import AwsService
from core.aws.job import S3Job, run_s3_job
from core.bundle import (
    BASE_NAME,
    AttemptDir,
    BaseRef,
    read_request,
    write_request,
    write_result,
)
from core.clock import Clock
from core.errors import (
    BundleError,
    Interrupted,
)
from core.job import Outcome, TaskResult
from core.transfer.archive import decompressed
from core.worker.exit_codes import CLAIMED, OUTDATED
from tests.fakes.aws import FakeAws
from tests.fakes.aws_calls import BUCKET, fault
from tests.fakes.aws_server import Answer, served
from tests.fakes.batch_run import NoWaiting, batch_run
from tests.fakes.strict_batch import Refusal

ROOT = Path(__file__).parents[3]
PACK = PackName("0123456789abcdef" * 2, 77)


# -- the worker


@pytest.fixture
def place(aws: FakeAws, tmp_path: Path) -> Iterator[PackUri]:
    """Of an array of two whose jobs nobody runs."""
    aws.runner.never_ends = True
    with batch_run(tmp_path, aws) as live:
        live.submit("fast-01", "fast-02")
        [asked] = [c.params for c in aws.calls if c.action == "submitjob"]
        yield PackUri.parse(asked["containerOverrides"]["command"][-1])


def worker(aws: FakeAws, place: PackUri, native: str, index: str = "0", source: str = "") -> S3Job:
    bucket = S3Bucket(place.bucket, AwsService("s3", aws.client, NoWaiting()))
    told = {"AWS_BATCH_JOB_ID": native, "AWS_BATCH_JOB_ARRAY_INDEX": index}
    return S3Job(bucket, place, told, source or aws.runner.source)


def answer(outcome: Outcome, fail: Callable[[], None] = lambda: None) -> Callable[..., None]:
    def work(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        write_result(attempt, TaskResult(read_request(attempt).key, outcome, claimant))
        fail()

    return work


def results(aws: FakeAws) -> list[str]:
    return [name.split("/")[-2] for name in aws.objects if "/results/" in name]


def test_a_worker_runs_the_job_of_its_index(aws: FakeAws, place: PackUri) -> None:
    assert worker(aws, place, "a", "1").run(answer(Outcome.OK), NoWaiting())
    assert results(aws) == ["fast-02"]


def test_a_worker_finds_the_existing_code_with_its_attempt(aws: FakeAws, tmp_path: Path) -> None:
    """One object of the run, or the job does not begin."""
    aws.runner.never_ends = True
    with batch_run(tmp_path, aws) as live:
        archive, job = live.run.root / BASE_NAME, live.prepare("fast-01")
        archive.write_bytes(b"packed")
        request = read_request(attempt := AttemptDir(job.attempt_dir))
        ref = BaseRef(sha256(b"packed").hexdigest(), len(b"packed"))
        write_request(attempt, replace(request, base=ref))
        live.submit_jobs(job)
        [asked] = [c.params for c in aws.calls if c.action == "submitjob"]
        place = PackUri.parse(asked["containerOverrides"]["command"][-1])
    seen: list[bytes] = []

    def work(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        seen.append((attempt.root / BASE_NAME).read_bytes())

    assert worker(aws, place, "a").run(work, NoWaiting())
    assert seen == [b"packed"]
    del aws.objects[f"{place.root}base/{ref.sha256}"]
    with pytest.raises(BundleError, match="existing code was not found in the bucket"):
        worker(aws, place, "a").run(work, NoWaiting())


def test_another_job_with_the_same_work_leaves_it(aws: FakeAws, place: PackUri) -> None:
    assert worker(aws, place, "a").run(answer(Outcome.OK), NoWaiting())
    assert not worker(aws, place, "b").run(answer(Outcome.DEFECT), NoWaiting())
    assert len(results(aws)) == 1


def test_the_same_job_takes_over_unless_there_is_a_result(aws: FakeAws, place: PackUri) -> None:
    aws.objects[f"{place.root}claims/fast-01/1"] = b"a"
    assert worker(aws, place, "a").run(answer(Outcome.OK), NoWaiting())
    [name] = [name for name in aws.objects if "/results/" in name]
    before = aws.objects[name]
    assert worker(aws, place, "a").run(answer(Outcome.DEFECT), NoWaiting())
    assert aws.objects[name] == before, "what was left is left alone, also an interrupted one"


def test_a_worker_that_was_only_thought_lost_changes_no_result(
    aws: FakeAws, place: PackUri
) -> None:
    """Its host seemed gone to AWS Batch; another has taken over and ended meanwhile."""

    def work(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        if not results(aws):
            worker(aws, place, "a").run(answer(Outcome.OK), NoWaiting())
        answer(Outcome.DEFECT)(attempt, claimant, clock)

    assert worker(aws, place, "a").run(work, NoWaiting())
    bucket = S3Bucket(BUCKET, AwsService("s3", aws.client, NoWaiting()))
    [name] = [name for name in aws.objects if "/results/" in name]
    packed = b"".join(decompressed(io.BytesIO(bucket.get(name) or b"")))
    assert b'"outcome":"OK"' in packed
    assert b"DEFECT" not in packed


def test_a_worker_that_is_stopped_stores_what_there_is(aws: FakeAws, place: PackUri) -> None:
    def stop() -> None:
        raise Interrupted("The worker was told to stop.")

    with pytest.raises(Interrupted):
        worker(aws, place, "a").run(answer(Outcome.INTERRUPTED, stop), NoWaiting())
    assert results(aws) == ["fast-01"]


def test_a_worker_without_a_result_stores_none(aws: FakeAws, place: PackUri) -> None:
    def break_down(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        raise BundleError("It is damaged.")

    with pytest.raises(BundleError):
        worker(aws, place, "a").run(break_down, NoWaiting())
    assert results(aws) == []


@pytest.mark.parametrize(
    ("index", "source", "told"),
    [("7", "", "has no job 7"), ("0", "other", "built from another version of this program")],
)
def test_a_worker_that_cannot_be_meant_claims_nothing(
    aws: FakeAws, place: PackUri, index: str, source: str, told: str
) -> None:
    with pytest.raises(BundleError, match=told):
        worker(aws, place, "a", index, source).run(answer(Outcome.OK), NoWaiting())
    assert [name for name in aws.objects if "/claims/" in name] == []


@pytest.mark.parametrize("index", ["0", ""], ids=["of an array", "single"])
def test_a_worker_runs_nothing_but_what_its_job_was_submitted_with(
    aws: FakeAws, place: PackUri, index: str
) -> None:
    name = f"{place.root}{place.pack}"
    aws.objects[name] = aws.objects[name].replace(b"fast-01", b"fast-03")
    with pytest.raises(BundleError, match="not what the job was submitted with"):
        worker(aws, place, "a", index).run(answer(Outcome.OK), NoWaiting())
    assert [n for n in aws.objects if "/claims/" in n or "/results/" in n] == []


def test_a_result_is_stored_though_the_bucket_is_slow(aws: FakeAws, place: PackUri) -> None:
    slow = Refusal("slow down", "SlowDown", 503)
    aws.faults.append(fault("PutObject", slow, times=3, path="/results/"))
    assert worker(aws, place, "a").run(answer(Outcome.OK), NoWaiting())
    assert results(aws) == ["fast-01"]


def test_the_exit_code_says_whose_the_job_was(
    aws: FakeAws, place: PackUri, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with served(aws.answer) as url:
        told = {"AWS_ENDPOINT_URL": url, "AWS_BATCH_JOB_ARRAY_INDEX": "0"}
        codes = [
            run_s3_job(str(place), {**told, "AWS_BATCH_JOB_ID": native}, answer(Outcome.OK))
            for native in ("a", "b", "a")
        ]
        monkeypatch.setattr("core.aws.job.source_digest", lambda _: "other")
        codes.append(run_s3_job(str(place), told, answer(Outcome.OK)))
    assert codes == [0, CLAIMED, 0, OUTDATED]
    assert results(aws) == ["fast-01"]


def test_a_worker_reaches_the_bucket_by_its_role_though_it_has_keys_for_claude(
    aws: FakeAws, place: PackUri, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OF-CLAUDE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    role = {
        "AccessKeyId": "OF-ROLE",
        "SecretAccessKey": "secret",
        "Token": "token",
        "Expiration": "2999-01-01T00:00:00Z",
    }
    ecs = Answer(200, json.dumps(role).encode(), {"Content-Type": "application/json"})
    keys = []
    for has_role in (True, False):
        with served(aws.answer) as url, served(lambda *_: ecs) as of_ecs:
            if has_role:
                monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{of_ecs}/role")
            else:
                monkeypatch.delenv("AWS_CONTAINER_CREDENTIALS_FULL_URI")
            told = {
                "AWS_ENDPOINT_URL": url,
                "AWS_BATCH_JOB_ID": "a",
                "AWS_BATCH_JOB_ARRAY_INDEX": "0",
            }
            before = len(aws.calls)
            assert run_s3_job(str(place), told, answer(Outcome.OK)) == 0
            keys.append(
                {
                    name
                    for name in ("OF-CLAUDE", "OF-ROLE")
                    for c in aws.calls[before:]
                    if name.encode() in c.raw
                }
            )
    assert keys == [{"OF-ROLE"}, {"OF-CLAUDE"}]


def test_the_entry_refuses_an_address_that_is_none() -> None:
    command = [sys.executable, str(ROOT / "batch_executor.py"), "s3://bucket/rubbish"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert (
        done.stderr == "error: 's3://bucket/rubbish' is not the address of a request in a bucket.\n"
    )


def test_the_entry_says_why_the_bucket_cannot_be_reached() -> None:
    address = PackUri("bucket", "root/", PACK, "eu-central-1")
    command = [sys.executable, str(ROOT / "batch_executor.py"), str(address)]
    environ = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)
    assert done.returncode == 1
    assert done.stderr.startswith("error: The job cannot use the bucket bucket: Unable to locate")
    assert "--batch-job-role ROLE" in done.stderr

"""The run's objects in the bucket: damaged, refused, encrypted, and removed."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.bundle import BASE_NAME, Limits
from core.errors import BackendError, CollectError
from core.job import JobState, Outcome, Reason, TaskResult
from core.transfer.archive import decompressed, pack, unpack
from parallel_task_orchestrator.conformance.live_run import LiveRun
from tests.fakes.aws import FakeAws
from tests.fakes.aws_calls import fault
from tests.fakes.aws_server import Answer
from tests.fakes.batch_run import NoWaiting, batch_run
from tests.fakes.strict_batch import Refusal

SLOW_DOWN = Refusal("Please reduce your request rate.", "SlowDown", 503)
DENIED = Refusal("User is not authorized to perform that", "AccessDenied", 403)


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
        assert "was not found in the bucket" in status.message
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
        root = live.backend._objects(live.backend._location).root  # type: ignore[attr-defined]
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
    root = live.backend._objects(live.backend._location).root  # type: ignore[attr-defined]
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


# -- existing code that the run changes


def test_the_base_is_one_object_of_a_session_and_goes_with_the_run(
    live: LiveRun, aws: FakeAws
) -> None:
    (live.run.root / BASE_NAME).write_bytes(b"packed")
    live.submit("fast-01", "fast-02")
    live.submit("fast-03")
    [name] = [name for name in aws.objects if "/base/" in name]
    assert aws.objects[name] == b"packed"
    stored = [c for c in aws.calls if c.action == "PutObject" and "/base/" in c.path]
    assert len(stored) == 1
    live.backend = live.another_backend()
    live.submit("fast-04")
    assert [name for name in aws.objects if "/base/" in name] == [name]
    live.backend.cleanup(live.run.run_id)
    assert aws.objects == {}

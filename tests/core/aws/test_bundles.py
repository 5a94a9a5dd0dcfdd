"""Requests and results as objects in a bucket, and the worker that takes and leaves them."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.aws.bucket import S3Bucket
from core.aws.bundles import (
    PackName,
    PackUri,
    claim_name,
    digest_of,
    fetch_result,
    packs,
    parse_name,
    read_index,
    reader,
    result_name,
    store_result,
    unpack_request,
)
from core.aws.calls import AwsCalls, AwsClients, explain, is_transient
from core.aws.job import S3Job, run_s3_job
from core.bundle import AttemptDir, Limits, read_request, write_result
from core.clock import Clock
from core.credentials import Credentials
from core.errors import (
    AwsRefused,
    BackendError,
    BundleError,
    CollectError,
    Interrupted,
    WorkerOutdated,
)
from core.job import JobKey, Outcome, TaskResult
from core.transfer.archive import decompressed
from core.worker.exit_codes import CLAIMED, OUTDATED
from tests.fakes.aws import BUCKET, FakeAws, fault, holds, lost_connection
from tests.fakes.aws_server import Answer, served
from tests.fakes.batch_run import NoWaiting, batch_run
from tests.fakes.strict_batch import Refusal

ROOT = Path(__file__).parents[3]
KEY = JobKey("run", "task", 2)
GZIP_MTIME = 4
"""Where a gzip stream has it, which nothing checks."""
PACK = PackName("0123456789abcdef" * 2, 77)


@pytest.fixture
def aws() -> FakeAws:
    return FakeAws()


@pytest.fixture
def bucket(aws: FakeAws) -> S3Bucket:
    return S3Bucket(BUCKET, lambda: aws.client("s3"), AwsCalls(NoWaiting()))


@pytest.fixture
def requests(tmp_path: Path) -> list[tuple[JobKey, Path]]:
    made = []
    for number in range(5):
        place = tmp_path / "host" / str(number) / "request"
        (place / "inputs" / "a").mkdir(parents=True)
        (place / "task.json").write_text(str(number))
        (place / "inputs" / "a" / "größe.md").write_bytes(bytes([number]) * 1000)
        made.append((JobKey("run", f"task-{number}", 1), place))
    return made


def tree(place: Path) -> dict[str, bytes]:
    return {
        p.relative_to(place).as_posix(): p.read_bytes() for p in place.rglob("*") if p.is_file()
    }


# -- names


@given(st.from_regex(r"[A-Za-z0-9!_.*'()/-]{0,60}", fullmatch=True))
def test_an_address_comes_back_as_it_was(root: str) -> None:
    uri = PackUri("a-bucket", f"{root}/".lstrip("/"), PACK, "eu-central-1")
    assert PackUri.parse(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3://bucket/requests/1-2",
        f"https://bucket/{PACK}?region=eu-central-1",
        f"s3:///{PACK}?region=eu-central-1",
        f"s3://bucket/{PACK}",
        f"s3://bucket/{PACK}?region=../x",
        f"s3://bucket/{PACK}x?region=eu-central-1",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="names no request"):
        PackUri.parse(text)


def test_names_tell_what_objects_are() -> None:
    assert parse_name(claim_name(KEY), "run") == ("claims", KEY)
    assert parse_name(result_name(KEY), "run") == ("results", KEY)
    for other in (str(PACK), "results/task", "results/task/0", "results/a/b/1", "x/task/1"):
        assert parse_name(other, "run") is None
    assert PackName.parse(str(PACK)) == PACK
    assert PackName.parse("requests/1-2") is None


# -- packs


def stored(bucket: S3Bucket, root: str, requests: list[tuple[JobKey, Path]]) -> list[PackName]:
    return [pack.store(bucket, root) for pack in packs(requests, "source", 10, 10**9)]


def test_each_job_finds_its_own_request(
    bucket: S3Bucket, requests: list[tuple[JobKey, Path]], tmp_path: Path
) -> None:
    [name] = stored(bucket, "root/", requests)
    for at_once in (False, True):
        read = reader(bucket, "root/", name, at_once=at_once)
        index = read_index(read, name)
        assert index.source == "source"
        assert [entry.key for entry in index.entries] == [key for key, _ in requests]
        for entry, (key, place) in zip(index.entries, requests, strict=True):
            there = tmp_path / f"{key.task}-{at_once}"
            unpack_request(read, name, entry, there)
            assert tree(there) == tree(place)


def test_the_same_requests_are_the_same_object(
    bucket: S3Bucket, aws: FakeAws, requests: list[tuple[JobKey, Path]]
) -> None:
    names: list[PackName] = []
    for _ in range(2):
        for path in requests[0][1].rglob("*"):
            os.utime(path, (len(names), len(names)))
        names += stored(bucket, "", requests)
    assert names[0] == names[1]
    requests[0][1].joinpath("task.json").write_text("other")
    assert stored(bucket, "", requests) != names[:1]
    assert len(aws.objects) == 2


@pytest.mark.parametrize(
    ("most", "enough", "sizes"), [(2, 10**9, [2, 2, 1]), (9, 1, [1] * 5), (9, 10**9, [5])]
)
def test_packs_hold_no_more_than_they_may(
    requests: list[tuple[JobKey, Path]], most: int, enough: int, sizes: list[int]
) -> None:
    made = [list(pack.keys) for pack in packs(requests, "", most, enough)]
    assert [len(keys) for keys in made] == sizes
    assert [key for keys in made for key in keys] == [key for key, _ in requests]


def test_an_index_of_another_version_is_refused(bucket: S3Bucket, aws: FakeAws) -> None:
    for text, told in (
        (b'{"entries":[],"source":"","version":9}', "has version 9"),
        (b'{"jobs":[],"version":9}', "written by another version"),
        (b"{", "written by another version"),
    ):
        name = PackName(digest_of([text]), len(text))
        aws.objects[str(name)] = text
        with pytest.raises(WorkerOutdated, match=told):
            read_index(reader(bucket, "", name), name)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_pack_that_another_has_put_in_its_place_is_refused(
    bucket: S3Bucket,
    aws: FakeAws,
    requests: list[tuple[JobKey, Path]],
    tmp_path: Path,
    at_once: bool,
) -> None:
    [name] = stored(bucket, "", requests)
    whole = aws.objects[str(name)]
    aws.objects[str(name)] = whole.replace(b"task-1", b"task-9", 1)
    with pytest.raises(BundleError, match="not what the job was submitted with"):
        read_index(reader(bucket, "", name, at_once=at_once), name)
    aws.objects[str(name)] = whole
    first, second, *_ = read_index(reader(bucket, "", name), name).entries
    at = name.index_bytes + second.start + GZIP_MTIME
    aws.objects[str(name)] = whole[:at] + b"\1" + whole[at + 1 :]  # as sound as before
    read = reader(bucket, "", name, at_once=at_once)
    unpack_request(read, name, first, tmp_path / "first")
    with pytest.raises(BundleError, match=r"The request of run/task-1/1 is damaged"):
        unpack_request(read, name, second, tmp_path / "second")
    assert not (tmp_path / "second").exists()


# -- results


def test_a_result_comes_back_as_it_was_left(bucket: S3Bucket, tmp_path: Path) -> None:
    left = tmp_path / "result"
    (left / "files").mkdir(parents=True)
    (left / "files" / "run.sh").write_text("true")
    (left / "files" / "run.sh").chmod(0o755)
    (left / "files" / "link").symlink_to("/etc/passwd")
    store_result(bucket, "root/", KEY, left)
    there = tmp_path / "fetched"
    assert fetch_result(bucket, "root/", KEY, there, Limits())
    assert tree(there) == {"files/run.sh": b"true"}
    assert (there / "files" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert not (there / "files" / "link").is_symlink()
    assert not fetch_result(bucket, "root/", JobKey("run", "other", 1), tmp_path / "x", Limits())
    assert not (tmp_path / "x").exists()


def test_a_result_larger_than_allowed_is_refused(bucket: S3Bucket, tmp_path: Path) -> None:
    left = tmp_path / "result"
    left.mkdir()
    for number in range(40):
        (left / str(number)).write_text("x")
    store_result(bucket, "", KEY, left)
    with pytest.raises(CollectError, match="more than 3 files"):
        fetch_result(bucket, "", KEY, tmp_path / "fetched", Limits(max_files=3))
    assert not (tmp_path / "fetched").exists()


# -- the bucket


def test_a_conditional_write_takes_a_name_once(bucket: S3Bucket, aws: FakeAws) -> None:
    assert bucket.put_new("claim", io.BytesIO(b"one"))
    assert not bucket.put_new("claim", io.BytesIO(b"two"))
    assert aws.objects["claim"] == b"one"
    aws.faults.append(fault("PutObject", Refusal("no", "AccessDenied", 403)))
    with pytest.raises(AwsRefused, match="AccessDenied"):
        bucket.put_new("other", io.BytesIO(b"x"))
    aws.faults.append(fault("PutObject", Refusal("now", "ConditionalRequestConflict", 409)))
    assert bucket.put_new("other", io.BytesIO(b"x"))


def test_whether_there_is_an_object_is_asked_without_fetching_it(
    bucket: S3Bucket, aws: FakeAws
) -> None:
    bucket.put_new("there", io.BytesIO(b"x"))
    assert bucket.exists("there")
    assert not bucket.exists("elsewhere")
    bucket.put_new("elsewhere/", io.BytesIO(b"x"))
    assert not bucket.exists("elsewhere")
    aws.faults.append(fault("ListObjectsV2", Refusal("no", "AccessDenied", 403)))
    with pytest.raises(AwsRefused):
        bucket.exists("there")
    assert aws.count("GetObject") == aws.count("HeadObject") == 0


# -- calls


def test_a_call_that_is_refused_for_good_is_made_once(bucket: S3Bucket, aws: FakeAws) -> None:
    aws.faults.append(fault("GetObject", Refusal("no", "AccessDenied", 403), times=9))
    with pytest.raises(AwsRefused) as refused:
        bucket.get("x")
    assert refused.value.code == "AccessDenied"
    assert aws.count("GetObject") == 1


def test_a_call_that_keeps_failing_is_given_up(bucket: S3Bucket, aws: FakeAws) -> None:
    aws.faults.append(fault("GetObject", lost_connection(), times=99))
    with pytest.raises(BackendError, match="tried again later"):
        bucket.get("x")
    assert aws.count("GetObject") == 6


def test_errors_without_an_answer_say_what_to_do() -> None:
    from botocore.exceptions import NoCredentialsError, TokenRetrievalError

    assert "Sign in" in explain(NoCredentialsError(), "GetObject").remedy
    expired = TokenRetrievalError(provider="sso", error_msg="expired")
    assert not is_transient(expired)
    assert "sign-in" in explain(expired, "GetObject").message


def test_clients_are_made_once_and_from_the_right_identity() -> None:
    clients = AwsClients("eu-central-1", Credentials(), {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    assert clients("s3") is clients("s3")
    assert clients("s3").meta.endpoint_url == "http://127.0.0.1:9"
    clients.close()
    keys = Credentials(aws_access_key_id="AK", aws_secret_access_key="SK")
    own = AwsClients("eu-west-1", keys, {})
    client = own("s3")
    assert client.meta.region_name == "eu-west-1"
    assert client._request_signer._credentials.access_key == "AK"
    own.close()
    named = Credentials(aws_access_key_id="AK", aws_secret_access_key="SK", aws_profile="other")
    assert AwsClients("eu-west-1", named, {})._identity() == {"profile_name": "other"}


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
    bucket = S3Bucket(place.bucket, lambda: aws.client("s3"), AwsCalls(NoWaiting()))
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
    bucket = S3Bucket(BUCKET, lambda: aws.client("s3"), AwsCalls(NoWaiting()))
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
    assert done.stderr == "error: 's3://bucket/rubbish' names no request in a bucket.\n"


def test_the_entry_says_why_the_bucket_cannot_be_reached() -> None:
    address = PackUri("bucket", "root/", PACK, "eu-central-1")
    command = [sys.executable, str(ROOT / "batch_executor.py"), str(address)]
    environ = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ)
    assert done.returncode == 1
    assert "error: GetObject on s3://bucket/root/requests/" in done.stderr
    assert "Unable to locate credentials" in done.stderr


def test_a_search_for_a_secret_looks_into_what_is_packed(
    tmp_path: Path, aws: FakeAws, requests: list[tuple[JobKey, Path]]
) -> None:
    """As the tests that find no secret search what AWS was sent."""
    word = b"sk-ant-canary-in-a-pack"
    requests[3][1].joinpath("inputs", "secret.txt").write_bytes(b"x" * 3000 + word)
    bucket = S3Bucket(BUCKET, lambda: aws.client("s3"), AwsCalls(NoWaiting()))
    stored(bucket, "", requests)
    store_result(bucket, "", KEY, requests[3][1])
    for call in (c for c in aws.calls if c.action == "PutObject"):
        assert word not in call.raw
        assert holds(call.raw, word)
        assert not holds(call.raw, b"another word")
    cut = gzip.compress(gzip.compress(word))[:-9]
    assert holds(b"\x1f\x8b\x08 is no stream" + cut, word)

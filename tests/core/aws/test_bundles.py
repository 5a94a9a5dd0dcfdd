"""Requests and results as objects in a bucket."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.aws.bucket import S3Bucket
from core.aws.bundles import (
    PackName,
    PackUri,
    RunObjects,
    StoredPack,
    claim_name,
    digest_of,
    packs,
    parse_name,
    result_name,
)
from core.aws.calls import AwsService
from core.bundle import Limits
from core.errors import (
    BundleError,
    CollectError,
    WorkerOutdated,
)
from core.job import JobKey
from tests.fakes.aws import FakeAws
from tests.fakes.aws_calls import BUCKET, holds
from tests.fakes.batch_run import NoWaiting

KEY = JobKey("run", "task", 2)
GZIP_MTIME = 4
"""Where a gzip stream has it, which nothing checks."""
PACK = PackName("0123456789abcdef" * 2, 77)


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
    with pytest.raises(BundleError, match="is not the address of a request"):
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
        pack = StoredPack(bucket, "root/", name, at_once=at_once)
        index = pack.index()
        assert index.source == "source"
        assert [entry.key for entry in index.entries] == [key for key, _ in requests]
        for entry, (key, place) in zip(index.entries, requests, strict=True):
            there = tmp_path / f"{key.task}-{at_once}"
            pack.unpack(entry, there)
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
            StoredPack(bucket, "", name).index()


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
        StoredPack(bucket, "", name, at_once=at_once).index()
    aws.objects[str(name)] = whole
    first, second, *_ = StoredPack(bucket, "", name).index().entries
    at = name.index_bytes + second.start + GZIP_MTIME
    aws.objects[str(name)] = whole[:at] + b"\1" + whole[at + 1 :]  # as sound as before
    pack = StoredPack(bucket, "", name, at_once=at_once)
    pack.unpack(first, tmp_path / "first")
    with pytest.raises(BundleError, match=r"The request of run/task-1/1 is damaged"):
        pack.unpack(second, tmp_path / "second")
    assert not (tmp_path / "second").exists()


# -- results


def test_a_result_comes_back_as_it_was_left(bucket: S3Bucket, tmp_path: Path) -> None:
    left = tmp_path / "result"
    (left / "files").mkdir(parents=True)
    (left / "files" / "run.sh").write_text("true")
    (left / "files" / "run.sh").chmod(0o755)
    (left / "files" / "link").symlink_to("/etc/passwd")
    objects = RunObjects(bucket, "root/")
    objects.store_result(KEY, left)
    there = tmp_path / "fetched"
    assert objects.fetch_result(KEY, there, Limits())
    assert tree(there) == {"files/run.sh": b"true"}
    assert (there / "files" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert not (there / "files" / "link").is_symlink()
    assert not objects.fetch_result(JobKey("run", "other", 1), tmp_path / "x", Limits())
    assert not (tmp_path / "x").exists()


def test_a_result_larger_than_allowed_is_refused(bucket: S3Bucket, tmp_path: Path) -> None:
    left = tmp_path / "result"
    left.mkdir()
    for number in range(40):
        (left / str(number)).write_text("x")
    objects = RunObjects(bucket, "")
    objects.store_result(KEY, left)
    with pytest.raises(CollectError, match="more than 3 files"):
        objects.fetch_result(KEY, tmp_path / "fetched", Limits(max_files=3))
    assert not (tmp_path / "fetched").exists()


def test_a_search_for_a_secret_looks_into_what_is_packed(
    tmp_path: Path, aws: FakeAws, requests: list[tuple[JobKey, Path]]
) -> None:
    """As the tests that find no secret search what AWS was sent."""
    word = b"sk-ant-canary-in-a-pack"
    requests[3][1].joinpath("inputs", "secret.txt").write_bytes(b"x" * 3000 + word)
    bucket = S3Bucket(BUCKET, AwsService("s3", aws.client, NoWaiting()))
    stored(bucket, "", requests)
    RunObjects(bucket, "").store_result(KEY, requests[3][1])
    for call in (c for c in aws.calls if c.action == "PutObject"):
        assert word not in call.raw
        assert holds(call.raw, word)
        assert not holds(call.raw, b"another word")
    cut = gzip.compress(gzip.compress(word))[:-9]
    assert holds(b"\x1f\x8b\x08 is no stream" + cut, word)

"""Objects in a bucket, over moto: none stays, whatever becomes of its transfer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from backends.parallelcluster.progress import Transfers
from backends.parallelcluster.s3_transfer import PREFIX, TransferBucket
from core.errors import BackendError

REGION = "eu-central-1"


@pytest.fixture
def s3() -> Iterator[Any]:
    with mock_aws():
        client = boto3.client("s3", region_name=REGION)
        place = {"LocationConstraint": REGION}
        client.create_bucket(Bucket="ours", CreateBucketConfiguration=place)
        yield client


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "r").mkdir()
    return tmp_path / "r"


def bucket(s3: Any, run_dir: Path) -> TransferBucket:
    return TransferBucket("ours", lambda: s3, Transfers(), run_dir)


def put(s3: Any, url: str) -> None:
    s3.put_object(Bucket="ours", Key=url.removeprefix("s3://ours/"), Body=b"x")


def held(s3: Any) -> int:
    count: int = s3.list_objects_v2(Bucket="ours", Prefix=PREFIX)["KeyCount"]
    return count


def cut_transfer(s3: Any, ours: TransferBucket) -> None:
    """Of which the other side hears late: its object comes when nobody waits for it."""
    with pytest.raises(BackendError), ours.object() as url:
        raise BackendError("The connection was lost.")
    put(s3, url)
    assert held(s3) == 1


def test_an_object_is_gone_after_its_transfer(s3: Any, run_dir: Path) -> None:
    ours = bucket(s3, run_dir)
    with ours.object() as url:
        put(s3, url)
        assert ours.may_hold_objects
    assert held(s3) == 0
    assert not ours.may_hold_objects


def test_what_a_cut_transfer_has_left_goes_with_the_next(s3: Any, run_dir: Path) -> None:
    ours = bucket(s3, run_dir)
    cut_transfer(s3, ours)
    with ours.object():
        assert held(s3) == 0


def test_what_a_cut_transfer_has_left_goes_at_the_end_of_the_run(s3: Any, run_dir: Path) -> None:
    """Even if it came after the next transfer, and in another process."""
    ours = bucket(s3, run_dir)
    cut_transfer(s3, ours)
    [left] = (entry["Key"] for entry in s3.list_objects_v2(Bucket="ours")["Contents"])
    with ours.object():
        pass
    put(s3, f"s3://ours/{left}")
    another = bucket(s3, run_dir)
    assert another.may_hold_objects
    another.clear()
    assert held(s3) == 0
    assert not another.may_hold_objects


def test_a_transfer_takes_nothing_from_another_at_the_same_time(s3: Any, run_dir: Path) -> None:
    ours = bucket(s3, run_dir)
    with ours.object() as url:
        put(s3, url)
        with ours.object():
            assert held(s3) == 1


def test_a_transfer_that_went_well_is_not_lost_with_the_right_to_remove(
    s3: Any, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = bucket(s3, run_dir)
    with ours.object() as url:
        put(s3, url)
        monkeypatch.setattr(ours._s3, "name", "never-made")
    assert ours.may_hold_objects
    with pytest.raises(BackendError, match="could not be used"):
        ours.clear()
    monkeypatch.undo()
    ours.clear()
    assert held(s3) == 0


def test_without_a_run_nothing_is_kept_here(s3: Any, tmp_path: Path) -> None:
    ours = bucket(s3, tmp_path / "none")
    with ours.object() as url:
        put(s3, url)
    ours.check_access()
    ours.clear()
    assert held(s3) == 0
    assert list(tmp_path.iterdir()) == []

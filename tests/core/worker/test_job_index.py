"""Which attempts the jobs of a batch are, and files that a shared file system shows late."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle import WIRE_VERSION
from core.errors import BundleError
from core.wire import encode
from core.worker.job_index import (
    VISIBLE_WITHIN_S,
    BatchDir,
    JobIndex,
    await_file,
    is_visible,
    read_index,
)
from tests.fakes.scripted_claude import FakeClock

INDEX = JobIndex("r1", ("tasks/a/1", "tasks/b/2"))


@pytest.fixture
def batch(tmp_path: Path) -> BatchDir:
    found = BatchDir(tmp_path / "runs" / "r1" / "slurm" / "abc")
    found.root.mkdir(parents=True)
    found.index.write_text(encode(INDEX))
    return found


def test_an_index_is_read_as_it_was_written(batch: BatchDir) -> None:
    assert read_index(batch) == INDEX


def test_everything_is_found_from_the_batchs_folder(batch: BatchDir, tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "r1"
    assert batch.run_dir == run_dir
    assert batch.credentials == run_dir / "slurm" / "credentials.json"
    assert batch.attempt(INDEX, 1).root == run_dir / "tasks" / "b" / "2"


@pytest.mark.parametrize("place", [-1, 2, 100])
def test_a_place_that_the_index_does_not_have_is_an_error(batch: BatchDir, place: int) -> None:
    with pytest.raises(BundleError, match=f"no job number {place}"):
        batch.attempt(INDEX, place)


@pytest.mark.parametrize("text", ["", "{", '{"run": 1}', "[]"])
def test_a_damaged_index_is_an_error_that_names_it(batch: BatchDir, text: str) -> None:
    batch.index.write_text(text)
    with pytest.raises(BundleError, match=r"index\.json"):
        read_index(batch)


def test_an_absent_index_is_an_error_that_names_it(batch: BatchDir) -> None:
    batch.index.unlink()
    with pytest.raises(BundleError, match=r"index\.json does not exist"):
        read_index(batch)


def test_an_index_of_another_version_is_refused(batch: BatchDir) -> None:
    batch.index.write_text(encode(JobIndex("r1", (), WIRE_VERSION + 1)))
    with pytest.raises(BundleError, match=f"wire version {WIRE_VERSION + 1}") as told:
        read_index(batch)
    assert "same version" in told.value.remedy


class LaggingClock(FakeClock):
    """After some time the file is there."""

    def __init__(self, path: Path, after_s: float) -> None:
        super().__init__()
        self._path, self._at = path, self.now + after_s

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if self.now >= self._at:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()


@pytest.mark.parametrize("after_s", [0.1, 20.0, VISIBLE_WITHIN_S])
def test_a_file_that_appears_late_is_waited_for(tmp_path: Path, after_s: float) -> None:
    path = tmp_path / "not yet" / "task.json"
    assert await_file(path, LaggingClock(path, after_s))


def test_a_file_that_does_not_appear_is_given_up_in_time(tmp_path: Path) -> None:
    clock = FakeClock()
    began = clock.now
    assert not await_file(tmp_path / "never", clock)
    assert VISIBLE_WITHIN_S <= clock.now - began < VISIBLE_WITHIN_S + 1


def test_what_is_there_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    clock = FakeClock()
    clock.stopped = True  # sleeping would raise
    assert await_file(tmp_path / "file", clock)


def test_a_file_is_visible_by_its_directorys_listing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert is_visible(tmp_path / "file")
    assert not is_visible(tmp_path / "other")
    assert not is_visible(tmp_path / "file" / "below")
    assert not is_visible(tmp_path / "none" / "file")

"""What was handed to sbatch, as a later process finds it on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from backends.slurm.arrays import JobArray, JobArrays, make_array
from backends.slurm.commands import COMMENT_PREFIX
from backends.slurm.states import JobRecord
from core.job import JobKey
from core.worker.job_index import INDEX_NAME, BatchDir, read_index

KEYS = [JobKey("r1", task, number) for task, number in (("a", 1), ("b", 1), ("a", 2))]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "r1"


def hand_over(run_dir: Path, array: JobArray, *job_ids: str) -> None:
    """As the backend does it: the index is on disk, then sbatch gives ids."""
    folder = run_dir / array.folder
    folder.mkdir(parents=True)
    (folder / INDEX_NAME).write_bytes(array.index)
    arrays = JobArrays(run_dir)
    for job_id in job_ids:
        arrays.add_job_id(arrays.all[array.digest], job_id)


def test_the_same_keys_are_the_same_batch_and_any_other_is_another(run_dir: Path) -> None:
    same = {make_array(run_dir, KEYS).digest for _ in range(2)}
    others = {
        make_array(run_dir, KEYS[:2]).digest,
        make_array(run_dir, KEYS[::-1]).digest,
        make_array(run_dir.with_name("r2"), KEYS).digest,
    }
    assert len(same) == 1
    assert len(others) == 3
    assert not same & others


def test_a_jobs_place_is_its_keys_place_in_the_index(run_dir: Path) -> None:
    array = make_array(run_dir, KEYS)
    hand_over(run_dir, array)
    index = read_index(BatchDir(run_dir / array.folder))
    assert index.attempts == ("tasks/a/1", "tasks/b/1", "tasks/a/2")
    assert array.log(KEYS[2]) == f"slurm/{array.digest}/2.log"


def test_a_later_process_knows_arrays_and_ids(run_dir: Path) -> None:
    array = make_array(run_dir, KEYS)
    hand_over(run_dir, array, "7", "9")
    later = JobArrays(run_dir)
    assert later.keys == sorted(KEYS)
    assert later.all[array.digest].job_ids == ["7", "9"]
    assert [held.keys for held in later.containing(KEYS[0])] == [tuple(KEYS)]
    assert later.containing(JobKey("r1", "never", 1)) == []


def test_nothing_on_disk_is_no_array(run_dir: Path) -> None:
    assert JobArrays(run_dir).keys == []
    assert JobArrays(run_dir).containing(KEYS[0]) == []


@pytest.mark.parametrize("text", ["", "{", '{"run": "r1", "attempts": ["x"], "version": 1}'])
def test_an_index_that_was_cut_off_was_never_handed_over(run_dir: Path, text: str) -> None:
    whole = make_array(run_dir, KEYS[:1])
    hand_over(run_dir, whole)
    cut = run_dir / "slurm" / "0123456789abcdef"
    cut.mkdir()
    (cut / INDEX_NAME).write_text(text)
    assert list(JobArrays(run_dir).all) == [whole.digest]


def test_an_id_that_was_cut_off_is_left_out(run_dir: Path) -> None:
    array = make_array(run_dir, KEYS)
    hand_over(run_dir, array, "7")
    with (run_dir / array.folder / "job-ids").open("a") as stream:
        stream.write('"8')
    assert JobArrays(run_dir).all[array.digest].job_ids == ["7"]


def test_a_row_is_known_by_comment_then_script_then_id(run_dir: Path) -> None:
    array = make_array(run_dir, KEYS)
    hand_over(run_dir, array, "7")
    arrays = JobArrays(run_dir)
    script = f"{run_dir}/{array.folder}/job.sh"
    comment = f"{COMMENT_PREFIX}{array.digest}"
    for row in (
        JobRecord("1", 1, "RUNNING", comment=comment),
        JobRecord("1", 1, "RUNNING", comment="site", run_dir=str(run_dir), script=script),
        JobRecord("7", 1, "RUNNING", comment="site"),
    ):
        assert arrays.key_of(row) == KEYS[1]
    assert arrays.key_of(JobRecord("1", 1, "RUNNING", comment="site")) is None
    assert arrays.key_of(JobRecord("1", 3, "RUNNING", comment=comment)) is None, "no such place"
    elsewhere = JobRecord(
        "1", 1, "RUNNING", run_dir="/other/r1", script="/other/r1/slurm/xyz/job.sh"
    )
    assert arrays.key_of(elsewhere) is None


def test_what_was_refused_leaves_nothing_and_what_was_taken_stays(run_dir: Path) -> None:
    refused, taken = make_array(run_dir, KEYS[:1]), make_array(run_dir, KEYS)
    hand_over(run_dir, refused)
    hand_over(run_dir, taken, "7")
    arrays = JobArrays(run_dir)
    for array in list(arrays.all.values()):
        arrays.discard(array)
    assert list(arrays.all) == [taken.digest]
    assert [path.name for path in (run_dir / "slurm").iterdir()] == [taken.digest]
    assert [held.digest for held in arrays.containing(KEYS[0])] == [taken.digest]


def test_a_batch_that_is_noted_again_is_the_one_that_is_known(run_dir: Path) -> None:
    arrays = JobArrays(run_dir)
    first = arrays.add(make_array(run_dir, KEYS))
    arrays.add_job_id(first, "7")
    assert arrays.add(make_array(run_dir, KEYS)) is first
    assert len(arrays.containing(KEYS[0])) == 1

"""A work directory's name among those of many machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backends.shared.work_dir_id import is_moved_away, work_dir_id

HERE = Path("/home/ada/.orchestrator")
ID = "0123456789abcdef0123456789abcdef"


def told(place: Path, host: str, text: str | None = ID) -> str:
    """The name on a machine whose id file has this text, if it has one."""
    path = place / "machine-id"
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text, encoding="ascii")
    return work_dir_id(HERE, path, host)


@pytest.mark.parametrize("text", [None, "", "\n", "uninitialized\n", "0" * 32, ID])
def test_machines_whose_ids_do_not_differ_are_told_by_their_names(
    tmp_path: Path, text: str | None
) -> None:
    assert told(tmp_path, "one", text) != told(tmp_path, "two", text)
    assert told(tmp_path, "one", text) == told(tmp_path, "one", text)


def test_machines_of_one_name_are_told_by_their_ids(tmp_path: Path) -> None:
    assert told(tmp_path, "localhost") != told(tmp_path, "localhost", ID[::-1])


def test_no_id_is_as_good_as_an_empty_one(tmp_path: Path) -> None:
    assert len({told(tmp_path, "one", text) for text in (None, "", "uninitialized\n")}) == 1


def test_a_laptop_stays_itself_in_another_network(tmp_path: Path) -> None:
    assert told(tmp_path, "laptop.local") == told(tmp_path, "laptop.example.org")


def test_the_name_is_the_machines_own_unless_said(tmp_path: Path) -> None:
    assert work_dir_id(HERE) == work_dir_id(HERE, host=os.uname().nodename)


def test_a_copy_beside_is_another_one(tmp_path: Path) -> None:
    assert work_dir_id(tmp_path / "a") != work_dir_id(tmp_path / "b")


def test_a_place_is_left_when_the_run_was_moved_away_and_not_when_it_was_copied(
    tmp_path: Path,
) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    assert is_moved_away(work_dir_id(before), now, "r")
    (before / "runs" / "r").mkdir(parents=True)
    assert not is_moved_away(work_dir_id(before), now, "r")


def test_a_place_of_another_machine_is_not_left(tmp_path: Path) -> None:
    other = work_dir_id(tmp_path / "before", host="another")
    assert not is_moved_away(other, tmp_path / "now", "r")
    assert not is_moved_away("what somebody else wrote", tmp_path / "now", "r")

"""Files that grow while a model's commands run beside them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.workspace.protected_log import MAX_EARLIER_BYTES, ProtectedLog, make_directory


def test_lines_are_on_the_disk_at_once(tmp_path: Path) -> None:
    file = ProtectedLog(tmp_path / "new/a.txt")
    assert not file.path.exists()
    file.write("one\n")
    assert file.path.read_text() == "one\n"
    file.write("tw\udcffo\n")
    assert file.path.read_bytes() == b"one\ntw\\udcffo\n"


def test_an_earlier_workers_lines_stay_and_a_torn_one_is_ended(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("whole\nto")
    ProtectedLog(tmp_path / "a.txt").write("new\n")
    assert (tmp_path / "a.txt").read_text() == "whole\nto\nnew\n"


def test_what_an_earlier_worker_cannot_have_left_is_nothing(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as stream:
        stream.truncate(MAX_EARLIER_BYTES + 1)
    (tmp_path / "target").write_text("theirs\n")
    (tmp_path / "b.txt").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "c.txt")
    for name in ("a.txt", "b.txt", "c.txt"):
        file = ProtectedLog(tmp_path / name)
        file.write("mine\n")
        file.settle()
        assert (tmp_path / name).read_bytes() == b"mine\n"
    assert (tmp_path / "target").read_text() == "theirs\n"


def link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "theirs/x")


def hang(path: Path) -> None:
    os.mkfifo(path)


def deepen(path: Path) -> None:
    (path / "a/b").mkdir(parents=True)
    (path / "a/b/c").touch()
    (path / "a").chmod(0)


def forge(path: Path) -> None:
    path.write_text('{"usage": 0}\n')


def rejoin(path: Path) -> None:
    os.link(path.parent.parent / "theirs/x", path)


@pytest.mark.parametrize("damage", [link, hang, deepen, forge, rejoin, lambda _: None])
@pytest.mark.parametrize("again", [False, True])
def test_what_others_make_of_the_file_is_undone(
    tmp_path: Path, damage: Callable[[Path], None], again: bool
) -> None:
    theirs = tmp_path / "theirs/x"
    theirs.parent.mkdir()
    theirs.write_text("theirs\n")
    file = ProtectedLog(tmp_path / "result/a.txt")
    file.write("one\n")
    file.path.unlink()
    damage(file.path)
    if again:
        file.write("two\n")
    file.settle()
    assert file.path.read_text() == "one\ntwo\n"[: 8 if again else 4]
    assert file.path.stat().st_nlink == 1
    if damage is not rejoin:  # whose file may be written to by whoever linked it there
        assert theirs.read_text() == "theirs\n"


def test_a_directory_that_was_replaced_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    file = ProtectedLog(tmp_path / "result/a.txt")
    file.write("one\n")
    shutil.rmtree(tmp_path / "result")
    (tmp_path / "result").symlink_to(tmp_path / "theirs")
    file.write("two\n")
    file.settle()
    assert file.path.read_text() == "one\ntwo\n"
    assert not file.path.parent.is_symlink()
    assert list((tmp_path / "theirs").iterdir()) == []


def test_a_file_without_a_line_is_not_made_but_a_forged_one_is_emptied(
    tmp_path: Path,
) -> None:
    file = ProtectedLog(tmp_path / "a.txt")
    file.settle()
    assert not file.path.exists()
    forge(file.path)
    file.settle()
    assert file.path.read_bytes() == b""


def test_a_closed_directory_is_opened(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o500)
    make_directory(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700

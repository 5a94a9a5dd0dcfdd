"""Looking at and removing trees that were made to do harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import WorkspaceError
from core.workspace.confined import ConfinedTree, open_regular, read_regular, remove_tree

DEPTH = 3_000


def make_deep(root: Path) -> None:
    """Directories below each other, further than any path or recursion goes."""
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    for _ in range(DEPTH):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
    os.close(fd)


def test_a_scan_lists_files_and_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("text")
    (tmp_path / "a/link").symlink_to("/etc")
    (tmp_path / "hard").write_text("")
    (tmp_path / "hard").chmod(0)
    (tmp_path / "shut").mkdir(mode=0o500)
    os.mkfifo(tmp_path / "pipe")
    found = ConfinedTree(tmp_path).scan()
    assert found.files == [("a/b/file", 4)]
    assert [(path, why.partition(";")[0]) for path, why in found.others] == [
        ("a/link", "is a symbolic link"),
        ("hard", "may not be read by its owner"),
        ("pipe", "is a special file"),
        ("shut", "is closed to its owner"),
    ]
    assert found.whole
    assert ConfinedTree(tmp_path).scan("a/b").files == [("a/b/file", 4)]


def test_a_survey_of_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for below in ("file", "link", "absent"):
        with pytest.raises(WorkspaceError):
            ConfinedTree(tmp_path).scan(below)


def test_a_survey_takes_names_of_any_bytes(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))).touch()
    assert ConfinedTree(tmp_path).scan().files == [("\udcff\udcfe", 0)]


def test_a_survey_goes_only_so_far(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}").touch()
    assert ConfinedTree(tmp_path).scan(limit=31).whole
    found = ConfinedTree(tmp_path).scan(limit=10)
    assert (len(found.files), found.whole) == (10, False)


def test_a_survey_does_not_follow_deep_nesting_to_its_end(tmp_path: Path) -> None:
    make_deep(tmp_path / "root")
    found = ConfinedTree(tmp_path / "root").scan()
    remove_tree(tmp_path / "root")  # before anything can fail: pytest could not remove it
    assert not (tmp_path / "root").exists()
    ((path, why),) = found.others
    assert (path.count("/"), why) == (120, "is nested too deeply")


def test_removing_follows_no_link_and_opens_what_is_closed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o755)
    (theirs / "file").write_text("kept")
    root = tmp_path / "root"
    (root / "a/b/c").mkdir(parents=True)
    (root / "a/link").symlink_to(theirs)
    (root / "a/b/c/file").touch()
    os.mkfifo(root / "a/pipe")
    for path in (root / "a/b/c", root / "a/b", root):
        path.chmod(0)
    remove_tree(root)
    assert not root.exists()
    assert (theirs / "file").read_text() == "kept"
    assert theirs.stat().st_mode & 0o777 == 0o755
    for path in (tmp_path / "link", tmp_path / "file"):
        path.symlink_to(theirs) if path.name == "link" else path.touch()
        remove_tree(path)
        assert not os.path.lexists(path)
    assert (theirs / "file").exists()
    remove_tree(tmp_path / "absent")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    paths=st.lists(
        st.lists(st.sampled_from(["a", "b", "\udcff", ".x.part"]), min_size=1, max_size=6)
    )
)
def test_whatever_was_put_there_is_removed(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, paths: list[list[str]]
) -> None:
    root = tmp_path_factory.mktemp("root")
    for parts in paths:
        root.joinpath(*parts).mkdir(parents=True, exist_ok=True)
    remove_tree(root)
    assert not root.exists()


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dir").mkdir()
    assert read_regular(tmp_path / "file", 4) == b"text"
    with pytest.raises(OSError, match="more than 3 bytes"):
        read_regular(tmp_path / "file", 3)
    for name in ("link", "pipe", "dir", "absent"):
        with pytest.raises(OSError, match=name):
            open_regular(tmp_path / name)


@pytest.mark.parametrize("name", ["b", "n" * 255])
def test_what_has_two_names_becomes_two_files_when_moved_out(tmp_path: Path, name: str) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    for directory in (work, out):
        directory.mkdir()
    (work / "a").write_text("#!/bin/sh\n")
    (work / "a").chmod(0o755)
    os.link(work / "a", work / name)
    tree = ConfinedTree(work)
    for path in ("a", name):
        tree.move_out(path, out / path)
        moved = (out / path).stat()
        assert (moved.st_nlink, moved.st_mode & 0o777) == (1, 0o755)
        assert (out / path).read_text() == "#!/bin/sh\n"
    assert list(work.iterdir()) == []

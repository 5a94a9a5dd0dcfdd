"""Removing a run's directory never reaches out of it, and can be taken up again."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engine.cleanup.removal import finish_removal, half_removed, remove_run, tree_size

ROOT = Path(__file__).resolve().parents[3]
RUN = "20260101-120000-aaaa"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "work" / "runs" / RUN
    (root / "tasks" / "one" / "1").mkdir(parents=True)
    (root / "run.json").write_text("{}")
    (root / "tasks" / "one" / "1" / "claim").write_text("x")
    return root


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """A directory outside that nothing may touch."""
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "kept.txt").write_text("kept")
    return treasure


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.parent.iterdir())


def test_all_of_it_goes_and_nothing_stays_aside(root: Path) -> None:
    (root.parent / "other").mkdir()
    remove_run(root)
    assert left(root) == ["other"]


def test_links_are_removed_and_what_they_name_is_kept(root: Path, treasure: Path) -> None:
    (root / "dir").symlink_to(treasure)
    (root / "tasks" / "one" / "file").symlink_to(treasure / "kept.txt")
    (root / "tasks" / "up").symlink_to("../../..")
    (root / "lost").symlink_to("/nowhere/at/all")
    (root / "itself").symlink_to("itself")
    remove_run(root)
    assert left(root) == []
    assert (treasure / "kept.txt").read_text() == "kept"


def test_a_link_in_the_place_of_a_run_is_all_that_goes(root: Path, treasure: Path) -> None:
    link = root.parent / "20260101-120000-bbbb"
    link.symlink_to(treasure)
    remove_run(link)
    assert left(root) == [RUN]
    assert (treasure / "kept.txt").exists()


SHUT = """
import os, sys
from pathlib import Path
from engine.cleanup.removal import remove_run

if os.geteuid() == 0:  # who may do anything
    os.setgid(65534)
    os.setuid(65534)
root = Path(sys.argv[1]) / "runs" / "shut"
inner = root / "tasks" / "inner"
inner.mkdir(parents=True)
(inner / "file").write_text("x")
for path, mode in ((inner / "file", 0), (inner, 0), (inner.parent, 0o500), (root, 0o500)):
    path.chmod(mode)
remove_run(root)
print(os.listdir(root.parent))
"""


def test_what_its_owner_may_not_read_or_write_goes_too() -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's own are closed to others
        os.chmod(place, 0o777)
        command = [sys.executable, "-B", "-c", SHUT, place]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_pipes_sockets_and_odd_names_go_too(root: Path) -> None:
    os.mkfifo(root / "journal.jsonl")
    for name in (b"\xff\xfe", b"new\nline", b"-rf", b"...", b" "):
        (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).write_text("x")
    remove_run(root)
    assert left(root) == []


def test_no_depth_is_too_much(root: Path) -> None:
    before = os.open(".", os.O_RDONLY)
    try:
        os.chdir(root)
        for _ in range(3_000):  # longer than a path may be, deeper than Python's stack
            os.mkdir("d")
            os.chdir("d")
        Path("bottom").write_text("x")
        os.fchdir(before)
    finally:
        os.close(before)
    assert tree_size(root) >= 0
    remove_run(root)
    assert left(root) == []


def test_a_removal_that_was_cut_off_is_found_and_finished(root: Path) -> None:
    aside = root.parent / ".removing"
    aside.mkdir()
    root.rename(aside / f"{RUN}.0123abcd")
    (aside / f"{RUN}.0123abcd" / "run.json").unlink()
    [path] = half_removed(root.parent.parent)
    finish_removal(path)
    assert half_removed(root.parent.parent) == []
    assert left(root) == []
    finish_removal(path)  # two at once


def test_a_link_in_the_place_of_what_is_moved_aside_leads_nowhere(
    root: Path, treasure: Path
) -> None:
    (root.parent / ".removing").symlink_to(treasure)
    assert half_removed(root.parent.parent) == []
    with pytest.raises(OSError, match="symbolic links"):
        remove_run(root)
    assert root.exists()
    assert [path.name for path in treasure.iterdir()] == ["kept.txt"]
    with pytest.raises(OSError, match=r"symbolic|directory"):
        finish_removal(root.parent / ".removing" / "kept.txt")
    assert (treasure / "kept.txt").exists()


def test_nothing_is_half_removed_where_there_are_no_runs(tmp_path: Path) -> None:
    assert half_removed(tmp_path) == []
    (tmp_path / "runs").write_text("a file")
    assert half_removed(tmp_path) == []


def test_the_size_counts_files_and_no_links(root: Path, treasure: Path) -> None:
    (treasure / "big").write_bytes(b"x" * 10_000)
    (root / "link").symlink_to(treasure / "big")
    (root / "links").symlink_to(treasure)
    assert tree_size(root) == 3
    assert tree_size(root / "nowhere") == 0

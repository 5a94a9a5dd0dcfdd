"""A plain directory gets its files replaced as a whole or not at all, with the way back."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import MergeError, UsageError
from engine.repository.base import BaseRecord, prepare_base
from engine.repository.branch import ChangedFile, obstacles
from engine.repository.plain import replace_files, undo
from engine.run.rundir import RunDir
from tests.engine.repository.repos import (
    Killed,
    changed_file,
    dying,
    fingerprint,
    make_repository,
    make_run,
    write_files,
)

FILES: dict[str, str | bytes] = {"a.txt": "a", "old/b.txt": "b", "old/c.txt": "c", "keep.txt": "k"}
DELETED = ("old/b.txt", "old/c.txt")


def prepared(tmp_path: Path) -> tuple[Path, RunDir, BaseRecord]:
    place, run = tmp_path / "todo", make_run(tmp_path)
    write_files(place, FILES | {".env": "SECRET=1"})
    (place / "a.txt").chmod(0o600)
    return place, run, prepare_base(place, "", run)


def result(tmp_path: Path) -> list[ChangedFile]:
    folder = tmp_path / "result"
    return [changed_file(folder, "a.txt", "a2", 0o755), changed_file(folder, "new/x/d.txt", "d")]


def contents(place: Path) -> dict[str, str]:
    return {p.relative_to(place).as_posix(): p.read_text() for p in place.rglob("*") if p.is_file()}


AFTER = {".env": "SECRET=1", "a.txt": "a2", "new/x/d.txt": "d", "keep.txt": "k"}


def without_times_of_directories(place: Path) -> dict[str, tuple[object, ...]]:
    found = fingerprint(place)
    return {n: (v if (place / n).is_file() else (v[0],)) for n, v in found.items()}


def test_files_are_replaced_and_given_back(tmp_path: Path) -> None:
    place, run, base = prepared(tmp_path)
    before = without_times_of_directories(place)
    replace_files(run, base, result(tmp_path), DELETED)
    assert contents(place) == AFTER
    assert (place / "a.txt").stat().st_mode & 0o777 == 0o700
    replace_files(run, base, result(tmp_path), DELETED)
    assert undo(run) == ("a.txt", "new/x/d.txt", "old/b.txt", "old/c.txt")
    assert without_times_of_directories(place) == before
    with pytest.raises(UsageError, match="was undone already"):
        undo(run)


def test_a_later_delivery_starts_from_the_base_again(tmp_path: Path) -> None:
    place, run, base = prepared(tmp_path)
    before = without_times_of_directories(place)
    replace_files(run, base, result(tmp_path), DELETED)
    repaired = [changed_file(tmp_path / "repair", "keep.txt", "k2")]
    replace_files(run, base, [*result(tmp_path)[:1], *repaired], ("old/b.txt",))
    assert contents(place) == {
        ".env": "SECRET=1",
        "a.txt": "a2",
        "old/c.txt": "c",
        "keep.txt": "k2",
    }
    undo(run)
    assert without_times_of_directories(place) == before
    replace_files(run, base, result(tmp_path), DELETED)
    assert contents(place) == AFTER


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("edited", "these were changed meanwhile: a.txt. Nothing was touched"),
        ("removed", "these were changed meanwhile: old/b.txt"),
        ("linked", "these were changed meanwhile: a.txt"),
        ("secret", ".env cannot be written in .*: it is there, and was left out"),
        ("in the way", "new/x/d.txt cannot be written in .*: 'new' is no directory"),
        ("link in the way", "new/x/d.txt cannot be written in .*: 'new/x' is no directory"),
        ("made meanwhile", "new/x/d.txt cannot be written in .*: it is there"),
        ("directory", "old cannot be written in .*: it is a directory, with 'old/mine.txt'"),
        ("case", "could not be changed, and is as it was: 'new' differs only in case"),
        ("outside", "../x cannot be written"),
        ("damaged", "a.txt cannot be committed: .* is not as it was handed in"),
    ],
)
def test_nothing_is_touched_where_one_file_is_not_as_it_was(
    change: str, why: str, tmp_path: Path
) -> None:
    place, run, base = prepared(tmp_path)
    files = result(tmp_path)
    if change == "edited":
        (place / "a.txt").write_text("mine")
    elif change == "removed":
        (place / "old/b.txt").unlink()
    elif change == "linked":
        (place / "a.txt").rename(place / "b.txt")
        (place / "a.txt").symlink_to("b.txt")
    elif change == "secret":
        files.append(changed_file(tmp_path / "result", ".env", "X=2"))
    elif change == "in the way":
        (place / "new").write_text("mine")
    elif change == "link in the way":
        (place / "new").mkdir()
        (place / "new/x").symlink_to(tmp_path)
    elif change == "made meanwhile":
        write_files(place, {"new/x/d.txt": "mine"})
    elif change == "directory":
        (place / "old/mine.txt").write_text("mine")
        files.append(changed_file(tmp_path / "other", "old", "now a file"))
    elif change == "case":
        (place / "NEW").mkdir()
    elif change == "outside":
        files[0] = replace(files[0], path="../x")
    elif change == "damaged":
        files[0].source.write_text("xx")
    before = without_times_of_directories(place)
    with pytest.raises(MergeError, match=re.compile(why)):
        replace_files(run, base, files, DELETED)
    assert without_times_of_directories(place) == before


def test_what_was_left_out_is_told_beforehand(tmp_path: Path) -> None:
    place = prepared(tmp_path)[0]
    (place / "link").symlink_to(tmp_path)
    base = prepare_base(place, "", make_run(tmp_path, "run-2"))
    found = obstacles(base, ["a.txt", ".env", "link/x", "new.txt", "A.txt"])
    assert {*found} == {".env", "link/x", "A.txt"}


def test_a_directory_becomes_a_file_and_a_file_a_directory(tmp_path: Path) -> None:
    place, run, base = prepared(tmp_path)
    before = without_times_of_directories(place)
    folder = tmp_path / "result"
    files = [changed_file(folder, "old", "o"), changed_file(folder, "a.txt/x", "x")]
    replace_files(run, base, files, ("a.txt", *DELETED))
    assert contents(place) == {".env": "SECRET=1", "keep.txt": "k", "old": "o", "a.txt/x": "x"}
    undo(run)
    assert without_times_of_directories(place) == before


def test_what_was_changed_since_is_not_given_back_over_it(tmp_path: Path) -> None:
    place, run, base = prepared(tmp_path)
    replace_files(run, base, result(tmp_path), DELETED)
    write_files(place, {"new/x/d.txt": "better", "keep.txt": "not of the run"})
    before = fingerprint(place)
    with pytest.raises(MergeError, match=r"these were changed meanwhile: new/x/d\.txt"):
        undo(run)
    assert fingerprint(place) == before
    (place / "new/x/d.txt").write_text("d")
    undo(run)
    assert contents(place)["keep.txt"] == "not of the run"


def die_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """Nothing that changes the disk works any more, as for a process that was killed."""
    left = iter(range(steps))
    for name in ("replace", "unlink", "rmdir", "mkdir", "utime"):
        patch.setattr(os, name, dying(getattr(os, name), left))


@pytest.mark.parametrize("verb", ["replace", "undo"])
def test_killed_at_any_step_it_is_settled_by_the_next_call(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, run, base = prepared(tmp_path)
    before, files = without_times_of_directories(place), result(tmp_path)
    steps, killed = 0, True
    while killed:
        if verb == "undo":
            replace_files(run, base, files, DELETED)
        with monkeypatch.context() as patch:
            die_after(steps, patch)
            try:
                undo(run) if verb == "undo" else replace_files(run, base, files, DELETED)
                killed = False
            except Killed:
                steps += 1
        if verb == "replace":
            replace_files(run, base, files, DELETED)
            assert contents(place) == AFTER
        if verb == "replace" or killed:
            undo(run)
        assert without_times_of_directories(place) == before
    assert steps > 10


def test_an_error_of_the_disk_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, run, base = prepared(tmp_path)
    before = without_times_of_directories(place)
    real = os.fsync

    def full(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("todo/new/x/d.txt"):
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MergeError, match="is as it was: No space left"):
        replace_files(run, base, result(tmp_path), DELETED)
    assert without_times_of_directories(place) == before
    with pytest.raises(UsageError, match="has replaced nothing"):
        undo(run)


def test_a_run_without_a_plain_directory_has_nothing_to_undo(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="replaced no files"):
        undo(make_run(tmp_path))
    repo, run = make_repository(tmp_path / "repo"), make_run(tmp_path, "run-2")
    prepare_base(repo, "", run)
    with pytest.raises(UsageError, match="branch -D orchestrator/run-2"):
        undo(run)
    (tmp_path / "plain").mkdir()
    run = make_run(tmp_path, "run-3")
    prepare_base(tmp_path / "plain", "", run)
    with pytest.raises(UsageError, match="has replaced nothing"):
        undo(run)

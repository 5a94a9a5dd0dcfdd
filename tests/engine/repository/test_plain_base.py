"""A directory that is in no repository is read as one commit in a repository of the run's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import UsageError
from engine.repository.base import prepare_base
from engine.repository.find import find_base
from tests.engine.repository.repos import fingerprint, git, make_repository, make_run, write_files


def test_its_usable_files_are_the_base(tmp_path: Path) -> None:
    place, run = tmp_path / "todo", make_run(tmp_path)
    write_files(place, {"todo.py": "1", "web/index.html": b"\xff", "x.log": "", ".env": "KEY=1"})
    write_files(
        place, {".gitignore": "*.log\n", "node_modules/a/index.js": "", "__pycache__/a": ""}
    )
    (place / "todo.py").chmod(0o755)
    (place / "out").symlink_to("/etc")
    make_repository(place / "vendored")
    before = fingerprint(place)
    record = prepare_base(place, "", run)
    modes = {entry.path: entry.mode for entry in record.manifest.entries}
    assert modes == {".gitignore": 0o644, "todo.py": 0o755, "web/index.html": 0o644}
    assert (run.base / "web/index.html").read_bytes() == b"\xff"
    assert {entry.path: entry.why for entry in record.left_out} == {
        ".env": "looks like a secret",
        "out": "a symbolic link",
        "vendored/": "a git repository of its own",
    }
    assert (record.is_plain, record.prefix, record.branch) == (True, "", "")
    assert (record.git_dir, record.directory) == (str(run.repository), str(place))
    assert record.uncommitted == ()
    assert fingerprint(place) == before
    assert git(run.repository, "ls-tree", "-r", "--name-only", record.commit).split() == [*modes]
    assert git(run.repository, "fsck", "--strict") == ""


def test_the_same_directory_gives_the_same_commit(tmp_path: Path) -> None:
    write_files(tmp_path / "todo", {"todo.py": "1"})
    one, two = (prepare_base(tmp_path / "todo", "", make_run(tmp_path, n)) for n in "12")
    assert one.commit == two.commit


def test_an_empty_directory_has_an_empty_base(tmp_path: Path) -> None:
    (tmp_path / "todo").mkdir()
    assert prepare_base(tmp_path / "todo", "", make_run(tmp_path)).manifest.paths == ()


@pytest.mark.parametrize("ignored", [True, False])
def test_a_folder_that_its_repository_does_not_have_is_a_plain_one(
    ignored: bool, tmp_path: Path
) -> None:
    repo = make_repository(tmp_path / "repo", {".gitignore": "/outputs/\n" if ignored else ""})
    write_files(repo, {"outputs/todo/todo.py": "1"})
    record = prepare_base(repo / "outputs/todo", "", make_run(tmp_path))
    assert (record.is_plain, record.manifest.paths) == (True, ("todo.py",))


def test_a_folder_that_is_staged_is_not_overwritten(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    write_files(repo, {"new/todo.py": "1"})
    git(repo, "add", "new")
    with pytest.raises(UsageError, match=r"is not in the commit .* Commit it first"):
        find_base(repo / "new")


def test_a_plain_directory_has_no_commits_to_choose_from(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'v1' cannot be used: .* is in no git repository"):
        find_base(tmp_path, "v1")


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_files(tmp_path / "todo", {"a.py": "1"})
    os.mkfifo(tmp_path / "todo" / "pipe")
    record = prepare_base(tmp_path / "todo", "", make_run(tmp_path))
    assert record.manifest.paths == ("a.py",)

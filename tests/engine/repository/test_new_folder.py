"""A folder that the commit has none of: made by the branch, unless it is ignored or holds files."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import TargetRefused, UsageError
from engine.repository.base import prepare_base
from engine.repository.branch import commit_steps, fast_forward, how_to_take
from engine.repository.find import find_base
from tests.engine.repository.repos import (
    fingerprint,
    git,
    make_repository,
    make_run,
    make_step,
    write_files,
)

BRANCH = "orchestrator/run-1"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    files = {".gitignore": "ignored/\n*.log/\n", "a.txt": "a", "src/b.txt": "b"}
    return make_repository(tmp_path / "repo", files)


@pytest.mark.parametrize("folder", ["new", "src/deep/new", "-x", "a b"])
@pytest.mark.parametrize("is_there", [False, True], ids=["absent", "empty"])
def test_the_branch_makes_it(folder: str, is_there: bool, repo: Path, tmp_path: Path) -> None:
    into, run = repo / folder, make_run(tmp_path)
    if is_there:
        (into / "empty").mkdir(parents=True)
    before = fingerprint(repo)
    base = prepare_base(into, "", run)
    assert (base.is_plain, base.is_empty, base.prefix) == (False, True, f"{folder}/")
    assert prepare_base(into, "", run) == base
    commit_steps(run, base, [make_step(tmp_path / "s", {"app/c.txt": "c"})])
    assert git(repo, "diff", "--name-only", "-z", "main", BRANCH) == f"{folder}/app/c.txt\0"
    assert fingerprint(repo) == before
    place = into if is_there else into.parent if folder != "src/deep/new" else repo / "src"
    assert f" merge --ff-only {BRANCH}" in (take := how_to_take(base, "run-1"))
    assert str(place) in take
    assert fast_forward(base, run) is None
    assert (into / "app/c.txt").read_text() == "c"
    assert git(repo, "status", "--short") == ""
    assert git(repo, "fsck", "--strict") == ""


@pytest.mark.parametrize("folder", ["ignored", "ignored/below", "debug.log"])
def test_one_that_git_ignores_is_a_plain_one_where_it_is_there(folder: str, repo: Path) -> None:
    with pytest.raises(TargetRefused, match="does not exist"):
        find_base(repo / folder)
    (repo / folder).mkdir(parents=True)
    assert find_base(repo / folder).top is None


def test_one_that_holds_files_is_a_plain_one(repo: Path) -> None:
    write_files(repo, {"new/deep/c.txt": "c"})
    assert find_base(repo / "new").top is None


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("SRC", "'src' is there, which differs only in case"),
        ("Src/new", "'src' is there, which differs only in case"),
        ("aux", "the name has a name reserved on Windows"),
        (":(glob)x", "the name has the character ':'"),
        ("a.txt/new", "is not a directory"),
        ("gone.txt/new", "'gone.txt' is a file there"),
    ],
)
def test_a_place_that_no_commit_can_have_is_refused(folder: str, why: str, repo: Path) -> None:
    write_files(repo, {"gone.txt": ""})
    git(repo, "add", "gone.txt")
    git(repo, "commit", "--quiet", "-m", "more")
    (repo / "gone.txt").unlink()
    with pytest.raises(UsageError, match=why):
        find_base(repo / folder)


def test_another_commit_may_lack_it(repo: Path) -> None:
    write_files(repo, {"new/c.txt": "c"})
    git(repo, "add", "new")
    git(repo, "commit", "--quiet", "-m", "more")
    with pytest.raises(UsageError, match="is not in the commit"):
        find_base(repo / "new", "main~1")


def test_a_submodule_that_is_not_checked_out_is_no_new_folder(repo: Path) -> None:
    tip = git(repo, "rev-parse", "HEAD")
    git(repo, "update-index", "--add", "--cacheinfo", f"160000,{tip},sub/lib")
    git(repo, "commit", "--quiet", "-m", "more")
    (repo / "sub/lib").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"is a submodule.* submodule update --init -- sub/lib\.$"):
        find_base(repo / "sub/lib")

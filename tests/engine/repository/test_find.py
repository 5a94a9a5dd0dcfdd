"""What cannot be worked on is refused with its cause and a remedy, before anything is written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from core.errors import PreflightFailed, TargetRefused, UsageError
from engine.repository.find import find_base
from tests.engine.repository.repos import (
    commit_files,
    fingerprint,
    git,
    make_repository,
    put_git_on_path,
)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("absent", "does not exist"),
        ("file", "is not a directory"),
        ("unborn", "has no commit yet. Make one.*--allow-empty"),
        ("bare", "is a bare repository"),
        ("inside", "is inside git's own directory"),
        ("work tree elsewhere", "has its work tree elsewhere"),
        ("branch", "has a branch named orchestrator.*git -C .* branch -m orchestrator NAME"),
        ("broken", "cannot be worked on: git rev-parse failed.*git fsck"),
        ("name", "not in UTF-8"),
    ],
)
def test_it_is_refused(made: str, why: str, tmp_path: Path) -> None:
    place = tmp_path / "repo"
    if made == "file":
        place.write_text("")
    elif made == "unborn":
        place.mkdir()
        git(place, "init", "--quiet")
    elif made == "bare":
        git(tmp_path, "init", "--quiet", "--bare", "repo")
    elif made == "name":
        place = Path(os.fsdecode(b"latin-\xe9"))
    elif made != "absent":
        make_repository(place)
    if made == "inside":
        place = place / ".git" / "refs"
    elif made == "work tree elsewhere":
        (tmp_path / "elsewhere").mkdir()
        git(place, "config", "core.worktree", str(tmp_path / "elsewhere"))
    elif made == "branch":
        git(place, "branch", "orchestrator")
    elif made == "broken":
        (place / ".git" / "config").write_text("[core\n")
    with pytest.raises(UsageError, match=why):
        find_base(place)


@pytest.mark.parametrize(
    "ref", ["nothing", "-x", "main..main", "HEAD:a.txt", ":/no such", "a b", "@{9}"]
)
def test_what_names_no_commit_is_refused(ref: str, tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    with pytest.raises(UsageError, match=r"--base .*(is no commit|cannot be used)"):
        find_base(repo, ref)


@pytest.mark.parametrize("ref", ["", "HEAD", "main", "main~0", "v1", ":/files"])
def test_what_names_a_commit_is_found(ref: str, tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    git(repo, "tag", "-a", "-m", "annotated", "v1")
    before = fingerprint(repo)
    assert find_base(repo, ref).commit == git(repo, "rev-parse", "HEAD")
    assert fingerprint(repo) == before


def test_a_repository_of_another_owner_is_refused_unless_it_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, home = make_repository(tmp_path / "repo"), tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    script = 'GIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec "$GIT" "$@"'
    put_git_on_path(tmp_path / "bin", script, monkeypatch)
    remedy = f"git config --global --add safe.directory {repo}"
    with pytest.raises(TargetRefused, match=f"dubious ownership.*{remedy}"):
        find_base(repo)
    (home / ".gitconfig").write_text(f"[safe]\n\tdirectory = {repo}\n")
    assert find_base(repo).top == repo


@pytest.mark.parametrize("told", ["git version 2.20.1", "something else"])
def test_an_old_git_is_refused(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_git_on_path(tmp_path / "bin", f"echo {told}", monkeypatch)
    with pytest.raises(PreflightFailed, match=rf"{told}, and commits need git 2\.34"):
        find_base(tmp_path)


def test_a_missing_git_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}.")
    monkeypatch.chdir(Path(str(shutil.which("git", path=os.defpath))).parent)
    with pytest.raises(PreflightFailed, match="git is not installed"):
        find_base(tmp_path)


def test_a_link_to_a_folder_is_followed_to_where_it_is(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo")
    (tmp_path / "link").symlink_to(repo / "src")
    found = find_base(tmp_path / "link")
    assert (found.prefix, found.top, found.directory) == ("src/", repo, tmp_path / "link")


def test_a_submodule_is_a_repository_of_its_own(tmp_path: Path) -> None:
    inner = make_repository(tmp_path / "inner")
    outer = make_repository(tmp_path / "outer")
    git(outer, "submodule", "--quiet", "add", str(inner), "lib")
    commit_files(outer / "lib", {"new.txt": "n"})
    assert find_base(outer / "lib").commit == git(outer / "lib", "rev-parse", "HEAD")


@pytest.mark.parametrize("has_git", [True, False], ids=["repository", "plain"])
def test_what_takes_no_result_is_refused_beforehand(
    has_git: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_repository(tmp_path / "repo")
    if not has_git:
        shutil.rmtree(place / ".git")
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may do all
    with pytest.raises(TargetRefused, match=rf"repo{'/.git' if has_git else ''} may not be writ"):
        find_base(place)

"""The checked-out branch is fast-forwarded where nothing of the user's is in the way."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from engine.repository.base import BaseRecord, prepare_base
from engine.repository.branch import commit_steps, fast_forward, how_to_undo
from engine.run.rundir import RunDir
from tests.engine.repository.repos import (
    commit_files,
    fingerprint,
    git,
    make_repository,
    make_run,
    make_step,
    put_git_on_path,
    write_files,
)

BRANCH = "orchestrator/run-1"


def prepared(tmp_path: Path, into: str = "") -> tuple[Path, RunDir, BaseRecord]:
    files = {"a.txt": "a", "sub/b.txt": "b", "sub/old/c.txt": "c"}
    repo, run = make_repository(tmp_path / "repo", files), make_run(tmp_path)
    base = prepare_base(repo / into, "", run)
    gone = "old/c.txt" if into else "sub/old/c.txt"
    changed = {"new/d.txt": "d", f"{'' if into else 'sub/'}b.txt": "b2"}
    step = make_step(tmp_path / "s", changed, (gone,))
    commit_steps(run, base, [step])
    return repo, run, base


@pytest.mark.parametrize("into", ["", "sub"])
def test_work_tree_index_and_branch_move_together(into: str, tmp_path: Path) -> None:
    repo, run, base = prepared(tmp_path, into)
    write_files(repo, {"untracked.txt": "u"})
    times = (repo / "a.txt").stat().st_mtime_ns
    assert fast_forward(base, run) is None
    assert git(repo, "rev-parse", "main", "HEAD").split() == [git(repo, "rev-parse", BRANCH)] * 2
    assert git(repo, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert git(repo, "status", "--porcelain") == "?? untracked.txt"
    assert (repo / "sub/b.txt").read_text() == "b2"
    assert not (repo / "sub/old").exists()
    assert (repo / "a.txt").stat().st_mtime_ns == times
    assert git(repo, "log", "-g", "-1", "--format=%gs %gn") == f"merge {BRANCH}: Fast-forward Ada"
    assert fast_forward(base, run) is None
    git(repo, "commit", "--quiet", "--allow-empty", "-m", "more")
    assert fast_forward(base, run) is None
    assert git(repo, "fsck", "--strict") == ""


def test_what_was_applied_goes_by_the_command_that_undo_names(tmp_path: Path) -> None:
    repo, run, base = prepared(tmp_path)
    before = git(repo, "rev-parse", "HEAD"), (repo / "a.txt").read_bytes()
    assert "reset" not in how_to_undo(base, run), "nothing was applied"
    git(repo, "checkout", "--quiet", BRANCH)
    assert "reset" not in how_to_undo(base, run), "the result itself is checked out"
    git(repo, "checkout", "--quiet", "main")
    assert fast_forward(base, run) is None
    subprocess.run(how_to_undo(base, run), shell=True, check=True, capture_output=True)
    assert (git(repo, "rev-parse", "HEAD"), (repo / "a.txt").read_bytes()) == before
    assert git(repo, "branch", "--list", "orchestrator/*") == git(repo, "status", "-s") == ""


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("dirty", "the work tree has uncommitted changes, such as a.txt"),
        ("staged", "the work tree has uncommitted changes, such as a.txt"),
        ("moved", "main has moved since the run began"),
        ("another history", "main has moved since the run began"),
        ("other branch", "other is checked out, not main"),
        ("detached", "no branch is checked out, not main"),
        ("untracked in the way", "Untracked working tree file 'new/d.txt' would be overwritten"),
        ("filter", "new/d.txt passes the filter 'x', which is not run here"),
        ("branch gone", f"there is no branch {BRANCH}"),
    ],
)
def test_what_is_in_the_way_is_told_and_nothing_is_changed(
    made: str, why: str, tmp_path: Path
) -> None:
    repo, run, base = prepared(tmp_path)
    if made in ("dirty", "staged"):
        write_files(repo, {"a.txt": "mine"})
    if made == "staged":
        git(repo, "add", "a.txt")
    elif made == "moved":
        commit_files(repo, {"a.txt": "later"})
    elif made == "another history":
        git(repo, "reset", "--hard", git(repo, "commit-tree", "HEAD^{tree}", "-m", "x"))
    elif made == "other branch":
        git(repo, "checkout", "--quiet", "-b", "other")
    elif made == "detached":
        git(repo, "checkout", "--quiet", "--detach")
    elif made == "untracked in the way":
        write_files(repo, {"new/d.txt": "mine"})
    elif made == "filter":
        write_files(repo / ".git", {"info/attributes": "*.txt filter=x\n"})
    elif made == "branch gone":
        git(repo, "branch", "--quiet", "-D", BRANCH)
    before = fingerprint(repo)
    assert why in (fast_forward(base, run) or "")
    assert fingerprint(repo) == before


def test_a_linked_worktree_moves_alone(tmp_path: Path) -> None:
    repo, run = make_repository(tmp_path / "repo"), make_run(tmp_path)
    linked = tmp_path / "linked"
    git(repo, "worktree", "add", "--quiet", "-b", "other", str(linked))
    base = prepare_base(linked, "", run)
    commit_steps(run, base, [make_step(tmp_path / "s", {"a.txt": "a2"})])
    before = fingerprint(repo / "src") | fingerprint(repo / ".git/refs/heads/main")
    assert fast_forward(base, run) is None
    assert git(linked, "status", "--porcelain") == git(repo, "status", "--porcelain") == ""
    assert (linked / "a.txt").read_text() == "a2"
    assert (repo / "a.txt").read_text() == "a\n"
    assert fingerprint(repo / "src") | fingerprint(repo / ".git/refs/heads/main") == before


def test_files_whose_times_differ_only_are_no_changes(tmp_path: Path) -> None:
    repo, run, base = prepared(tmp_path)
    (repo / "sub/b.txt").touch()
    assert fast_forward(base, run) is None


def test_cut_off_before_the_branch_moved_it_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, run, base = prepared(tmp_path)
    with monkeypatch.context() as patch:
        script = 'case " $* " in *" update-ref "*) exit 137;; esac; exec "$GIT" "$@"'
        put_git_on_path(tmp_path / "bin", script, patch)
        assert "git update-ref failed" in (fast_forward(base, run) or "")
    assert fast_forward(base, run) is None
    assert git(repo, "status", "--porcelain") == ""


def test_ctrl_c_lets_git_end_what_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, run, base = prepared(tmp_path)
    stop = 'case " $* " in *" read-tree -m -u "*) sleep 0.3; kill -INT $PPID; sleep 0.5;; esac'
    with monkeypatch.context() as patch:
        put_git_on_path(tmp_path / "bin", f'{stop}; exec "$GIT" "$@"', patch)
        with pytest.raises(KeyboardInterrupt):
            fast_forward(base, run)
    assert (repo / "sub/b.txt").read_text() == "b2"
    assert not list((repo / ".git").rglob("*.lock"))
    assert fast_forward(base, run) is None
    assert git(repo, "status", "--porcelain") == ""

"""The result is a branch with one commit a step; all else in the repository stays as it is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import GitFailed, MergeError
from engine.repository.base import BaseRecord, prepare_base
from engine.repository.branch import CommitStep, commit_steps, how_to_take, obstacles
from engine.run.rundir import RunDir
from tests.engine.repository.repos import (
    Killed,
    changed_file,
    commit_entries,
    commit_files,
    dying,
    fingerprint,
    git,
    make_repository,
    make_run,
    make_step,
    put_git_on_path,
    write_files,
)

BRANCH = "orchestrator/run-1"


def prepared(tmp_path: Path, files: dict[str, str | bytes] | None = None) -> tuple[Path, RunDir]:
    repo, run = make_repository(tmp_path / "repo", files), make_run(tmp_path)
    prepare_base(repo, "", run)
    return repo, run


def commit(run: RunDir, repo: Path, *steps: CommitStep) -> str:
    return commit_steps(run, prepare_base(repo, "", run), steps)


def listed(repo: Path, ref: str = BRANCH) -> dict[str, str]:
    """Path to mode and content of every entry."""
    found = {}
    for line in git(repo, "ls-tree", "-r", "-z", ref).split("\0")[:-1]:
        mode, kind, oid, path = line.replace("\t", " ", 1).split(" ", 3)
        content = git(repo, "cat-file", "blob", oid) if kind == "blob" else oid
        found[path] = f"{mode} {content}"
    return found


def test_each_step_is_a_commit_and_nothing_else_is_touched(tmp_path: Path) -> None:
    repo, run = prepared(tmp_path, {"a.txt": "a", "sub/b.txt": "b", "sub/c.txt": "c"})
    write_files(repo, {"a.txt": "mine", "untracked": "u"})
    git(repo, "stash")
    write_files(repo, {"a.txt": "mine again", "sub/c.txt": "staged"})
    git(repo, "add", "sub/c.txt")
    before = fingerprint(repo)
    base = prepare_base(repo, "", run)
    trailers = (("Run", "run-1"), ("Task", "one"), ("Model", "claude"), ("Cost", "$0.02"))
    one = replace(
        make_step(tmp_path / "one", {"sub/b.txt": "b2", "new/d.txt": "d"}, ("a.txt",)),
        subject="Add due dates",
        body="Because.\n\n# Not a comment",
        trailers=trailers,
    )
    two = make_step(tmp_path / "two", {"sub/b.txt": "b3"}, title="Two")
    nothing = make_step(tmp_path / "nothing", {"sub/b.txt": "b3"})
    tip = commit_steps(run, base, [one, two, nothing])
    assert fingerprint(repo) == before
    assert git(repo, "rev-parse", BRANCH) == tip
    assert git(repo, "rev-parse", f"{BRANCH}~2") == base.commit
    expected = {"sub/b.txt": "100644 b3", "sub/c.txt": "100644 c", "new/d.txt": "100644 d"}
    assert listed(repo) == expected
    assert git(repo, "log", "-1", "--format=%an <%ae> %cn %at %ct|%B", f"{BRANCH}~1") == (
        "Ada <ada@example.org> Ada 1800000000 1800000000|Add due dates\n\nBecause.\n\n"
        "# Not a comment\n\nRun: run-1\nTask: one\nModel: claude\nCost: $0.02\n"
    )
    told = git(repo, "log", "-1", "--format=%(trailers:key=Task,valueonly)", f"{BRANCH}~1")
    assert told.strip() == "one"
    assert git(repo, "fsck", "--strict", "--no-dangling") == ""


def test_a_subfolder_is_changed_within_the_whole(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"a.txt": "a", "web/app/b.txt": "b"})
    run = make_run(tmp_path)
    prepare_base(repo / "web/app", "", run)
    commit(run, repo / "web/app", make_step(tmp_path / "s", {"a.txt": "new"}, ("b.txt",)))
    assert listed(repo) == {"a.txt": "100644 a", "web/app/a.txt": "100644 new"}


def test_everything_can_be_deleted(tmp_path: Path) -> None:
    repo, run = prepared(tmp_path, {"a.txt": "a", "x/y/z.txt": "z"})
    commit(run, repo, make_step(tmp_path / "s", {}, ("a.txt", "x/y/z.txt")))
    assert listed(repo) == {}


def test_executable_bits_are_those_of_the_result(tmp_path: Path) -> None:
    repo, run = prepared(tmp_path, {"on": "1", "off": "2"})
    git(repo, "update-index", "--chmod=+x", "off")
    git(repo, "commit", "--quiet", "-m", "x")
    run = make_run(tmp_path, "run-2")
    modes = (("on", 0o755), ("off", 0o644))
    files = tuple(changed_file(tmp_path / "s", name, "3", mode) for name, mode in modes)
    step = replace(make_step(tmp_path / "s", {}), files=files)
    commit(run, repo, step)
    assert listed(repo, "orchestrator/run-2") == {"on": "100755 3", "off": "100644 3"}


@pytest.mark.parametrize("kind", ["sha256", "shallow", "worktree", "detached", "alternates"])
def test_every_kind_of_repository_gets_its_branch(kind: str, tmp_path: Path) -> None:
    init = ("--object-format=sha256",) if kind == "sha256" else ()
    repo = make_repository(tmp_path / "origin", {"a.txt": "a"}, *init)
    commit_files(repo, {"b/c.txt": "c"})
    if kind == "shallow":
        git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repo}", "clone")
    elif kind == "alternates":
        git(tmp_path, "clone", "--quiet", "--shared", str(repo), "clone")
    elif kind == "worktree":
        git(repo, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "clone"))
    elif kind == "detached":
        git(repo, "checkout", "--quiet", "--detach")
    repo = tmp_path / "clone" if (tmp_path / "clone").exists() else repo
    before = fingerprint(repo)
    commit(make_run(tmp_path), repo, make_step(tmp_path / "s", {"b/c.txt": "c2", "d": "d"}))
    assert listed(repo) == {"a.txt": "100644 a", "b/c.txt": "100644 c2", "d": "100644 d"}
    assert fingerprint(repo) == before
    assert git(repo, "fsck", "--strict", "--no-dangling") == ""


def two_steps(tmp_path: Path) -> list[CommitStep]:
    return [
        make_step(tmp_path / "one", {"new/b.txt": "b"}, ("a.txt",), "One"),
        make_step(tmp_path / "two", {"src/main.py": "print(2)\n"}, title="Two"),
    ]


def test_ended_at_any_step_it_gives_the_same_when_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, run = prepared(tmp_path)
    steps = two_steps(tmp_path)
    expected = commit(make_run(tmp_path, "run-2"), repo, *steps)
    last, ended = 0, True
    while ended:
        again = RunDir(run.root.with_name(f"again-{last}"))
        shutil.copytree(run.root, again.root)
        with monkeypatch.context() as patch:
            left = iter(range(last))
            for module, name in ((subprocess, "Popen"), (os, "replace")):
                patch.setattr(module, name, dying(getattr(module, name), left))
            try:
                commit(again, repo, *steps)
                ended = False
            except Killed:
                last += 1
        assert commit(again, repo, *steps) == expected
        assert git(repo, "rev-parse", f"orchestrator/{again.run_id}") == expected
    assert last > len(steps) * 2
    assert git(repo, "fsck", "--strict", "--no-dangling") == ""


KILLED = """
import sys
from pathlib import Path
from tests.engine.repository.test_branch import commit, two_steps
from engine.run.rundir import RunDir
place = Path(sys.argv[1])
commit(RunDir(place / "work/runs/run-1"), place / "repo", *two_steps(place))
"""


def test_killed_it_gives_the_same_when_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, run = prepared(tmp_path)
    expected = commit(make_run(tmp_path, "run-2"), repo, *two_steps(tmp_path))
    kill = '"$GIT" "$@"; r=$?; case " $* " in *" update-ref "*) kill -9 $PPID;; esac; exit $r'
    with monkeypatch.context() as patch:
        put_git_on_path(tmp_path / "bin", kill, patch)
        done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)])
    assert done.returncode == -signal.SIGKILL
    assert commit(run, repo, *two_steps(tmp_path)) == expected
    assert git(repo, "fsck", "--strict", "--no-dangling") == ""


def test_a_later_session_moves_the_branch_that_its_run_made(tmp_path: Path) -> None:
    repo, run = prepared(tmp_path)
    one, two = two_steps(tmp_path)
    first = commit(run, repo, one)
    git(repo, "config", "user.name", "Somebody Else")
    second = commit(run, repo, one, two)
    assert git(repo, "rev-parse", BRANCH, f"{BRANCH}~1").split() == [second, first]
    other = commit(run, repo, make_step(tmp_path / "other", {"c.txt": "c"}))
    assert git(repo, "rev-parse", BRANCH) == other


def test_a_branch_that_somebody_moved_is_left_alone(tmp_path: Path) -> None:
    repo, run = prepared(tmp_path)
    one, two = two_steps(tmp_path)
    commit(run, repo, one)
    git(repo, "checkout", "--quiet", BRANCH)
    theirs = commit_files(repo, {"mine.txt": "m"})
    git(repo, "checkout", "--quiet", "main")
    with pytest.raises(MergeError, match=r"was moved to .* by somebody else.*git branch -m"):
        commit(run, repo, one, two)
    assert git(repo, "rev-parse", BRANCH) == theirs


def test_a_branch_that_is_checked_out_does_not_move(tmp_path: Path) -> None:
    repo, run = prepared(tmp_path)
    one, two = two_steps(tmp_path)
    first = commit(run, repo, one)
    git(repo, "checkout", "--quiet", BRANCH)
    assert commit(run, repo, one) == first
    with pytest.raises(MergeError, match="is checked out in"):
        commit(run, repo, one, two)


def test_a_branch_in_the_way_is_told_with_its_remedy(tmp_path: Path) -> None:
    repo, run = prepared(tmp_path)
    git(repo, "branch", "orchestrator")
    with pytest.raises(GitFailed, match=r"git branch -m orchestrator NAME"):
        commit(run, repo, *two_steps(tmp_path))


def test_a_base_that_has_moved_keeps_its_branch(tmp_path: Path) -> None:
    repo, run = prepared(tmp_path)
    base = prepare_base(repo, "", run)
    assert how_to_take(base, "run-1") == f"git -C {repo} merge --ff-only {BRANCH}"
    commit_files(repo, {"a.txt": "later"})
    commit(run, repo, two_steps(tmp_path)[1])
    assert git(repo, "rev-parse", f"{BRANCH}~1") == base.commit
    assert how_to_take(base, "run-1") == f"git -C {repo} rebase main {BRANCH}"
    for command in (f"rebase -q main {BRANCH}", "checkout -q main", f"merge -q {BRANCH}"):
        git(repo, *command.split())
    assert (repo / "a.txt").read_text() == "later"
    assert how_to_take(base, "run-1") == ""  # it is taken


def test_a_result_that_is_not_as_handed_in_is_refused(tmp_path: Path) -> None:
    repo, run = prepared(tmp_path)
    step = make_step(tmp_path / "s", {"b.txt": "b"})
    for change in ("c", "longer", None):
        step.files[0].source.unlink()
        if change is not None:
            step.files[0].source.write_text(change)
        with pytest.raises(MergeError, match=r"^b\.txt cannot be committed: .*b\.txt"):
            commit(run, repo, step)
    step.files[0].source.symlink_to("/etc/hostname")
    with pytest.raises(MergeError, match="cannot be read"):
        commit(run, repo, step)
    assert git(repo, "for-each-ref", "refs/heads/orchestrator") == ""


def entries_left_out(tmp_path: Path) -> tuple[Path, BaseRecord, RunDir]:
    repo, run = make_repository(tmp_path / "repo", {"d/plain.txt": "p"}), make_run(tmp_path)
    tree = git(repo, "rev-parse", "HEAD:d")
    entries = {
        b"a.txt": ("100644", b"a"),
        b"d": ("40000", tree.encode()),
        b"link": ("120000", b"/etc"),
        b"module": ("160000", git(repo, "rev-parse", "HEAD").encode()),
        b".env": ("100644", b"SECRET=1"),
        b"new\nline \xe9": ("100755", b"odd"),
        b".GIT": ("100644", b"7"),
        b"README": ("100644", b"5"),
        b"readme": ("100644", b"6"),
        b"group": ("100664", b"old git"),
    }
    commit_entries(repo, entries)
    return repo, prepare_base(repo, "", run), run


def test_what_is_left_out_keeps_its_place(tmp_path: Path) -> None:
    repo, base, run = entries_left_out(tmp_path)
    step = make_step(tmp_path / "s", {"d/e": "e", "group": "new"}, ("a.txt",))
    tip = commit_steps(run, base, [step])
    before, after = (listed(repo, ref) for ref in (base.commit, tip))
    assert after == {
        **{path: entry for path, entry in before.items() if path != "a.txt"},
        "group": "100644 new",
        "d/e": "100644 e",
    }
    assert "100664 group\0" in git(repo, "cat-file", "tree", f"{tip}^{{tree}}")


@pytest.mark.parametrize(
    ("path", "deleted", "why"),
    [
        ("link", (), "'link' is a symbolic link there"),
        ("link/passwd", (), "'link' is a symbolic link there"),
        ("module", (), "'module' is a submodule there"),
        ("module/x.py", (), "'module' is a submodule there"),
        (".env", (), "'.env' is there, and was left out of the base"),
        ("d", (), "'d' is a directory there"),
        ("a.txt/b", (), "'a.txt' is a file there"),
        ("README", ("readme",), "'readme' is there, and was left out of the base"),
        ("Readme", (), "'readme' is there, which differs only in case"),
        ("D/x", (), "'d' is there, which differs only in case"),
        ("../x", (), "the name has a '..' part"),
        (".git/hooks/post-merge", (), "the name goes into '.git'"),
        ("x", ("link",), "'link' is a symbolic link there"),
    ],
)
def test_what_would_take_its_place_is_refused(
    path: str, deleted: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    repo, base, run = entries_left_out(tmp_path)
    found = obstacles(base, [path], deleted)
    assert why in "".join(found.values())
    step = replace(make_step(tmp_path / "s", {"n.txt": "n"}), deleted=deleted)
    step = replace(step, files=(replace(step.files[0], path=path),))
    with pytest.raises(MergeError, match="cannot be committed"):
        commit_steps(run, base, [step])
    assert git(repo, "for-each-ref", "refs/heads/orchestrator") == ""


def test_a_directory_becomes_a_file_and_a_file_a_directory(tmp_path: Path) -> None:
    repo, run = prepared(tmp_path, {"d/one": "1", "d/e/two": "2", "f": "f"})
    base, deleted = prepare_base(repo, "", run), ("d/one", "d/e/two", "f")
    assert obstacles(base, ("d", "f/g"), deleted) == {}
    commit_steps(run, base, [make_step(tmp_path / "s", {"d": "D"}, deleted[:2])])
    step = make_step(tmp_path / "t", {"f/g": "g"}, ("f",))
    commit_steps(run, base, [make_step(tmp_path / "s", {"d": "D"}, deleted[:2]), step])
    assert listed(repo) == {"d": "100644 D", "f/g": "100644 g"}


def test_two_runs_work_on_one_repository_at_once(tmp_path: Path) -> None:
    repo, run = prepared(tmp_path)
    runs, steps = (run, make_run(tmp_path, "run-2")), two_steps(tmp_path)
    with ThreadPoolExecutor() as pool:
        tips = list(pool.map(lambda run, step: commit(run, repo, step), runs, steps))
    for run, tip in zip(runs, tips, strict=True):
        assert git(repo, "rev-parse", f"orchestrator/{run.run_id}") == tip
    assert "a.txt" not in listed(repo)
    assert "a.txt" in listed(repo, "orchestrator/run-2")
    assert git(repo, "fsck", "--strict", "--no-dangling") == ""


def test_without_a_name_configured_the_program_is_the_author(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    repo, run = prepared(tmp_path)
    git(repo, "config", "--remove-section", "user")
    commit(run, repo, two_steps(tmp_path)[0])
    assert git(repo, "log", "-1", "--format=%an", BRANCH) == "Parallel Task Orchestrator"


def test_a_plain_directory_has_a_history_in_the_run(tmp_path: Path) -> None:
    write_files(tmp_path / "todo", {"a.txt": "a"})
    run = make_run(tmp_path)
    base = prepare_base(tmp_path / "todo", "", run)
    commit_steps(run, base, [make_step(tmp_path / "s", {"b.txt": "b"})])
    assert listed(run.repository) == {"a.txt": "100644 a", "b.txt": "100644 b"}
    assert how_to_take(base, "run-1") == ""

"""What has lost in a conflict is on a branch of its task, until the conflict is settled."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from core.clock import SystemClock
from core.errors import UsageError
from core.events import Conflict
from core.job import JobKey, TaskResult
from core.plan import Contract, Plan, Task
from core.workspace.confined import remove_tree
from engine.delivery.deliver import deliver
from engine.repository import run_branches
from engine.repository.base import prepare_base
from engine.repository.plain import undo
from engine.run.rundir import RunDir, RunFacts, create_run
from engine.run.session import open_session
from tests.engine.repository.repos import Killed, dying, git, make_repository
from tests.fakes.results import hand_in

RUN = "20260101-000000-aaaa"
BRANCH, TWO = f"orchestrator/{RUN}", f"orchestrator/{RUN}-two"
BASE = {"sub/hello.txt": "hello\n", "sub/same.txt": "a\nb\nc\nd\n", "other.txt": "x\n"}
PLAN = Plan(
    title="Greet",
    shared=("hello.txt", "same.txt"),
    contracts=(Contract(path="api.txt", content="v1\n"),),
    tasks=tuple(
        Task(id=name, title=f"Do {name}", instructions="Do it.", owns=("hello.txt", f"{name}.txt"))
        for name in ("one", "two")
    ),
)
ONE = {"hello.txt": "hello from one\n", "same.txt": "A\nb\nc\nd\n", "one.txt": "1\n"}
LOST = {"hello.txt": "hello from two\n", "same.txt": "a\nb\nc\nD\n", "two.txt": "2\n"}
SETTLED = {"two.txt": "2\n"}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repo", BASE)


@pytest.fixture
def run(tmp_path: Path, repo: Path) -> Iterator[RunDir]:
    facts = RunFacts(RUN, "Greet", str(repo / "sub"), 0.0, {"into": str(repo / "sub")}, True)
    run = create_run(tmp_path / "work", facts)
    prepare_base(repo / "sub", "", run)
    yield run
    git(repo, "fsck", "--strict")


def finish(
    run: RunDir, task: str, files: Mapping[str, str], deleted: tuple[str, ...] = ()
) -> TaskResult:
    key = JobKey(RUN, task, 1)
    attempt = run.attempt(key)
    remove_tree(attempt.files)
    return hand_in(attempt, key, files, deleted=deleted)


def deliver_again(
    run: RunDir, second: Mapping[str, str], deleted: tuple[str, ...] = ()
) -> tuple[Conflict, ...]:
    results = {"one": finish(run, "one", ONE), "two": finish(run, "two", second, deleted)}
    with open_session(run.read_facts(), run, [], SystemClock()) as session:
        return deliver(session, PLAN, results).conflicts


def branches(repo: Path) -> dict[str, str]:
    told = git(repo, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads")
    return dict(line.split() for line in told.splitlines())


def test_the_branch_has_all_that_its_task_made_and_git_can_merge_it(
    run: RunDir, repo: Path
) -> None:
    [conflict] = deliver_again(run, LOST)
    assert (conflict.path, conflict.owners) == ("hello.txt", ("one", "two"))
    assert conflict.kept_as == TWO
    contracts = git(repo, "log", "-1", "--format=%H %s", f"{TWO}~1")
    assert contracts == git(repo, "log", "-1", "--format=%H %s", f"{BRANCH}~2")
    assert git(repo, "diff", "--name-only", f"{TWO}~1", TWO).split() == [
        f"sub/{name}" for name in sorted(LOST)
    ]
    form = "--format=%an: %s%n%(trailers:only,unfold)"
    assert git(repo, "log", "-1", form, TWO) == git(repo, "log", "-1", form, BRANCH)
    shown = git(repo, *shlex.split(conflict.look)[1:])
    assert "-hello\n+hello from two" in shown
    assert "same" not in shown
    git(repo, "checkout", "--quiet", BRANCH)
    git(repo, "merge", "--quiet", TWO, check=False)
    assert git(repo, "diff", "--name-only", "--diff-filter=U") == "sub/hello.txt"
    assert (repo / "sub/same.txt").read_text() == "A\nb\nc\nD\n"


def test_what_a_run_cannot_undo_goes_with_the_branches_that_it_names(
    run: RunDir, repo: Path
) -> None:
    deliver_again(run, LOST)
    with pytest.raises(UsageError, match=f"branch -D {BRANCH} {TWO}\\.$") as refused:
        undo(run)
    command = refused.value.remedy.partition(": git ")[2].rstrip(".")
    git(repo, *shlex.split(command))
    assert branches(repo).keys() == {"main"}
    with pytest.raises(UsageError, match=f"branch -D {BRANCH}\\.$"):
        undo(run)


def test_the_same_work_makes_the_same_commits_and_other_work_moves_them(
    run: RunDir, repo: Path
) -> None:
    deliver_again(run, LOST)
    before = branches(repo)
    git(repo, "branch", "-D", TWO)
    deliver_again(run, LOST)
    assert branches(repo) == before
    deliver_again(run, {**LOST, "two.txt": "3\n"})
    assert branches(repo)[TWO] != before[TWO]
    assert git(repo, "show", f"{TWO}:sub/two.txt") == "3"


def test_a_version_without_the_file_is_a_branch_too(run: RunDir, repo: Path) -> None:
    [conflict] = deliver_again(run, SETTLED, deleted=("hello.txt",))
    assert "deleted file" in git(repo, *shlex.split(conflict.look)[1:])


def test_a_branch_of_no_use_any_more_is_removed(run: RunDir, repo: Path) -> None:
    deliver_again(run, LOST)
    assert deliver_again(run, SETTLED) == ()
    assert branches(repo).keys() == {"main", BRANCH}
    assert (repo / ".git/refs/heads/orchestrator").is_dir()


@pytest.mark.parametrize("steps", range(4))
def test_a_delivery_that_was_killed_is_made_up_for(
    steps: int, run: RunDir, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_again(run, LOST)
    moved, left = {**LOST, "two.txt": "3\n"}, iter(range(steps))
    with monkeypatch.context() as patch:
        for name in ("_write", "_update"):
            patch.setattr(run_branches, name, dying(getattr(run_branches, name), left))
        with pytest.raises(Killed):
            deliver_again(run, moved)
    deliver_again(run, moved)
    assert git(repo, "show", f"{TWO}:sub/two.txt") == "3"


@pytest.mark.parametrize("second", [LOST, SETTLED], ids=["still in conflict", "settled"])
@pytest.mark.parametrize("how", ["moved", "a branch below it", "checked out"])
def test_what_somebody_else_has_done_there_stays(
    how: str, second: dict[str, str], run: RunDir, repo: Path
) -> None:
    deliver_again(run, LOST)
    if how == "checked out":
        git(repo, "worktree", "add", "--quiet", str(repo.with_name("tree")), TWO)
    else:
        git(repo, "branch", "-D", TWO)
        git(repo, "branch", TWO if how == "moved" else f"{TWO}/mine", "main")
    before = branches(repo)
    conflicts = deliver_again(run, {**second, "two.txt": "3\n"})
    after = branches(repo)
    assert {name: after[name] for name in before if name != BRANCH} == {
        name: before[name] for name in before if name != BRANCH
    }
    kept = str(run.attempt(JobKey(RUN, "two", 1)).files / "hello.txt")
    assert [(c.kept_as, c.look) for c in conflicts] == ([(kept, "")] if second == LOST else [])

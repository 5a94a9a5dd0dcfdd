"""What several tasks changed at the same place is made one by one more task, or stays named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backends.threading_backend import ThreadingBackend
from config import Settings
from core.bundle import AttemptDir, ModelSettings, build_manifest, read_request
from core.clock import Clock, SystemClock
from core.job import JobKey, TaskResult
from core.plan import Plan, Task
from engine.delivery.change import MERGE_TASK
from engine.delivery.deliver import deliver
from engine.execution import Execution
from engine.money.budget import Budget
from engine.repository.base import prepare_base
from engine.repository.packed_base import PackedBase
from engine.run.run_view import read_run_view
from engine.run.rundir import RunDir, RunFacts, create_run
from engine.run.session import Session, open_session
from engine.verification.merge_conflicts import merge_conflicts
from tests.engine.repository.repos import git, make_repository
from tests.fakes.results import hand_in

RUN = "20260101-000000-aaaa"
PLAN = Plan(
    title="Greet",
    shared=("hello.txt",),
    tasks=tuple(
        Task(id=name, instructions="Do it.", owns=("hello.txt", f"{name}.txt"))
        for name in ("one", "two")
    ),
)
Resolve = Callable[[str], str]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repo", {"hello.txt": "hello\n", "other.txt": "x\n"})


@pytest.fixture
def run(tmp_path: Path, repo: Path) -> RunDir:
    facts = RunFacts(RUN, "Greet", str(repo), 0.0, {"into": str(repo)}, True)
    made = create_run(tmp_path / "work", facts)
    prepare_base(repo, "", made)
    return made


def finish(run: RunDir, task: str) -> TaskResult:
    key = JobKey(RUN, task, 1)
    files = {"hello.txt": f"hello from {task}\n", f"{task}.txt": task}
    return hand_in(run.attempt(key), key, files)


def settle(run: RunDir, resolve: Resolve, tasks: tuple[str, ...] = ("one", "two")) -> list[str]:
    """What the merging task was given, each time; the branch is delivered."""
    given: list[str] = []

    def work(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        request = read_request(attempt)
        assert request.task.id == MERGE_TASK
        assert request.task.owns == ("hello.txt",)
        given.append((attempt.inputs / "hello.txt").read_text())
        hand_in(attempt, request.key, {"hello.txt": resolve(given[-1])})

    results = {task: finish(run, task) for task in tasks}
    with open_session(run.read_facts(), run, [], SystemClock(), replayed=False) as session:
        backend = ThreadingBackend(run.root, work)
        execution = Execution(
            session, backend, ModelSettings(), Settings(), Budget(), given_base(session)
        )
        try:
            assert merge_conflicts(execution.besides(PLAN), PLAN, results) is None
        finally:
            backend.close()
        deliver(session, PLAN, results)
    return given


def given_base(session: Session) -> PackedBase:
    run = session.run
    return PackedBase(run, build_manifest(run.base), session.asked, lambda _: None)


def commits(repo: Path) -> list[str]:
    return git(repo, "log", "--reverse", "--format=%s", f"main..orchestrator/{RUN}").splitlines()


def named_conflicts(run: RunDir) -> list[tuple[str, tuple[str, str]]]:
    """Those of the delivery."""
    delivered = read_run_view(run).delivered
    assert delivered is not None
    return [(conflict.path, conflict.owners) for conflict in delivered.conflicts]


def hello(repo: Path) -> str:
    return git(repo, "show", f"orchestrator/{RUN}:hello.txt")


def test_versions_that_collide_become_one_with_a_commit_of_its_own(run: RunDir, repo: Path) -> None:
    [given] = settle(run, lambda _: "hello from one and two\n")
    assert "<<<<<<< one\nhello from one\n" in given
    assert "=======\nhello from two\n>>>>>>> two\n" in given
    assert hello(repo) == "hello from one and two"
    assert commits(repo) == ["one", "two", "Merge: Greet"]
    assert named_conflicts(run) == []


def test_what_is_left_with_markers_stays_a_named_conflict(run: RunDir, repo: Path) -> None:
    settle(run, lambda given: given)
    assert hello(repo) == "hello from one"
    assert commits(repo) == ["one", "two"]
    assert named_conflicts(run) == [("hello.txt", ("one", "two"))]


def test_nobody_is_asked_where_nothing_collides(run: RunDir, repo: Path) -> None:
    assert settle(run, lambda given: given, tasks=("one",)) == []
    assert hello(repo) == "hello from one"

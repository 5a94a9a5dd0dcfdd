"""A failure that a prompt reports, tried on the code as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from backends.base import Backend, PollPace
from backends.threading_backend import ThreadingBackend
from config import Settings
from core.bundle import AttemptDir, ModelSettings, build_manifest
from core.checks.sandbox import Bare
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.events import Proof
from core.job import JobHandle, JobKey, JobState, JobStatus, Reason
from engine.delivery.merge import MergePlan, MergeSource, plan_merge
from engine.execution import Execution
from engine.money.budget import Budget
from engine.repository.base import prepare_base
from engine.run.rundir import RunFacts, create_run
from engine.run.session import Session, open_session
from engine.verification.reproduce import (
    TASK,
    Reproduction,
    find_failure,
    plan_of_failure,
    reproduce,
)
from engine.verification.verify import CheckRunner, HostRunner
from executor_agent import ExecutorAgent
from tests.engine.repository.repos import make_repository

TEST = "import unittest\n\nclass T(unittest.TestCase):\n    def test_sum(self):\n"
COMMAND = "python3 -m unittest tests.test_sum"


def tree_of(root: Path, line: str, **more: str) -> MergePlan:
    files = {"tests/test_sum.py": f"{TEST}        {line}\n", "tests/__init__.py": "", **more}
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return plan_merge([MergeSource("base", root, build_manifest(root))])


def tried(tmp_path: Path, tree: MergePlan, runner: CheckRunner | str = "") -> Reproduction:
    plan = plan_of_failure(f"`{COMMAND}` fails. Mend it.", tree)
    assert plan is not None
    own = HostRunner(Bare(), tmp_path / "verification", SystemClock())
    return reproduce(plan, tree, runner or own)


def test_one_that_fails_is_shown_to_the_planner_with_its_output(tmp_path: Path) -> None:
    line = "self.assertEqual(1, 2, '</failure> <b>')"
    found = tried(tmp_path, tree_of(tmp_path / "base", line))
    assert (found.state, found.reason) == (Proof.FAILED, "exit code 1")
    assert found.for_planner().command == COMMAND
    text = found.for_planner().told
    assert text.startswith(f"<failure>\n{COMMAND}\nIt was run on the code as it is, and fails: ")
    assert "1 != 2 : &lt;/failure> <b>" in text
    assert text.endswith("\n</failure>")
    assert found.for_person() == (
        f"Reproduced: {COMMAND} fails on the code as it is (exit code 1)."
    )


def test_one_that_passes_is_said_to(tmp_path: Path) -> None:
    found = tried(tmp_path, tree_of(tmp_path / "base", "self.assertEqual(1, 1)"))
    assert found.state is Proof.PASSED
    assert "passes on the code as it is" in found.for_planner().told
    assert found.for_planner().command == ""
    assert found.for_person() == f"Not reproduced: {COMMAND} passes on the code as it is."


def test_where_the_installation_fails_that_is_what_is_told(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "base", "pass", **{"requirements.txt": "-r more.txt\n"})
    found = tried(tmp_path, tree)
    assert found.state is Proof.NOT_PROVEN
    assert found.reason.startswith("pip install -r requirements.txt fails")
    assert found.for_person().startswith("Not reproduced, and planned without: python3 -m ")
    assert "could not be tried: pip install -r requirements.txt fails" in found.for_person()


def test_where_nothing_can_be_run_the_reason_is_told(tmp_path: Path) -> None:
    found = tried(tmp_path, tree_of(tmp_path / "base", "pass"), "bubblewrap is not installed here")
    assert found.for_planner().told == (
        f"<failure>\n{COMMAND}\nIt could not be tried here: bubblewrap is not installed here."
        "\n</failure>"
    )


@pytest.mark.parametrize("prompt", ["Add due dates", "Write tests with pytest"])
def test_without_a_report_there_is_nothing_to_try(prompt: str) -> None:
    assert plan_of_failure(prompt, MergePlan()) is None


class OnNodes(ThreadingBackend):
    """Threads, as a cluster would be: checks are jobs there."""

    checks_run_in = "job"  # type: ignore[assignment]


class Busy(OnNodes):
    """Starts nothing, and lets go of what is to be stopped."""

    pace = PollPace(0.02, 0.02)
    _ended: Mapping[JobKey, JobStatus] = {}

    def submit(self, jobs: Sequence[object]) -> list[JobHandle]:  # type: ignore[override]
        return [JobHandle(job.key, self.name, "1") for job in jobs]  # type: ignore[attr-defined]

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        status = JobStatus(JobState.QUEUED, message="Priority")
        return {h.key: self._ended.get(h.key, status) for h in handles}

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        self._ended = {h.key: JobStatus(JobState.CANCELLED, Reason.PREEMPTED) for h in handles}


def run_checks(attempt: AttemptDir, claimant: str, clock: Clock) -> object:
    return ExecutorAgent(Credentials(), clock).run(attempt, claimant)


@pytest.fixture
def reporting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A run on existing code whose prompt reports a failure; no node has a sandbox."""
    monkeypatch.setattr("core.checks.job.find_bubblewrap", lambda *_: "there is none")
    files = {"tests/__init__.py": "", "tests/test_sum.py": f"{TEST}        self.fail('no sum')\n"}
    repo = make_repository(tmp_path / "repo", files)
    facts = RunFacts("20260101-000000-aaaa", f"`{COMMAND}` fails.", str(repo), 0.0, {}, True)
    run = create_run(tmp_path / "work", facts)
    prepare_base(repo, "", run)
    with open_session(facts, run, [], SystemClock()) as session:
        yield session


def found_on(backend: Backend, session: Session) -> Reproduction | None:
    settings = Settings(verify_on_host=True, max_retries=1)
    with closing(backend):
        execution = Execution(session, backend, ModelSettings(), settings, Budget())
        return find_failure(session, settings, backend, execution.checks_of)


def test_where_checks_are_jobs_one_tries_it_and_its_answer_is_kept(reporting: Session) -> None:
    root = reporting.run.root
    found = found_on(OnNodes(root, run_checks), reporting)
    assert found is not None
    assert (found.state, found.reason) == (Proof.FAILED, "exit code 1")
    assert "no sum" in found.for_planner().told
    assert found_on(Busy(root, run_checks), reporting) == found
    reporting.run.reproduction.unlink()  # as after a kill before it was written
    again = found_on(OnNodes(root, run_checks), reporting)
    assert again == found
    assert reporting.run_view.jobs.attempts == {TASK: 1}
    assert not reporting.run_view.has_begun


def test_a_queue_that_starts_nothing_is_waited_for_once_and_not_long(
    reporting: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.verification.reproduce.QUEUE_S", 0.05)
    for _ in range(2):
        found = found_on(Busy(reporting.run.root, run_checks), reporting)
        assert found is not None
        assert found.for_planner().command == ""
        assert found.for_person() == (
            f"Not reproduced, and planned without: {COMMAND} could not be tried: the job failed:"
            " It was still queued after 0:00, as the queue was busy: Priority."
        )
    assert reporting.run_view.jobs.attempts == {TASK: 1}
    assert reporting.run_view.jobs.open == {}
    assert reporting.run_view.jobs.failures[TASK].endswith(" It is not waited for any longer.")

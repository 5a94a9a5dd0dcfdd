"""Checks as a job: on threads here, which are a backend like any other to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from backends.base import Worker
from backends.threading_backend import ThreadingBackend
from config import Settings
from core.bundle import AttemptDir, Limits, ModelSettings, read_request
from core.checks.job import CHECKS_NAME, ChecksReport
from core.clock import Clock
from core.credentials import Credentials
from core.errors import BackendError
from core.events import CheckEnded, Proof
from core.job import Outcome
from core.plan import Plan
from core.wire import encode
from engine.execution import Execution
from engine.money.budget import Budget
from engine.money.ledger import Ledger
from engine.scheduling.types import RunOutcome, Stop, StopCause
from engine.verification.added_task import AddedTasks
from engine.verification.job_runner import JobRunner
from engine.verification.verify import verify
from executor_agent import ExecutorAgent
from tests.engine.verification.conftest import Project, planned
from tests.fakes.results import hand_in

PLAN = planned("sh run.sh", "exit 3")


def run_checks(attempt: AttemptDir, claimant: str, clock: Clock) -> object:
    return ExecutorAgent(Credentials(), clock).run(attempt, claimant)


def leave(outcome: Outcome, report: ChecksReport | None = None) -> Worker:
    """A worker that runs nothing, and leaves this."""

    def work(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        files = {} if report is None else {CHECKS_NAME: encode(report)}
        hand_in(attempt, read_request(attempt).key, files, outcome, "the disk is full.")

    return work


@contextmanager
def job_runner(project: Project, work: Worker, budget: Budget | None = None) -> Iterator[JobRunner]:
    session = project.session
    backend = ThreadingBackend(session.run.root, work)
    settings = Settings(max_retries=1)
    execution = Execution(session, backend, ModelSettings(), settings, budget or Budget())
    try:
        yield JobRunner(execution.checks_of(PLAN), "here", unprotected=True)
    finally:
        backend.close()


@pytest.fixture(autouse=True)
def without_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.checks.job.find_bubblewrap", lambda *_: "there is none")


def test_what_the_job_saw_is_told_as_if_it_had_run_here(project: Project) -> None:
    with job_runner(project, run_checks, Budget(Ledger(max_tokens=1))) as runner:
        report = verify(project.session, PLAN, project.merged, runner)
    assert [e.command for e in report.failed] == ["exit 3"]
    assert project.states == [Proof.PASSED, Proof.FAILED]
    assert project.verified.sandbox == "no sandbox, as a job of here"


def test_a_pass_that_was_finished_is_not_taken_for_another(project: Project) -> None:
    with job_runner(project, run_checks) as runner:
        for _ in range(2):
            verify(project.session, PLAN, project.merged, runner)
    assert sorted(project.session.run_view.tasks.added) == ["verify-1", "verify-2"]
    assert len(project.states) == 4


FORGED = CheckEnded("check", "true", (), Proof.PASSED)


@pytest.mark.parametrize(
    ("work", "why"),
    [
        (leave(Outcome.DEFECT), "the job failed: the disk is full"),
        (leave(Outcome.OK, ChecksReport(why_not="no bubblewrap")), "no bubblewrap"),
        (leave(Outcome.OK, ChecksReport("no sandbox", ended=(FORGED,))), "not asked for"),
        (leave(Outcome.OK, ChecksReport("no sandbox")), "tells of 0 checks, not of 2"),
    ],
)
def test_what_shows_nothing_is_neither_passed_nor_failed(
    project: Project, work: Worker, why: str
) -> None:
    with job_runner(project, work) as runner:
        report = verify(project.session, PLAN, project.merged, runner)
    assert report.ended == ()
    assert why in project.verified.why_not


def stopped(project: Project, stop: Stop | BackendError) -> JobRunner:
    def schedule(plan: Plan, *_: object) -> RunOutcome:
        if isinstance(stop, BackendError):
            raise stop
        return RunOutcome({}, {}, {}, stop)

    tasks = AddedTasks(project.session, PLAN, ModelSettings(), Limits(), schedule)
    return JobRunner(tasks, "here", unprotected=False)


@pytest.mark.parametrize(
    "stop", [Stop(StopCause.LAUNCH, "no node."), BackendError("no node.", "Wait.")]
)
def test_a_backend_that_runs_no_job_leaves_all_unproven(
    project: Project, stop: Stop | BackendError
) -> None:
    report = verify(project.session, PLAN, project.merged, stopped(project, stop))
    assert report.ended == ()
    assert project.verified.why_not == "the job failed: no node"


@pytest.mark.parametrize(
    "stop", [Stop(StopCause.OUTDATED, "Rebuild the image."), BackendError("no node.", "Wait.")]
)
def test_before_anything_is_planned_such_a_backend_ends_the_run(
    project: Project, stop: Stop | BackendError
) -> None:
    runner = replace(stopped(project, stop), task="reproduce-1")
    with pytest.raises(BackendError, match=stop.message):
        verify(project.session, PLAN, project.merged, runner)


def test_an_interrupted_job_interrupts_the_run(project: Project) -> None:
    runner = stopped(project, Stop(StopCause.INTERRUPTED, "The run was interrupted."))
    with pytest.raises(KeyboardInterrupt):
        verify(project.session, PLAN, project.merged, runner)


def test_a_job_of_checks_has_its_own_time(project: Project) -> None:
    limits: list[Limits] = []

    def note(attempt: AttemptDir, claimant: str, clock: Clock) -> object:
        limits.append(read_request(attempt).limits)
        return run_checks(attempt, claimant, clock)

    with job_runner(project, note) as runner:
        verify(project.session, PLAN, project.merged, runner)
    assert limits[0].timeout_s > Settings().task_timeout

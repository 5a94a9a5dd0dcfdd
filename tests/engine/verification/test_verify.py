"""Verification of a small project, without a sandbox."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.bundle import build_manifest
from core.clock import SystemClock
from core.events import CheckEnded, Event, Proof, Verified
from core.plan import Contract, Criterion, Plan, Setup, Task
from engine.delivery.merge import MergeSource, plan_merge
from engine.run.rundir import RunFacts, create_run
from engine.run.session import Session, open_session
from engine.verification.sandbox import Bare
from engine.verification.verify import verify

RUN = "20260101-000000-aaaa"
FILES = {"app.py": "print('hello')\n", "tests/test_app.py": "", "run.sh": "echo ran\n"}


class Project:
    """A run whose project is to be verified; `verify` returns whether nothing failed."""

    def __init__(self, session: Session, place: Path, events: list[Event]) -> None:
        self.session, self._events, self._source = session, events, place / "source"
        for path, text in FILES.items():
            file = self._source / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def verify(self, *checks: str, criteria: tuple[str, ...] = (), **setup: Any) -> bool:
        plan = planned(*checks, criteria=criteria, **setup)
        return verify(self.session, plan, self.merged, Bare())

    @property
    def merged(self) -> Any:
        return plan_merge([MergeSource("a", self._source, build_manifest(self._source))])

    @property
    def ended(self) -> list[CheckEnded]:
        return [e.data for e in self._events if isinstance(e.data, CheckEnded)]

    @property
    def states(self) -> list[Proof]:
        return [check.state for check in self.ended]

    @property
    def verified(self) -> Verified:
        (found,) = (e.data for e in self._events if isinstance(e.data, Verified))
        return found


def planned(*checks: str, criteria: tuple[str, ...] = (), **setup: Any) -> Plan:
    task = Task(id="a", instructions="Do it.", owns=("app.py",), checks=checks)
    other = Task(id="b", instructions="Do it.", owns=("b.py",), checks=checks[:1])
    shown = tuple(Criterion(text=f"See {c}", served_by=("a",), command=c) for c in criteria)
    contract = Contract(path="c.py", content="")
    return Plan(
        tasks=(task, other), acceptance_criteria=shown, contracts=(contract,), setup=Setup(**setup)
    )


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    events: list[Event] = []
    facts = RunFacts(RUN, "Build it", str(tmp_path / "out"), 0.0, {}, True)
    run = create_run(tmp_path / "work", facts)

    class Sink:
        def emit(self, event: Event) -> None:
            events.append(event)

    with open_session(facts, run, [Sink()], SystemClock()) as session:
        yield Project(session, tmp_path, events)


def test_each_command_runs_once_and_is_told_with_its_tasks(project: Project) -> None:
    assert project.verify("python app.py | grep -q hello", "sh run.sh")
    assert [(c.command, c.tasks, c.state) for c in project.ended] == [
        ("python app.py | grep -q hello", ("a", "b"), Proof.PASSED),
        ("sh run.sh", ("a",), Proof.PASSED),
    ]


def test_a_check_that_fails_is_told_with_the_end_of_what_it_printed(project: Project) -> None:
    assert not project.verify("seq 1 9000; exit 3", "true")
    failed, passed = project.ended
    assert (failed.state, failed.reason, passed.state) == (
        Proof.FAILED,
        "exit code 3",
        Proof.PASSED,
    )
    assert failed.output.endswith("\n9000")
    assert len(failed.output) <= 2_000


def test_criteria_take_the_result_of_their_command_or_are_not_proven(project: Project) -> None:
    assert not project.verify("true", criteria=("true", "false", ""))
    expected = [Proof.PASSED, Proof.FAILED, Proof.NOT_PROVEN]
    assert [proof.state for proof in project.verified.criteria] == expected
    stored = json.loads(project.session.run.acceptance.read_text())
    assert [proof[3] for proof in stored] == expected
    assert project.states == [Proof.PASSED, Proof.FAILED]  # a command is run once


def test_nothing_is_left_behind_and_sources_stay_as_they_are(project: Project) -> None:
    assert project.verify("echo new > app.py; touch ~/mine; mkdir node_modules")
    run = project.session.run
    assert not run.verification.exists()
    assert (run.root.parent.parent.parent / "source/app.py").read_text() == FILES["app.py"]


def test_a_failed_installation_proves_nothing(project: Project) -> None:
    assert not project.verify("true", install=("touch installed", "false"), network="none")
    assert project.states == [Proof.PASSED, Proof.FAILED, Proof.NOT_PROVEN]
    assert project.ended[-1].reason == "the installation failed: false"


def test_checks_see_what_was_installed(project: Project) -> None:
    assert project.verify("test -e installed", install=("touch installed",))


def test_a_tool_that_is_not_here_leaves_all_unproven(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.defpath + ":/nowhere")
    assert project.verify("go test ./...", tools=("dotnet 9", "Elixir"))
    assert [(c.state, c.reason) for c in project.ended] == [
        (Proof.NOT_PROVEN, "no dotnet and no elixir here")
    ]


def test_a_failure_under_an_older_python_proves_nothing(project: Project) -> None:
    assert project.verify("true", "false", tools=("Python 3.99",))
    assert project.states == [Proof.PASSED, Proof.NOT_PROVEN]
    assert project.ended[1].reason.startswith("python 3.99 is planned, 3.")


def test_commands_see_no_variable_of_the_user(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-planted")
    assert project.verify('test -z "$ANTHROPIC_API_KEY"', "! env | grep -q sk-planted")


def test_why_nothing_was_run_is_told(project: Project) -> None:
    plan = planned("false", criteria=("false",))
    assert verify(project.session, plan, project.merged, "--no-verify")
    assert project.verified.why_not == "--no-verify"
    assert [proof.state for proof in project.verified.criteria] == [Proof.NOT_PROVEN]
    assert project.ended == []

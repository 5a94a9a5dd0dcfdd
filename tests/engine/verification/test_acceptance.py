"""Criteria that no command of the plan shows: what is asked for, and what is made of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from config import Settings
from core.bundle import AttemptDir
from core.check_request import PROGRAMS, CheckRequest
from core.checks.runner import Tell
from core.job import JobKey, ManifestEntry, TaskState
from core.plan import Criterion, Plan, Setup, Task
from engine.delivery.merge import MergedFile, MergePlan
from engine.run.session import Session
from engine.scheduling.types import RunOutcome
from engine.verification.acceptance import TASK, acceptance_task, lacking, with_programs
from engine.verification.added_task import AddedEnd
from engine.verification.prove import prove
from engine.verification.verify import CheckRunner
from tests.engine.verification.conftest import Project
from tests.fakes.results import hand_in

PLAN = Plan(
    tasks=(Task(id="a", instructions="Do it.", owns=("app.py",)),),
    acceptance_criteria=(
        Criterion(text="It adds.", served_by=("a",)),
        Criterion(text="Its tests pass.", served_by=("a",), command="sh run.sh | grep ran"),
        Criterion(text="It lists.", served_by=("a",), command=" "),
    ),
)


def files(*paths: str) -> list[MergedFile]:
    return [MergedFile(path, "x", Path(path), ManifestEntry(path, 0, "", 0o644)) for path in paths]


def commands(plan: Plan) -> list[str]:
    return [criterion.command for criterion in plan.acceptance_criteria]


def test_only_criteria_without_a_command_are_asked_for_by_their_numbers() -> None:
    assert lacking(PLAN) == [1, 3]
    task = acceptance_task(PLAN)
    assert task.instructions.endswith("\n1. It adds.\n3. It lists.")
    assert task.owns == (".acceptance/",)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["1.py", "3.sh"], ["python3 .acceptance/1.py", "sh .acceptance/3.sh"]),
        (["1.js", "help.js"], ["node .acceptance/1.js", " "]),
        (["1.js", "1.py"], ["node .acceptance/1.js", " "]),
        (["2.py", "9.py", "01.py", "more/1.py"], ["", " "]),
    ],
)
def test_a_program_becomes_the_command_of_its_criterion(
    names: list[str], expected: list[str]
) -> None:
    found = with_programs(PLAN, files(*(f".acceptance/{name}" for name in names)))
    assert commands(found.plan) == [expected[0], "sh run.sh | grep ran", expected[1]]


def test_programs_are_beside_the_product_when_it_is_checked_and_only_then() -> None:
    seen: list[Sequence[str]] = []

    class Noting(CheckRunner):
        name = "here"

        def run(self, request: CheckRequest, merged: MergePlan, tell: Tell) -> None:
            seen.append([file.path for file in merged.files])

    merged = MergePlan(tuple(files(".acceptance/1.py", "app.py")))
    runner = with_programs(PLAN, files(".acceptance/1.py")).around(Noting())
    runner.run(CheckRequest(Setup(), ()), merged, lambda _: None)
    assert seen == [["app.py", ".acceptance/1.py"]]
    assert runner.name == "here"
    assert len(merged.files) == 2
    assert len(with_programs(PLAN, []).beside(merged).files) == 2


class Writer:
    """Stands in for the task: its executor leaves `programs`, or fails."""

    def __init__(self, session: Session, place: Path, programs: Mapping[str, str]) -> None:
        self.session, self.plan = session, PLAN
        self._place, self._programs = place, programs
        self.asked: list[tuple[Task, list[str]]] = []

    def run(self, task: Task, merged: MergePlan) -> AddedEnd:
        self.asked.append((task, [file.path for file in merged.files]))
        if not self._programs:
            failed = RunOutcome({TASK: TaskState.FAILED}, {}, {TASK: "it was declined"})
            return AddedEnd(failed)
        attempt = AttemptDir(self._place)
        files = {f"{PROGRAMS}/{name}": text for name, text in self._programs.items()}
        result = hand_in(attempt, JobKey(self.session.run.run_id, TASK, 1), files)
        return AddedEnd(RunOutcome({}, {TASK: 1}, {}), result, attempt)


def proven(
    project: Project, writer: Writer, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> int:
    runner = project.runner()
    monkeypatch.setattr("engine.verification.prove.choose_runner", lambda *_: runner)
    settings = Settings(real=True, repair_rounds=0, **options)
    backend: Any = None
    added: Any = writer
    return prove(added, added, project.merged, settings, backend)[0]


@pytest.mark.parametrize(
    ("programs", "states", "code"),
    [
        ({"1.sh": "test -e app.py", "3.sh": "exit 3"}, ["passed", "failed"], 1),
        ({"1.sh": "exit 0"}, ["not proven", "not proven"], 0),
        ({"1.sh": "grep -q hello app.py"}, ["passed", "not proven"], 0),
        ({}, ["not proven", "not proven"], 0),
    ],
)
def test_criteria_are_judged_by_the_programs(
    project: Project,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    programs: Mapping[str, str],
    states: list[str],
    code: int,
) -> None:
    writer = Writer(project.session, tmp_path / "attempt", programs)
    found = proven(project, writer, monkeypatch)
    assert found == code
    first, planned, last = [str(proof.state) for proof in project.verified.criteria]
    assert (first, planned, last) == (states[0], "passed", states[1])
    [(_, seen)] = writer.asked
    assert seen == ["app.py", "run.sh"], "without the tests"


def test_nothing_is_asked_for_where_it_is_not_wanted(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(project.session, tmp_path / "attempt", {"1.sh": ""})
    proven(project, writer, monkeypatch, no_acceptance=True)
    assert writer.asked == []

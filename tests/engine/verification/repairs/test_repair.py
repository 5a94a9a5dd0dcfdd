"""The loop of repairs, with a stand-in for the task that repairs and for what runs the checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from core.bundle import AttemptDir, build_manifest
from core.checks.runner import FLAKY
from core.events import CheckEnded, Proof, RepairBegun, RepairEnded, Suspect
from core.job import JobKey, TaskState
from core.plan import Contract, Criterion, Plan, Task
from engine.delivery.deliver import deliver_tree
from engine.delivery.merge import MergePlan, MergeSource, plan_merge
from engine.scheduling.types import RunOutcome, Stop, StopCause
from engine.verification.added_task import AddedEnd
from engine.verification.repairs.repair import Proven, Repairs
from engine.verification.repairs.repair_task import plan_repair
from engine.verification.verify import Report, verify
from tests.engine.verification.conftest import Project
from tests.fakes.results import hand_in

STORE, CLI, TEST, TYPES = "app/store.py", "app/cli.py", "tests/test_app.py", "app/types.py"
FILES = {
    STORE: "def add_item(): ...\n",
    CLI: "from app.store import add\nfrom app import types\n",
    TEST: "from app.cli import run\n\n\ndef test_run():\n    assert run() == 1\n",
    TYPES: "X = 1\n",
    "docs/README.md": "",
    "requirements.txt": "",
}
PLAN = Plan(
    tasks=(
        Task(id="store", instructions="i", owns=(STORE,), uses=(TYPES,)),
        Task(id="cli", instructions="i", owns=(CLI, TEST), uses=(TYPES,)),
        Task(id="docs", instructions="i", owns=("docs/", "requirements.txt")),
    ),
    contracts=(Contract(path=TYPES, content=FILES[TYPES]),),
    acceptance_criteria=(Criterion(text="t", served_by=("cli",), command="check app"),),
)
OUTPUT = (
    '  File "/sandbox/project/app/cli.py", line 1, in <module>\n    from app.store import add\n'
    "ImportError: cannot import name 'add' from 'app.store' (/sandbox/project/app/store.py)\n"
)
CHECKS = ("check app", "check cli")
GONE = "deleted"
FIX = {STORE: "def add(): ...\n"}
Answer = Mapping[str, str] | str | Stop


class Bench:
    """Each round the next of `answers`: files that the repair writes, why it failed, or a stop.
    The checks come out as `states` says of a tree."""

    name = "a stand-in"

    def __init__(self, project: Project, place: Path, states: Callable[[Files], str]) -> None:
        self.session, self.events = project.session, project._events
        self.source, self.states, self.answers = place / "first", states, []  # type: ignore[var-annotated]
        write(self.source, FILES)
        self.tasks: list[Task] = []
        self.trees: list[Files] = []
        self.tests = [3, 3, 3, 3]

    def run_checks(self, merged: MergePlan) -> Report:
        return verify(self.session, PLAN, merged, self)  # type: ignore[arg-type]

    def run(self, *given: Any) -> Any:
        """Of the repair's task, and of the checks."""
        return self._run_checks(*given) if len(given) == 3 else self._run_task(*given)

    def _run_checks(
        self, request: object, merged: MergePlan, tell: Callable[[CheckEnded], None]
    ) -> None:
        self.trees.append(Files({f.path: f.source.read_text() for f in merged.files}))
        tests = self.tests[len(self.trees) - 1]
        for command, state in zip(CHECKS, self.states(self.trees[-1]), strict=True):
            proof = {"+": Proof.PASSED, "-": Proof.FAILED}.get(state, Proof.NOT_PROVEN)
            output = OUTPUT if state == "-" else ""
            reason = FLAKY if state == "~" else "exit code 1"
            tell(CheckEnded("check", command, ("cli",), proof, reason, 0.1, output, tests))

    def _run_task(self, task: Task, merged: MergePlan) -> AddedEnd:
        self.tasks.append(task)
        answer: Answer = self.answers[len(self.tasks) - 1]
        if not isinstance(answer, Mapping):
            stop = answer if isinstance(answer, Stop) else None
            told = {} if stop else {task.id: str(answer)}
            return AddedEnd(RunOutcome({task.id: TaskState.FAILED}, {}, told, stop))
        key = JobKey(self.session.run.run_id, task.id, 1)
        attempt: AttemptDir = self.session.run.attempt(key)
        files = {path: text for path, text in answer.items() if text != GONE}
        gone = tuple(path for path, text in answer.items() if text == GONE)
        result = hand_in(attempt, key, files, deleted=gone)
        outcome = RunOutcome({task.id: TaskState.SUCCEEDED}, {task.id: 1}, {})
        return AddedEnd(outcome, result, attempt)

    def repair(
        self, *answers: Answer, rounds: int = 2, meanwhile: Mapping[str, str] = {}
    ) -> Proven:
        self.answers = list(answers)
        merged = plan_merge([MergeSource("all", self.source, build_manifest(self.source))])
        first = deliver_tree(self.session, merged)
        best = Proven(first, self.run_checks(first))
        self.acceptance = self.session.run.acceptance.read_text()
        write(self.target, meanwhile)
        return Repairs(self.session, PLAN, self, self.run_checks).run(best, rounds)  # type: ignore[arg-type]

    @property
    def target(self) -> Path:
        return Path(self.session.facts.target)

    def told(self, kind: type) -> list[Any]:
        return [event.data for event in self.events if isinstance(event.data, kind)]

    @property
    def rejected(self) -> list[str]:
        return [ended.rejected for ended in self.told(RepairEnded)]


class Files(dict[str, str]):
    """A tree, by path."""


def write(root: Path, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def by_store(tree: Files) -> str:
    return "++" if "def add()" in tree[STORE] else "-+"


@pytest.fixture
def bench(project: Project, tmp_path: Path) -> Bench:
    return Bench(project, tmp_path, by_store)


def test_what_passes_is_not_repaired(bench: Bench) -> None:
    bench.states = lambda _: "++"
    bench.repair()
    assert (bench.tasks, bench.told(RepairBegun)) == ([], [])


def test_a_repair_that_helps_is_delivered_and_told(bench: Bench) -> None:
    end = bench.repair(FIX)
    assert (end.report.failed, end.stop) == ((), None)
    assert bench.target.joinpath(STORE).read_text() == FIX[STORE]
    assert bench.target.joinpath(CLI).read_text() == FILES[CLI]
    changed = (Suspect(STORE, "store"),)
    assert bench.told(RepairEnded) == [RepairEnded(1, 2, 2, changed)]
    assert bench.told(RepairBegun)[0].suspects[:2] == (Suspect(STORE, "store"), Suspect(CLI, "cli"))
    view = bench.session.run_view
    assert [check.state for check in view.proof.checks] == [Proof.PASSED, Proof.PASSED]


def test_what_a_repair_deletes_is_told_like_what_it_changes(bench: Bench) -> None:
    bench.repair({**FIX, CLI: GONE})
    assert not bench.target.joinpath(CLI).exists()
    assert bench.told(RepairEnded)[0].changed == (Suspect(STORE, "store"), Suspect(CLI, "cli"))


def test_the_task_has_the_failure_and_may_write_the_suspects(bench: Bench) -> None:
    bench.repair(FIX)
    task = bench.tasks[0]
    assert (task.id, task.checks) == ("repair-1", ("check app",))
    assert task.owns == (STORE, CLI, TYPES, TEST)
    for text in (
        "cannot import name 'add'",
        "check app",
        f"{STORE} (store)",
        f"contracts: {TYPES}.",
    ):
        assert text in task.instructions
    assert "discarded:" not in task.instructions


def test_the_second_round_knows_why_the_first_was_discarded_and_may_write_more(
    bench: Bench,
) -> None:
    end = bench.repair({STORE: "worse"}, FIX)
    assert not end.report.failed
    assert bench.rejected == ["no more checks pass than before", ""]
    assert "discarded: no more checks pass than before" in bench.tasks[1].instructions
    assert [task.id for task in bench.tasks] == ["repair-1", "repair-2"]


def test_no_more_rounds_are_made_than_allowed(bench: Bench) -> None:
    bench.repair({STORE: "worse"}, {STORE: "bad"}, rounds=1)
    assert len(bench.tasks) == 1
    assert bench.repair(rounds=0).report.failed
    assert len(bench.tasks) == 1


@pytest.mark.parametrize(
    ("answer", "states", "why"),
    [
        ({STORE: "def add()"}, "-+", "no more checks pass than before"),
        ({STORE: "def add()"}, "+-", "check cli passed before, and does not now"),
        ({STORE: "def add()"}, "+?", "check cli passed before, and does not now"),
        (FILES, "++", "no file was changed."),
        (
            {TEST: FILES[TEST].replace("== 1", "== 2")},
            "++",
            f"{TEST}: test_run was changed in more",
        ),
        ({**FIX, TEST: GONE}, "++", f"{TEST} holds tests, and may not be removed"),
        ({TEST: GONE}, "++", f"{TEST} holds tests, and may not be removed"),
        ({"conftest.py": "x"}, "++", "conftest.py decides which tests run"),
        ({"APP/x.py": "x", "app": "x"}, "++", "collides with 'app'"),
        ("it gave up", "++", "it gave up"),
    ],
)
def test_what_does_not_help_or_cheats_is_not_kept(
    bench: Bench, answer: Answer, states: str, why: str
) -> None:
    bench.states = lambda tree: "-+" if tree == FILES else states
    end = bench.repair(answer, rounds=1)
    assert bench.rejected[0].startswith(why) or why in bench.rejected[0]
    assert [check.state for check in end.report.ended] == [Proof.FAILED, Proof.PASSED]
    assert {p: bench.target.joinpath(p).read_text() for p in FILES} == FILES
    assert [check.state for check in bench.session.run_view.proof.checks] == [
        Proof.FAILED,
        Proof.PASSED,
    ]
    assert "exit code 1" in bench.acceptance
    assert bench.session.run.acceptance.read_text() == bench.acceptance


def test_fewer_tests_are_no_repair(bench: Bench) -> None:
    bench.tests = [3, 2]
    bench.repair(FIX, rounds=1)
    assert bench.rejected == ["check app ran 3 tests before, and 2 now"]


def test_a_contract_may_change_only_if_everything_passes_then(bench: Bench) -> None:
    bench.states = lambda tree: {FILES[TYPES]: "--", "X = 2\n": "+-"}.get(tree[TYPES], "++")
    end = bench.repair({TYPES: "X = 2\n"}, {TYPES: "X = 3\n", **FIX})
    assert bench.rejected == [
        f"{TYPES} is a contract and was changed, and not every check passes now",
        "",
    ]
    assert Suspect(TYPES, "contracts") in bench.told(RepairEnded)[1].changed
    assert not end.report.failed


def test_a_repair_of_some_checks_is_kept_and_the_next_goes_on_from_there(bench: Bench) -> None:
    bench.states = lambda tree: (
        ("+" if tree[STORE] != FILES[STORE] else "-") + ("+" if tree[CLI] != FILES[CLI] else "-")
    )
    end = bench.repair(FIX, {CLI: "mended"})
    assert bench.trees[-1] == FILES | FIX | {CLI: "mended"}
    assert (bench.rejected, end.report.failed) == (["", ""], ())


def test_what_a_person_changed_meanwhile_is_not_overwritten(bench: Bench) -> None:
    end = bench.repair(FIX, rounds=1, meanwhile={"docs/README.md": "mine"})
    assert end.report.failed
    assert bench.target.joinpath("docs/README.md").read_text() == "mine"
    assert bench.target.joinpath(STORE).read_text() == FILES[STORE]
    assert "was changed after its delivery" in bench.rejected[0]


def test_without_room_in_the_budget_that_is_said(bench: Bench) -> None:
    stop = Stop(StopCause.BUDGET, "The budget does not allow more.", "--max-cost 3")
    end = bench.repair(stop, FIX)
    assert end.stop == stop
    assert len(bench.tasks) == 1
    assert bench.rejected == ["none was tried, for want of budget. The budget does not allow more."]


def test_a_second_round_may_write_all_that_the_suspects_tasks_own(bench: Bench) -> None:
    failed = [CheckEnded("check", "c", ("docs",), Proof.FAILED, output="docs/README.md:1: bad")]
    merged = plan_merge([MergeSource("all", bench.source, build_manifest(bench.source))])
    owns = [plan_repair(number, failed, PLAN, merged, "").task.owns for number in (1, 2)]
    assert owns[0][0] == "docs/README.md"
    assert "docs/" in owns[1]


def test_manifests_may_be_written_where_a_dependency_lacks(bench: Bench) -> None:
    output = (
        "  File \"/sandbox/project/app/cli.py\", line 1\nModuleNotFoundError: No module named 'x'\n"
    )
    failed = [CheckEnded("check", "c", ("cli",), Proof.FAILED, output=output)]
    merged = plan_merge([MergeSource("all", bench.source, build_manifest(bench.source))])
    assert "requirements.txt" in plan_repair(1, failed, PLAN, merged, "").task.owns


def test_what_failed_may_not_be_made_to_prove_nothing(bench: Bench) -> None:
    bench.states = lambda tree: "+?" if "def add()" in tree[STORE] else "--"
    end = bench.repair(FIX, rounds=1)
    assert len(end.report.failed) == 2
    assert bench.rejected == ["check cli failed before, and proves nothing now: exit code 1"]


def test_a_flaky_check_holds_no_repair_of_the_others_back(bench: Bench) -> None:
    bench.states = lambda tree: "+~" if "def add()" in tree[STORE] else "--"
    end = bench.repair(FIX)
    assert bench.rejected == [""]
    assert [check.state for check in end.report.ended] == [Proof.PASSED, Proof.NOT_PROVEN]

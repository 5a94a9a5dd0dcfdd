"""What a failing check counts for, by how it ended in the existing code."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.check_request import CheckRequest
from core.checks.runner import Tell
from core.events import EXISTING, CheckBegun, CheckEnded, Proof
from core.job import ManifestEntry
from core.plan import Criterion, Plan, Task
from engine.delivery.merge import MergedFile, MergePlan
from engine.verification.baseline import FAILED_BEFORE, Baseline, failing

PYTEST = "=== short test summary info ===\nFAILED {} - assert 1 == 2\n1 failed, 2 passed in 0.1s\n"


def ended(state: Proof, output: str = "", tests: int = 3) -> CheckEnded:
    reason = "exit code 1" if state is Proof.FAILED else ""
    return CheckEnded("check", "pytest", ("a",), state, reason, 0.1, output, tests)


def judged(
    now: CheckEnded, before: CheckEnded | None, *, wanted: bool = False, tree: bool = True
) -> tuple[CheckEnded, int]:
    """How the check is told, and how often the base was asked."""
    asked: list[CheckRequest] = []

    def run(request: CheckRequest, merged: MergePlan, tell: Tell) -> None:
        asked.append(request)
        tell(CheckBegun("pytest", 1, 1))
        if before is not None:
            tell(before)

    criteria = (Criterion(text="It works.", served_by=("a",), command="pytest"),)
    plan = Plan(
        tasks=(Task(id="a", instructions="x", owns=("a.py",)),),
        acceptance_criteria=criteria if wanted else (),
    )
    entry = ManifestEntry("a.py", 0, "", 0o644)
    base = (MergedFile("a.py", EXISTING, Path("a.py"), entry),) if tree else ()
    told: list[CheckBegun | CheckEnded] = []
    judge = Baseline(MergePlan(base)).judge(run, plan, told.append)
    judge.tell(now)
    judge.end()
    [end] = told
    assert isinstance(end, CheckEnded)
    return end, len(asked)


FAILED = ended(Proof.FAILED, PYTEST.format("tests/test_a.py::test_x"))


def test_what_passes_needs_no_base() -> None:
    assert judged(ended(Proof.PASSED), None) == (ended(Proof.PASSED), 0)


def test_a_new_project_has_none() -> None:
    assert judged(FAILED, FAILED, tree=False) == (FAILED, 0)


def test_what_failed_before_proves_nothing() -> None:
    end, asked = judged(FAILED, FAILED)
    assert (end.state, end.reason, asked) == (Proof.NOT_PROVEN, FAILED_BEFORE, 1)


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (ended(Proof.PASSED), "exit code 1; it passed before this change"),
        (
            ended(Proof.FAILED, PYTEST.format("tests/test_b.py::test_y")),
            "did not fail before: tests/test_a.py::test_x",
        ),
        (ended(Proof.FAILED, FAILED.output, tests=5), "exit code 1"),
        (ended(Proof.NOT_PROVEN), "exit code 1"),
        (None, "exit code 1"),
    ],
    ids=["passed", "another test", "fewer tests", "not proven", "not run"],
)
def test_what_is_worse_than_before_stays_failed(before: CheckEnded | None, reason: str) -> None:
    end, _ = judged(FAILED, before)
    assert (end.state, end.reason) == (Proof.FAILED, reason)


def test_a_criterion_has_to_pass_whatever_was_before() -> None:
    end, _ = judged(FAILED, FAILED, wanted=True)
    assert end.state is Proof.FAILED


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ("ERROR tests/test_a.py - ImportError\n", {"tests/test_a.py"}),
        ("FAIL: test_x (tests.test_a.A.test_x)\n", {"test_x (tests.test_a.A.test_x)"}),
        ("--- FAIL: TestX (0.00s)\n", {"TestX"}),
        ("not ok 2 - adds up\n", {"adds up"}),
        ("  \u2715 adds up (3 ms)\n", {"adds up"}),
        ("ok 1 - adds up\n3 passed\n", set()),
    ],
)
def test_runners_name_what_fails(output: str, names: set[str]) -> None:
    assert failing(output) == names

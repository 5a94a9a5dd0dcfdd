"""A failure that a prompt reports, tried on the code as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle import build_manifest
from core.checks.sandbox import Bare
from core.clock import SystemClock
from core.events import Proof
from engine.delivery.merge import MergePlan, MergeSource, plan_merge
from engine.verification.reproduce import Reproduction, plan_of_failure, reproduce
from engine.verification.verify import CheckRunner, HostRunner

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
    tree = tree_of(tmp_path / "base", "pass", **{"setup.py": "raise SystemExit('no luck')\n"})
    found = tried(tmp_path, tree)
    assert found.state is Proof.NOT_PROVEN
    assert found.reason.startswith("pip install -e . fails")
    assert "could not be tried: pip install -e . fails" in found.for_person()


def test_where_nothing_can_be_run_the_reason_is_told(tmp_path: Path) -> None:
    found = tried(tmp_path, tree_of(tmp_path / "base", "pass"), "bubblewrap is not installed here")
    assert found.for_planner().told == (
        f"<failure>\n{COMMAND}\nIt could not be tried here: bubblewrap is not installed here."
        "\n</failure>"
    )


@pytest.mark.parametrize("prompt", ["Add due dates", "Write tests with pytest"])
def test_without_a_report_there_is_nothing_to_try(prompt: str) -> None:
    assert plan_of_failure(prompt, MergePlan()) is None

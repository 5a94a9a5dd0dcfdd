"""Projects with a mistake that only checks show: each is repaired, or told as what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from claude.simulation.mistakes.places import tree_of
from claude.simulation.sample_projects import load_sample

pytestmark = pytest.mark.slow
WORDS, TODO = "a script that counts words", "a todo app"
ALL_TESTS = (sys.executable, "-m", "unittest", "discover", "-s", "tests", "-t", ".")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHESTRATOR_VERIFY")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")


def orchestrate(prompt: str, faults: str, *more: str) -> int:
    args = (prompt, "--output-dir", "out", "--sim-speed", "0", "--sim-faults", faults, *more)
    return orchestrator.main(list(args))


def delivered_passes() -> bool:
    return subprocess.run(ALL_TESTS, cwd="out", capture_output=True, check=False).returncode == 0


def proven() -> list[str]:
    """The commands of the criteria that are told as proven."""
    (acceptance,) = Path(".orchestrator/runs").glob("*/acceptance.json")
    criteria = json.loads(acceptance.read_text())["criteria"]
    return [row["command"] for row in criteria if row["state"] == "passed"]


@pytest.mark.parametrize(
    ("prompt", "faults", "lines"),
    [
        (WORDS, "broken_code=1", ["repaired  round 1: word_count.py (task build); "]),
        (WORDS, "missing_dependency=1", ["repaired  round 1: word_count.py (task build); "]),
        (
            WORDS,
            "broken_code=1,cheat=1",
            ["round 1 was not kept: tests/test_word_count.py", "repaired  round 2: word_count.py"],
        ),
        (TODO, "mismatch=1", ["repaired  round 1: todo_app/pages.py (task pages); 15 of 15 "]),
        (TODO, "bad_contract=1", ["repaired  round 1: todo_app/contract.py (a contract), "]),
    ],
)
def test_a_mistake_is_found_traced_and_repaired(
    prompt: str, faults: str, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrate(prompt, faults) == 0
    told = capsys.readouterr().out
    assert [line for line in lines if line not in told] == []
    assert "  failed  " not in told
    assert delivered_passes()
    sample = load_sample("word_count" if prompt == WORDS else "todo")
    tests = {path: text for path, text in tree_of(sample).items() if path.startswith("tests/")}
    if faults != "mismatch=1":  # there a task's own tests have the other name, too
        assert {path: Path("out", path).read_text() for path in tests} == tests


@pytest.mark.parametrize(
    ("faults", "criteria"),
    [("broken_code=1", "1 of 2 passed, 1 failed"), ("missing_dependency=1", "0 of 2 passed, 2 ")],
)
def test_what_is_not_repaired_is_delivered_as_failed(
    faults: str, criteria: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrate(WORDS, faults, "--repair-rounds", "0", "--parallel", "always") == 1
    told = capsys.readouterr().out
    assert "finished with problems" in told
    assert "  failed    exit code 1: python3 -m unittest discover" in told
    assert f"  criteria  {criteria}" in told
    assert f"  criteria  {len(proven())} of 2 passed" in told
    assert not [command for command in proven() if "unittest" in command]
    assert not delivered_passes()


def test_checks_that_show_nothing_are_told_as_not_proven(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert orchestrate(TODO, "flaky_check=1,lying_check=1") == 0
    told = capsys.readouterr().out
    assert "  checks    13 of 15 passed, 2 not proven, without a sandbox\n" in told
    assert "  unproven  flaky: it failed once and passed once: rm .simulated_flaky" in told
    assert "  unproven  it cannot fail, whatever the project does: " in told
    assert "  criteria  3 of 6 passed, 3 not proven\n" in told
    assert "repair" not in told
    assert not [c for c in proven() if "simulated" in c or c == "true" or "|| true" in c]

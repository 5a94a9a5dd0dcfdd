"""Repairs of whole runs that are interrupted, or have no budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import orchestrator
from engine.run.run_view import read_run_view
from engine.run.rundir import RunDir
from engine.verification.added_task import AddedTasks
from engine.verification.repairs.repair import Repairs
from tests.fakes.surroundings import journal

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("verified_here")]
RUN = ("a script that counts words", "--output-dir", "out", "--sim-speed", "0")
BROKEN = ("--sim-faults", "broken_code=1")


def told(kind: str) -> list[dict[str, Any]]:
    return [event for event in journal() if event["kind"] == kind]


@pytest.mark.parametrize(("of", "name"), [(AddedTasks, "run"), (Repairs, "_judge")])
def test_a_run_that_was_interrupted_in_a_round_goes_on_with_it(
    of: type, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as now:
        now.setattr(of, name, interrupt)
        assert orchestrator.main([*RUN, *BROKEN]) == 130
    delivered = Path("out/word_count.py").read_text()
    assert orchestrator.main(["resume", "last"]) == 0
    assert "repaired  round 1: word_count.py (task build)" in capsys.readouterr().out
    assert Path("out/word_count.py").read_text() != delivered
    started = [event["task"] for event in told("job_intended")]
    assert started == ["build", "repair-1"]


def test_what_was_repaired_stays_repaired_when_the_run_is_resumed() -> None:
    assert orchestrator.main([*RUN, *BROKEN]) == 0
    repaired = Path("out/word_count.py").read_text()
    assert orchestrator.main(["resume", "last"]) == 0
    assert Path("out/word_count.py").read_text() == repaired
    assert [event["task"] for event in told("job_intended")] == ["build", "repair-1"]


@pytest.mark.parametrize("option", [["--no-verify"], ["--repair-rounds", "0"]])
def test_it_stays_repaired_where_a_resumed_run_repairs_nothing(option: list[str]) -> None:
    assert orchestrator.main([*RUN, *BROKEN]) == 0
    repaired = Path("out/word_count.py").read_text()
    assert orchestrator.main(["resume", "last", *option]) == 0
    assert Path("out/word_count.py").read_text() == repaired


def test_without_a_budget_for_repairs_the_run_says_so_and_goes_on_with_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert orchestrator.main([*RUN, *BROKEN, "--repair-rounds", "0"]) == 1
    (run,) = Path(".orchestrator/runs").glob("2*")
    spent = str(read_run_view(RunDir(run)).spend().total_tokens + 9)
    assert orchestrator.main(["resume", "last", "--repair-rounds", "2", "--max-tokens", spent]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "round 1 was not kept: none was tried, for want of budget" in text
    assert "checks 0 of 1 passed, 1 failed" in text
    assert orchestrator.main(["resume", "last", "--max-tokens", "9000000"]) == 0

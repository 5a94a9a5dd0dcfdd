"""A plan that has to be approved is asked about until it is, in whatever session."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import orchestrator
from core.events import Kind
from core.plan import parse_plan
from engine.run.journal import read_journal

pytestmark = pytest.mark.usefixtures("here")
RUN = ("Build it", "--sim-speed", "0", "--sim-tasks", "2", "--output-dir", "out", "--no-color")


class Typed(io.TextIOWrapper):
    """Standard input on which somebody types `answer`; nobody is there without one."""

    def __init__(self, answer: str = "") -> None:
        super().__init__(io.BytesIO(answer.encode()))
        self.isatty = lambda: bool(answer)  # type: ignore[method-assign]


def test_a_plan_that_was_refused_is_asked_about_again_and_once_approved_no_more(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def orchestrate(stdin: Typed, *args: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.stdin", stdin)
        code = orchestrator.main(list(args))
        return code, " ".join("".join(capsys.readouterr()).split())

    code, told = orchestrate(Typed("n\n"), *RUN, "--approve")
    (plan,) = Path.cwd().glob(".orchestrator/runs/*/plan.json")
    assert code == 1
    assert "not approved, 0 of 2 tasks" in told
    assert f"or edit the plan, {plan}, and give it to --plan." in told
    assert "resume" in told
    code, told = orchestrate(Typed(), "resume", "last")
    assert code == 2
    assert (
        f"--approve needs a terminal, and standard input is not one. Go on in a terminal, or "
        f"review {plan}" in told
    )
    code, told = orchestrate(Typed("n\n"), "resume", "last")
    assert (code, told.count("Carry out this plan?")) == (1, 1)
    assert not Path("out").exists()
    code, told = orchestrate(Typed("y\n"), "resume", "last", "--max-cost", "0.0001")
    assert (code, told.count("Carry out this plan?")) == (4, 1)
    code, told = orchestrate(Typed(), "resume", "last", "--max-cost", "9")
    assert (code, told.count("Carry out this plan?")) == (0, 0)
    assert any(Path("out").iterdir())


def test_approval_may_be_asked_for_when_a_run_is_resumed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrator.main([*RUN, "--max-tokens", "20000"]) == 4
    monkeypatch.setattr("sys.stdin", Typed("n\n"))
    assert orchestrator.main(["resume", "last", "--max-tokens", "9000000", "--approve"]) == 1
    assert "Carry out this plan?" in capsys.readouterr().out


def test_a_plan_may_be_edited_and_sent_back_before_it_is_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VISUAL", "sed -i 's/^title = .*/title = \"Mine\"/;t'")
    monkeypatch.setattr("sys.stdin", Typed("make it smaller\ne\ny\n"))
    assert orchestrator.main([*RUN, "--approve"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("Carry out this plan?") == 3
    assert "note: The plan goes back to the planner: make it smaller" in printed
    (plan,) = tmp_path.glob(".orchestrator/runs/*/plan.json")
    assert parse_plan(plan.read_text(), "it").title == "Mine"
    (journal,) = tmp_path.glob(".orchestrator/runs/*/journal.jsonl")
    planned = [e for e in read_journal(journal) if e.kind is Kind.PROGRESS and not e.task]
    assert len(planned) == 3  # of a short prompt in two parts, and again: all requests count


def test_another_plan_is_made_inside_the_budget(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Typed("make it smaller\nn\n"))
    assert orchestrator.main([*RUN, "--approve", "--max-tokens", "17000"]) == 1
    printed = capsys.readouterr().out
    assert "The plan is as it was." in printed
    assert printed.count("Carry out this plan?") == 2


def test_the_commands_that_are_offered_where_nobody_can_be_asked_mean_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Typed())
    monkeypatch.setattr("sys.argv", ["orchestrator.py"])
    given = ("--approve", "--max-executors", "2", "--max-cost", "3", "--no-verify", "--git")
    assert orchestrator.main([*RUN, *given]) == 2
    text = capsys.readouterr().err
    planning = "--max-executors 2 --max-cost 3 --sim-speed 0 --sim-tasks 2"
    assert f" plan 'Build it' {planning} -o plan.json`" in text
    in_place = f"--output-dir {Path.cwd() / 'out'} --git --no-verify"
    assert f" --plan plan.json --max-executors 2 {in_place} --max-cost 3" in text


def test_a_plan_that_was_approved_is_not_made_anew_where_its_file_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Typed("y\n"))
    assert orchestrator.main([*RUN, "--approve", "--max-tokens", "20000"]) == 4
    capsys.readouterr()
    (plan,) = tmp_path.glob(".orchestrator/runs/*/plan.json")
    plan.unlink()
    assert orchestrator.main(["resume", "last", "--max-tokens", "9000000"]) == 2
    assert f"is gone: {plan} does not exist." in capsys.readouterr().err
    assert not Path("out").exists()

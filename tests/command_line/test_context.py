"""--context: who gets what, on the command line, in a run and after a resume."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import orchestrator
from core.plan import parse_plan
from core.worker.planning import PlanningRequest
from engine.run.rundir import find_run
from planner_agent import ask_for_plan

pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
PROMPT = "Build a todo list app with add/delete/complete"
KEY = "sk-ant-canary-1234567890"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    Path("spec.md").write_text(f"Titles are unique.\nKey: {KEY}\n")
    Path("mock.png").write_bytes(PNG)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[PlanningRequest]:
    """What the planner is asked."""
    found: list[PlanningRequest] = []

    def ask(request: PlanningRequest, *more: object) -> object:
        found.append(request)
        return ask_for_plan(request, *more)  # type: ignore[arg-type]

    monkeypatch.setattr("engine.planning.preflight.ask_for_plan", ask)
    return found


def test_all_get_the_texts_and_a_resumed_run_has_them_still(asked: list[PlanningRequest]) -> None:
    args = [PROMPT, "--sim-speed", "0", "--no-verify", "--context", "spec.md", "--output-dir", "o"]
    stopped = orchestrator.main([*args, "--context", "mock.png", "--max-tokens", "30000"])
    assert stopped == 4
    Path("spec.md").unlink()
    assert orchestrator.main(["resume", "last", "--max-tokens", "9000000"]) == 0
    (request,) = asked[-1:]
    assert [image.name for image in request.context.images] == ["mock.png"]
    run = find_run(Path(".orchestrator"), "last")
    tasks = list(run.tasks.glob("*/*/request/task.json"))
    assert len(tasks) >= 5
    for task in tasks:
        prompt = json.loads(task.read_text())["prompt"]
        assert prompt.startswith(f'{PROMPT}\n\n<context name="spec.md">\nTitles are unique.\n')
        assert prompt.endswith("Key: ********\n</context>")
    assert parse_plan(run.plan.read_text(), "plan").prompt == PROMPT
    assert not any(KEY in path.read_text("utf-8", "replace") for path in run.context.iterdir())


def test_a_plan_is_made_with_it_and_its_forecast_counts_it(
    asked: list[PlanningRequest], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("long.txt").write_text("word " * 30_000)
    costs = []
    for given in ([], ["--context", "long.txt"]):
        assert orchestrator.main(["plan", PROMPT, "--sim-speed", "0", *given]) == 0
        costs.append(capsys.readouterr())
    assert "word word" in asked[1].context.text
    assert costs[0].out != costs[1].out


@pytest.mark.parametrize("name", ["absent.md", "mock.png/x"])
def test_what_cannot_be_read_is_refused_before_anything_is_written(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrator.main([PROMPT, "--context", name]) == 2
    assert f"{name} cannot be used" in capsys.readouterr().err
    assert not Path(".orchestrator").exists()

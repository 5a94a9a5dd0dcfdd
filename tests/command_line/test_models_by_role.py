"""One model plans and another executes, as a person meets it on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from core.plan import render_plan
from tests.fakes.plans import chain
from tests.fakes.scripted_server import Asked, Told, api_refusal, hello, scripted_server
from tests.fakes.surroundings import journal

pytestmark = pytest.mark.usefixtures("clean_here")
PROMPT = "Build a todo list app with add/delete/complete"
PLANNER, EXECUTOR = "claude-opus-5-5", "claude-haiku-5-5"
ROLES = ("--planner-model", PLANNER, "--executor-model", EXECUTOR)
FAST = ("--sim-speed", "0", "--quiet")


def orchestrate(*args: str) -> int:
    return orchestrator.main(list(args))


def models_of(events: list[dict[str, Any]], kind: str) -> set[str]:
    """Whose usage the events of one kind report."""
    found = [e["data"].get("usage") or [] for e in events if e["kind"] == kind]
    return {u["model"] for each in found for u in ([each] if isinstance(each, dict) else each)}


def test_each_request_goes_to_the_model_of_its_role_also_after_a_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roles = (*ROLES, "--planner-effort", "max")
    assert orchestrate(PROMPT, *FAST, *roles, "--max-tokens", "24000") == 4
    assert models_of(journal(tmp_path), "progress") == {PLANNER}
    assert orchestrate("resume", "last", "--max-tokens", "10000000") == 0
    events = journal(tmp_path)
    assert models_of(events, "progress") == {PLANNER}
    assert models_of(events, "job_ended") == {EXECUTOR}
    assert orchestrate("show", "last") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{PLANNER} (effort max) plans, {EXECUTOR} executes, backend threading" in said
    assert f"models {PLANNER} (effort max) plans, {EXECUTOR} executes; planning $" in said
    assert orchestrate("runs", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["planner_model"], row["model"]) == (PLANNER, EXECUTOR)
    requests = tmp_path.glob(".orchestrator/runs/*/tasks/*/*/request/task.json")
    asked = [json.loads(path.read_text())["model"] for path in requests]
    assert {(model["model"], model["effort"]) for model in asked} == {(EXECUTOR, "")}


def test_the_plan_is_made_by_the_planners_model(capsys: pytest.CaptureFixture[str]) -> None:
    costs = []
    for model in (PLANNER, EXECUTOR):
        assert orchestrate("plan", PROMPT, "--sim-speed", "0", "--planner-model", model) == 0
        costs.append(float(capsys.readouterr().err.rpartition("$")[2].split()[0]))
    assert costs[0] > 2 * costs[1]


@pytest.fixture
def key(clean_here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")


def refuses(model: str) -> Any:
    def answer(asked: Asked) -> Told:
        refusal = api_refusal(404, "not_found_error", f"model: {model}")
        return refusal if asked.data["model"] == model else hello()

    return answer


@pytest.mark.usefixtures("key")
def test_an_executor_model_that_is_refused_is_found_before_planning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with scripted_server(refuses(EXECUTOR)) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        assert orchestrate(PROMPT, "--real", *ROLES) == 3
        assert [asked.data["model"] for asked in server.asked] == [PLANNER, EXECUTOR]
    told = capsys.readouterr().err
    assert f"{EXECUTOR} on anthropic" in told
    assert "--executor-model" in told
    assert not (tmp_path / ".orchestrator").exists()


@pytest.mark.usefixtures("key")
def test_where_nothing_is_planned_the_planners_model_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plan.json").write_text(render_plan(chain(1)))
    for without in (("--plan", "plan.json"), (PROMPT, "--parallel", "never")):
        with scripted_server(refuses(EXECUTOR)) as server:
            monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
            assert orchestrate(*without, "--real", *ROLES, "--quiet") == 3
            assert [asked.data["model"] for asked in server.asked] == [EXECUTOR]


def test_prices_are_those_of_the_model_that_has_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = ("--executor-model", "of-my-own", "--max-cost", "1", "--sim-speed", "0")
    assert orchestrate(PROMPT, *own) == 2
    assert "the price of 'of-my-own'" in capsys.readouterr().err
    prices = ("--price-input", "0.05", "--price-output", "0.05")
    both = ("--planner-model", "of-nobody")
    assert orchestrate(PROMPT, *own, *prices, *both) == 2
    assert "'of-nobody' and 'of-my-own' neither has one" in capsys.readouterr().err
    assert orchestrate(PROMPT, *own, *prices, "--verbose") == 0
    said = " ".join(capsys.readouterr().out.split())
    planning = float(said.partition("planning $")[2].split(",")[0])
    tasks = float(said.partition(", tasks $")[2].split()[0])
    assert planning > 0.01
    assert 0 < tasks < 0.01

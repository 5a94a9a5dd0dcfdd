"""Tests for docker_planner: a planning request in, the plan or its failure out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import docker_planner
from claude.simulation.sample_projects import plan_sample
from core.bundle import Allowance, Limits, ModelSettings, SimulationSettings
from core.credentials import Credentials
from core.errors import BudgetExceeded, OrchestratorError, PlanningFailed
from core.plan import parse_plan
from core.wire import decode, encode
from core.worker.exit_codes import FAILED
from core.worker.planning import PlanningDir, PlanningFailure, PlanningRequest
from core.worker.process import CREDENTIALS_FILE, render_credentials
from tests.fakes.scripted_server import api_refusal, scripted_server

PROMPT = "Build a todo list app"
SECRET = "sk-ant-canary-of-a-planner"


@pytest.fixture
def place(tmp_path: Path) -> PlanningDir:
    found = PlanningDir(tmp_path)
    found.request.mkdir()
    held = render_credentials(Credentials(anthropic_api_key=SECRET))
    (tmp_path / CREDENTIALS_FILE).write_bytes(held)
    return found


def plan(place: PlanningDir, faults: str = "", **more: object) -> int:
    settings = ModelSettings(simulation=SimulationSettings(speed=0, faults=faults))
    request = PlanningRequest(PROMPT, settings, Limits(request_retries=0))
    for name, value in more.items():
        object.__setattr__(request, name, value)
    place.planning_json.write_text(encode(request), encoding="utf-8")
    return docker_planner.main(["docker_planner.py", str(place.root)])


def failure(place: PlanningDir) -> OrchestratorError:
    return decode(PlanningFailure, place.failure_json.read_bytes(), "the failure").error()


def test_the_plan_is_the_one_that_is_made_anywhere(
    place: PlanningDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan(place) == 0
    made = parse_plan(place.plan_json.read_text(encoding="utf-8"), "here")
    assert made.tasks == plan_sample(PROMPT).tasks
    assert not place.failure_json.exists()
    assert not (place.root / CREDENTIALS_FILE).exists()
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    beginning, rest = (line["usage"] for line in told if "usage" in line)
    assert 0 < beginning["output_tokens"] < rest["output_tokens"]


def test_a_plan_that_does_not_come_right_is_a_failure_that_tells_why(place: PlanningDir) -> None:
    assert plan(place, "bad_plan=1") == 0
    assert type(failure(place)) is PlanningFailed
    assert not place.plan_json.exists()


def test_a_budget_that_is_too_small_keeps_its_kind(place: PlanningDir) -> None:
    assert plan(place, allowance=Allowance(max_tokens=10)) == 0
    assert type(failure(place)) is BudgetExceeded


def test_what_a_provider_says_comes_without_the_secrets_it_repeats(place: PlanningDir) -> None:
    refusal = api_refusal(401, "authentication_error", f"bad key {SECRET}")
    with scripted_server(refusal) as server:
        assert plan(place, model=ModelSettings(base_url=server.url)) == 0
    told = place.failure_json.read_text()
    assert SECRET not in told
    assert "********" in told
    assert failure(place).exit_code == 4


def test_a_damaged_request_is_one_message(
    place: PlanningDir, capsys: pytest.CaptureFixture[str]
) -> None:
    place.planning_json.write_text("{")
    assert docker_planner.main(["docker_planner.py", str(place.root)]) == FAILED
    told = capsys.readouterr().err
    assert "planning.json" in told
    assert told.count("\n") == 1
    assert not (place.root / CREDENTIALS_FILE).exists()

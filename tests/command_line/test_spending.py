"""Caps on what a run may spend, as a person meets them on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from core.bundle import build_manifest
from tests.fakes.surroundings import journal, usages_of

pytestmark = pytest.mark.usefixtures("clean_here")
PROMPT = "Build a todo list app with add/delete/complete"
FAST = ("--sim-speed", "0")


def orchestrate(*args: str) -> int:
    return orchestrator.main(list(args))


def tokens_of(events: list[dict[str, Any]]) -> int:
    """Everything that the journal says was used."""
    kinds = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    usages = [u for e in events for u in usages_of(e)]
    return sum(usage[kind] for usage in usages for kind in kinds)


@pytest.mark.parametrize(
    "cap", [("--max-cost", "0.14"), ("--max-tokens", "55000")], ids=["money", "tokens"]
)
def test_a_capped_run_delivers_what_it_could_and_goes_on_with_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cap: tuple[str, str]
) -> None:
    assert orchestrate(PROMPT, *FAST, *cap, "--output-dir", "out") == 4
    said = " ".join(capsys.readouterr().out.split())
    assert "stopped" in said
    assert "] forecast: 0:" in said
    assert "One executor alone: about " in said
    assert "The budget does not allow more" in said
    events = journal(tmp_path)
    states = [e["data"]["state"] for e in events if e["kind"] == "task_ended"]
    assert 0 < states.count("SUCCEEDED") < len(states)
    assert states.count("CANCELLED") + states.count("SUCCEEDED") == len(states)
    assert build_manifest(tmp_path / "out").entries
    if cap[0] == "--max-tokens":
        assert tokens_of(events) <= 55_000
    # exactly what the summary says to do
    run, *more = said.partition(" resume ")[2].split()[:3]
    assert more[0] == cap[0]
    assert float(more[1]) > float(cap[1])
    assert orchestrate("resume", run, *more) == 0
    assert "9 of 9 tasks" in capsys.readouterr().out
    assert tokens_of(journal(tmp_path)) <= float(more[1]) or cap[0] == "--max-cost"


def test_planning_is_part_of_the_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert orchestrate(PROMPT, *FAST, "--max-tokens", "2000") == 4
    out, err = capsys.readouterr()
    assert "does not fit into what is left of the budget: 2,000 tokens" in err
    assert "--max-cost or --max-tokens" in err
    assert "stopped" in out
    events = journal(tmp_path)
    assert tokens_of(events) == 0
    assert events[-1]["kind"] == "run_ended"
    assert events[-1]["data"]["exit_code"] == 4


def test_a_plan_that_left_nothing_for_its_tasks_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrate(PROMPT, *FAST, "--max-tokens", "24000") == 4
    said = " ".join(capsys.readouterr().out.split())
    assert "9 left" in said
    assert "nothing was delivered" in said
    run = said.partition(" resume ")[2].split()[0]
    assert orchestrate("resume", run, "--max-tokens", "10000000", "--quiet") == 0
    plans = [e for e in journal(tmp_path) if e["kind"] == "plan_ready"]
    assert len(plans) == 2
    before = sum(1 for e in journal(tmp_path) if not e["task"] and e["data"].get("usage"))
    assert before == 2  # planned once, a short prompt in two parts


def test_a_price_that_is_not_known_is_needed_before_a_cap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = ("--model", "my-own-model", *FAST)
    assert orchestrate(PROMPT, *odd, "--max-cost", "1") == 2
    assert "--price-input and --price-output" in capsys.readouterr().err
    assert not (tmp_path / ".orchestrator").exists()
    assert orchestrate(PROMPT, *odd, "--max-cost", "1", "--price-input", "3") == 2
    assert "Only one of price_input and price_output" in capsys.readouterr().err
    prices = ("--price-input", "0.5", "--price-output", "1")
    assert orchestrate(PROMPT, *odd, *prices, "--max-cost", "1") == 0
    assert "unknown price" not in capsys.readouterr().out
    # `runs` prices it as it was priced then
    assert orchestrate("runs", "--json") == 0
    assert "unknown price" not in json.loads(capsys.readouterr().out)["cost"]


def test_a_model_without_a_price_runs_without_a_cap_on_money(
    capsys: pytest.CaptureFixture[str],
) -> None:
    args = (PROMPT, *FAST, "--model", "my-own-model", "--max-tokens", "1000000")
    assert orchestrate(*args) == 0
    assert "unknown price" in capsys.readouterr().out


def test_the_forecast_is_told_before_anything_is_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrate(PROMPT, *FAST, "--json") == 0
    kinds = [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()]
    assert kinds.index("plan_ready") < kinds.index("forecast") < kinds.index("job_intended")
    (told,) = [e["data"] for e in journal(tmp_path) if e["kind"] == "forecast"]
    for figure in ("seconds", "tokens", "cost_usd"):
        assert told[figure]["low"] <= told[figure]["likely"] <= told[figure]["high"]
    assert told["simulated"] is True
    assert told["planning"]["tokens"] > 1_000
    assert told["alone"]["seconds"] > told["parallel"]["seconds"] > 60
    assert "past" not in told
    assert orchestrate(PROMPT, *FAST) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Planning is expected to take about 0 s (simulated without waits), $0.0" in said
    assert "Past forecasts of this work directory were off by a factor of 1." in said
    assert "(1 run)" in said


def test_the_first_executor_goes_ahead_until_its_answer_begins(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert orchestrate(PROMPT, *FAST, "--json", "--no-early-start") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [event["kind"] for event in told if event.get("task")]
    begun = [n for n, kind in enumerate(kinds) if kind == "job_intended"]
    news = next(n for n, kind in enumerate(kinds) if kind in ("answer_begun", "job_ended"))
    assert begun[0] < news < begun[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("max-cost", "0"), ("max-cost", "-1"), ("max-cost", "inf"), ("max-tokens", "0")],
)
def test_a_cap_of_nothing_is_a_mistake(
    name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrate(PROMPT, f"--{name}", value) == 2
    assert name.replace("-", "_") in capsys.readouterr().err.replace("-", "_")

"""The real Claude Code CLI against the simulated Claude: no key, and nothing leaves this machine.

tests/services/claude_code.sh installs the CLI, once. CI does, and refuses to skip.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import orchestrator
from claude.http.plain_http import Incoming, Outgoing
from claude.simulation.api import SimulatedApi
from claude.simulation.sample_projects import choose_sample, load_sample
from claude.simulation.server import SimulatedServer
from core.bundle import (
    UNLIMITED,
    Allowance,
    AttemptDir,
    ContractFile,
    Limits,
    ModelSettings,
    Request,
    SimulationSettings,
    build_manifest,
    write_request,
)
from core.clock import SystemClock
from core.credentials import Credentials
from core.job import JobKey, Outcome, TaskResult
from core.plan import render_brief
from core.shell.processes import marked_processes
from engine.planning.requests import SYSTEM_BYTES
from executor_agent import ExecutorAgent

BIN = Path(__file__).parents[2] / ".cache" / "claude-code" / "node_modules" / ".bin"
SMALL = "Write a script that prints the first ten primes"
SECRET = "sk-ant-canary-0123456789"
TODO = "Build a todo list app with add/delete/complete"

pytestmark = [
    pytest.mark.claude_code,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BIN / "claude").exists(),
        reason="the Claude Code CLI is not installed; tests/services/claude_code.sh does it",
    ),
]


@pytest.fixture(autouse=True)
def _clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "AWS_", "CLAUDE", "ORCHESTRATOR_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ORCHESTRATOR_VERIFY", "false")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def orchestrate(prompt: str, name: str, *more: str) -> tuple[int, Path]:
    out = Path(name)
    where = ("--output-dir", name, "--work-dir", f"{name}-work")
    return orchestrator.main([prompt, "--sim-speed", "0", "--quiet", *where, *more]), out


def run_task(
    root: Path,
    prompt: str,
    task_id: str,
    *,
    faults: str = "",
    provider: str = "anthropic",
    limits: Limits | None = None,
    speed: float = 0.0,
    base_url: str = "",
    allowance: Allowance = UNLIMITED,
) -> tuple[TaskResult, AttemptDir]:
    """One task of the sample for `prompt`, by the real CLI; with `base_url` as if the
    Claude there was real."""
    project = load_sample(choose_sample(prompt))
    task = next(t for t in project.plan.tasks if t.id == task_id)
    attempt = AttemptDir(root / task_id / "1")
    contracts = []
    for contract in project.plan.contracts:
        place = attempt.inputs / contract.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(contract.content, encoding="utf-8")
        digest = hashlib.sha256(contract.content.encode()).hexdigest()
        contracts.append(ContractFile(contract.path, digest))
    write_request(
        attempt,
        Request(
            key=JobKey("r1", task_id, 1),
            prompt=prompt,
            brief=render_brief(project.plan),
            task=task,
            contracts=tuple(contracts),
            model=ModelSettings(
                provider=provider,
                engine="claude-code",
                base_url=base_url,
                simulation=None if base_url else SimulationSettings(0, speed, faults),
            ),
            limits=limits or Limits(),
            allowance=allowance,
        ),
    )
    held = Credentials(anthropic_api_key=SECRET) if base_url else Credentials()
    result = ExecutorAgent(held, SystemClock()).run(attempt, "worker")
    assert result is not None
    return result, attempt


def files_of(attempt: AttemptDir) -> dict[str, str]:
    found = build_manifest(attempt.files).paths
    return {path: (attempt.files / path).read_text(encoding="utf-8") for path in found}


def test_a_prompt_of_one_task_gives_the_tree_of_the_api_engine() -> None:
    code, by_api = orchestrate(SMALL, "by-api")
    assert code == 0
    code, by_cli = orchestrate(SMALL, "by-cli", "--engine", "claude-code", "--allow-commands")
    assert code == 0
    assert build_manifest(by_cli) == build_manifest(by_api)
    assert not list(Path("by-cli-work").rglob("claude-code"))


def test_tasks_side_by_side_give_the_tree_of_the_api_engine() -> None:
    wish = ("Build it", "--sim-tasks", "4", "--max-executors", "2")
    code, by_api = orchestrate(wish[0], "by-api", *wish[1:])
    assert code == 0
    more = ("--engine", "claude-code", "--allow-commands")
    code, by_cli = orchestrate(wish[0], "by-cli", *wish[1:], *more)
    assert code == 0
    assert build_manifest(by_cli) == build_manifest(by_api)
    transcripts = list(Path("by-cli-work").glob("runs/*/tasks/*/1/result/transcript.jsonl"))
    assert len(transcripts) == 4
    assert all('"engine": "claude-code"' in path.read_text() for path in transcripts)


def test_without_leave_to_run_commands_nothing_starts(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = orchestrate(SMALL, "out", "--engine", "claude-code")
    assert code == 3
    assert "--allow-commands" in capsys.readouterr().err
    assert not out.exists()
    assert not Path("out-work").exists()


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_both_providers_are_reached(tmp_path: Path, provider: str) -> None:
    result, attempt = run_task(tmp_path, SMALL, "build", provider=provider)
    assert result.outcome is Outcome.OK, result.message
    assert files_of(attempt) == load_sample("word_count").files["build"]
    assert result.turns == len(result.usage) > 1
    assert all(u.simulated and u.provider == provider and u.request_id for u in result.usage)
    assert all(u.total_tokens and u.output_tokens for u in result.usage)


def test_misbehaviour_comes_back_as_defects_and_is_put_right(tmp_path: Path) -> None:
    faults = "bad_tool=0.3,truncate=0.2,wrong_files=0.2,escape=0.2"
    result, attempt = run_task(tmp_path, TODO, "pages", faults=faults)
    assert result.outcome is Outcome.OK, result.message
    assert files_of(attempt) == load_sample("todo").files["pages"]
    assert "not done yet" in attempt.events.read_text()
    assert not list(tmp_path.rglob("*escape*"))


def test_what_the_api_refuses_for_its_load_is_asked_again_and_counted(tmp_path: Path) -> None:
    result, _ = run_task(tmp_path, SMALL, "build", faults="rate_limit=0.3")
    assert result.outcome is Outcome.OK, result.message
    assert result.throttled > 0


def test_an_answer_that_breaks_costs_no_turn(tmp_path: Path) -> None:
    faults = "disconnect=0.4,overloaded=0.3,server_error=0.2"
    result, attempt = run_task(tmp_path, TODO, "pages", faults=faults)
    assert result.outcome is Outcome.OK, result.message
    assert files_of(attempt) == load_sample("todo").files["pages"]
    assert result.turns < len(result.usage)  # what broke was billed, and the CLI saw none of it
    assert "Claude Code tries again" not in attempt.events.read_text()


def test_the_allowance_holds_and_what_does_not_fit_is_not_sent(tmp_path: Path) -> None:
    spent = []
    for most in (20_000, 45_000):
        faults, allowed = "bad_tool=0.3,truncate=0.2,wrong_files=0.2", Allowance(max_tokens=most)
        where = tmp_path / str(most)
        result, _ = run_task(where, TODO, "pages", faults=faults, allowance=allowed)
        assert result.outcome is Outcome.BUDGET, result.message
        spent.append(sum(usage.total_tokens for usage in result.usage))
    assert spent[0] == 0
    assert 0 < spent[1] <= 45_000


def test_a_run_with_a_cap_reserves_what_the_cli_needs() -> None:
    more = ("--engine", "claude-code", "--allow-commands", "--max-tokens", "150000")
    code, _ = orchestrate(SMALL, "capped", *more)
    assert code == 0
    ended = [json.loads(p.read_text()) for p in Path("capped-work").rglob("result.json")]
    assert [result["outcome"] for result in ended] == ["OK"]


def test_a_rate_limit_without_end_is_named_as_such(tmp_path: Path) -> None:
    limits = Limits(request_retries=1)
    result, _ = run_task(tmp_path, SMALL, "build", faults="rate_limit=1", limits=limits)
    assert result.outcome is Outcome.RATE_LIMITED
    assert "429" in result.message
    assert result.usage == ()


def test_a_refusal_is_named_as_such(tmp_path: Path) -> None:
    result, _ = run_task(tmp_path, SMALL, "build", faults="refusal=1")
    assert result.outcome is Outcome.REFUSED


def test_it_stops_at_the_time_limit_and_leaves_no_process(tmp_path: Path) -> None:
    # a simulated Claude that takes minutes for its first word
    result, attempt = run_task(tmp_path, SMALL, "build", speed=0.001, limits=Limits(timeout_s=3.0))
    assert result.outcome is Outcome.INTERRUPTED
    assert "time limit" in result.message
    mark = f"CLAUDE_CONFIG_DIR={attempt.root}/claude-code/config"
    assert not list(marked_processes(mark.encode()))


def test_turns_are_bounded(tmp_path: Path) -> None:
    result, _ = run_task(tmp_path, SMALL, "build", limits=Limits(max_turns=2))
    assert result.outcome is Outcome.DEFECT
    assert "2 turns" in result.message
    assert len(result.usage) == 2


class RecordingApi(SimulatedApi):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(SimulationSettings(speed=0.0), SystemClock())
        self.asked: list[Incoming] = []

    def handle(self, incoming: Incoming) -> Outgoing:
        self.asked.append(incoming)
        return super().handle(incoming)


@pytest.fixture
def api() -> Iterator[tuple[RecordingApi, str]]:
    recording = RecordingApi()
    with SimulatedServer(0, recording) as server:
        yield recording, server.base_url


def test_what_the_person_set_up_for_the_cli_stays_out(
    tmp_path: Path, api: tuple[RecordingApi, str]
) -> None:
    """A hook, instructions and an MCP server in every place that the CLI looks at by itself."""
    home, trace = tmp_path / "home", tmp_path / "trace"
    hook = {"type": "command", "command": f"touch {trace}"}
    settings = {"hooks": {"SessionStart": [{"hooks": [hook]}]}, "model": "other"}
    server = {"command": "touch", "args": [str(trace)]}
    for place in (home, tmp_path):
        (place / ".claude").mkdir(parents=True)
        (place / ".claude/settings.json").write_text(json.dumps(settings))
        (place / ".claude/CLAUDE.md").write_text("Canary instructions.")
        (place / "CLAUDE.md").write_text("Canary instructions.")
        (place / ".mcp.json").write_text(json.dumps({"mcpServers": {"canary": server}}))
    recording, url = api
    result, _ = run_task(tmp_path, SMALL, "build", base_url=url)
    assert result.outcome is Outcome.OK, result.message
    assert not trace.exists()
    bodies = [json.loads(asked.body) for asked in recording.asked if asked.body]
    assert {body["model"] for body in bodies} == {ModelSettings().model}
    assert not [body for body in bodies if "Canary" in json.dumps(body)]
    assert {path.name for path in home.iterdir()} == {".claude", "CLAUDE.md", ".mcp.json"}


def test_the_key_reaches_the_api_and_no_file(tmp_path: Path, api: tuple[RecordingApi, str]) -> None:
    recording, url = api
    result, attempt = run_task(tmp_path, SMALL, "build", base_url=url)
    assert result.outcome is Outcome.OK, result.message
    keys = {asked.headers.get("authorization") for asked in recording.asked if asked.body}
    assert keys == {f"Bearer {SECRET}"}
    kept = [path for path in attempt.root.rglob("*") if path.is_file()]
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


def test_all_tasks_of_a_run_share_the_beginning_of_their_prompts(
    tmp_path: Path, api: tuple[RecordingApi, str]
) -> None:
    """System text and tools are the same bytes, so the provider's cache can serve them."""
    recording, url = api
    for task_id in ("assets", "docs"):
        run_task(tmp_path, TODO, task_id, base_url=url)
    bodies = [json.loads(asked.body) for asked in recording.asked if asked.body]
    prefixes = {json.dumps([body["system"], body["tools"]]) for body in bodies}
    assert len(prefixes) == 1
    # what a run with a cap reserves for it
    around = [len(json.dumps({**body, "messages": []}).encode()) for body in bodies]
    assert SYSTEM_BYTES["claude-code"] - 4_000 < max(around) < SYSTEM_BYTES["claude-code"]


def test_the_installed_cli_is_the_version_that_was_asked_for() -> None:
    told = subprocess.run(
        [BIN / "claude", "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    script = (Path(__file__).parents[1] / "services" / "claude_code.sh").read_text()
    assert f":-{told.stdout.split()[0]}}}" in script

"""Tests for docker_executor: the entry of a container, run as it is run there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import docker_executor
from core.bundle import (
    WIRE_VERSION,
    AttemptDir,
    Limits,
    ModelSettings,
    SimulationSettings,
    read_result,
)
from core.credentials import Credentials
from core.job import JobKey, Outcome
from core.worker.exit_codes import FAILED
from core.worker.process import CREDENTIALS_FILE, render_credentials
from engine.run.attempt_store import DiskStore, write_contracts
from engine.run.rundir import RunDir
from tests.fakes.plans import make_plan

ROOT = Path(__file__).parents[2]
SECRET = "sk-ant-canary-in-a-bundle"
KEY = JobKey("r1", "t", 1)


@pytest.fixture
def attempt(tmp_path: Path) -> AttemptDir:
    """A bundle of a small task, with credentials beside it."""
    run, plan = RunDir(tmp_path / "r1"), make_plan({"t": []})
    run.tasks.mkdir(parents=True)
    write_contracts(run, plan.contracts)
    model = ModelSettings(simulation=SimulationSettings(speed=0))
    job = DiskStore(run, plan, "Do it", model, Limits()).prepare(plan.task("t"), KEY, "", {})
    held = render_credentials(Credentials(anthropic_api_key=SECRET))
    (job.attempt_dir / CREDENTIALS_FILE).write_bytes(held)
    return AttemptDir(job.attempt_dir)


def test_a_bundle_becomes_a_result_and_its_events_are_said_as_they_come(
    attempt: AttemptDir, capsys: pytest.CaptureFixture[str]
) -> None:
    assert docker_executor.main(["docker_executor.py", str(attempt.root)]) == 0
    assert read_result(attempt, KEY).outcome is Outcome.OK
    told = capsys.readouterr().out
    assert told == attempt.events.read_text()
    assert told.count("\n") > 1
    assert not (attempt.root / CREDENTIALS_FILE).exists()


def test_a_damaged_bundle_is_one_message_and_its_credentials_are_gone_all_the_same(
    attempt: AttemptDir, capsys: pytest.CaptureFixture[str]
) -> None:
    attempt.task_json.write_text('{"version": 99}')
    assert docker_executor.main(["docker_executor.py", str(attempt.root)]) == FAILED
    told = capsys.readouterr()
    assert "wire version 99" in told.err
    assert "rebuild" in told.err
    assert told.err.count("\n") == 1
    assert not (attempt.root / CREDENTIALS_FILE).exists()
    assert not attempt.result_json.exists()


def test_a_check_says_what_a_probe_wants_to_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["docker_executor.py", "--check", str(tmp_path), "api"]
    assert docker_executor.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["wire"] == WIRE_VERSION
    assert told["free_bytes"] > 0
    assert told["claude_problem"] == told["claude_fix"] == ""


def test_a_check_for_an_engine_that_is_not_there_says_so(tmp_path: Path) -> None:
    told = docker_executor.check(tmp_path, "claude-code", {"PATH": str(tmp_path)})
    assert told["claude_problem"]
    assert told["claude_fix"]


def test_as_a_process_it_needs_nothing_of_the_hosts_side(attempt: AttemptDir) -> None:
    program = (
        "import sys, docker_executor\n"
        "code = docker_executor.main(sys.argv[1:])\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "wrong = loaded & {'click', 'rich', 'docker', 'engine', 'backends', 'config'}\n"
        "sys.exit(f'loaded: {wrong}' if wrong else code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "x", str(attempt.root)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(attempt.root.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr

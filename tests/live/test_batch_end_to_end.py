"""Whole runs with `--batch`, as a person starts them: moto's containers, and AWS's strictness."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude.simulation.server import serve
from core.bundle import SimulationSettings, build_manifest
from core.clock import SystemClock
from core.job import Manifest
from core.plan import render_plan
from parallel_task_orchestrator.conformance.live_run import eventually
from tests.backends.batch.test_scale import wide_plan
from tests.fakes.aws_calls import Call, holds
from tests.fakes.strict_aws import Cloud, cloud
from tests.live.docker_run import WHOLE, quiet_environment
from tests.live.existing_code import (
    FAILING,
    MENDED_BY_ONE,
    change_repository,
    check_reproduced,
    make_failing,
)

pytestmark = [
    *(pytest.mark.moto, pytest.mark.docker_engine, pytest.mark.slow),
    pytest.mark.timeout(240),
]
ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("PTO_IMAGE", "parallel-orchestrator:slim")
CANARY = "sk-ant-canary-9d41c07be2"
SMALL = "Write a script that prints the first ten primes"
FAST = ("--sim-speed", "0", "--quiet", "--output-dir", "out", "--no-verify")


@pytest.fixture(scope="module")
def place() -> Iterator[Cloud]:
    with cloud(f"whole-runs-{secrets.token_hex(4)}", IMAGE, dict(os.environ)) as made:
        yield made


def start(here: Path, *args: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "orchestrator.py"), *args],
        cwd=here,
        env=quiet_environment(**environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(here: Path, *args: str, **environ: str) -> str:
    """What the program says when it has to end well."""
    process = start(here, *args, **environ)
    said, complained = process.communicate(timeout=200)
    assert process.returncode == 0, said + complained
    return said


def on_batch(place: Cloud, definition: str = "") -> tuple[str, ...]:
    return (
        *("--batch", "--batch-job-queue", place.queue, "--batch-s3-bucket", place.bucket),
        *("--batch-job-definition", definition or place.definition),
    )


def on_threads(tmp_path: Path, *wish: str) -> Manifest:
    here = tmp_path / "threads"
    here.mkdir()
    run(here, *wish)
    return build_manifest(here / "out")


def left_in(place: Cloud) -> list[str]:
    found = place.aws.client("s3").list_objects_v2(Bucket=place.bucket)
    return [entry["Key"] for entry in found.get("Contents", ())]


def stored_results(calls: list[Call]) -> list[str]:
    return sorted(c.path for c in calls if c.action == "PutObject" and "/results/" in c.path)


def test_a_run_gives_the_tree_of_threads_and_leaves_nothing(place: Cloud, tmp_path: Path) -> None:
    expected, before = on_threads(tmp_path, *WHOLE, *FAST), len(place.aws.calls)
    here = tmp_path / "batch"
    here.mkdir()
    run(here, *WHOLE, *FAST, "--max-executors", "4", *on_batch(place), **place.environ)
    assert build_manifest(here / "out") == expected
    calls = place.aws.calls[before:]
    results = list(here.glob(".orchestrator/runs/*/tasks/*/1/result/result.json"))
    assert len(stored_results(calls)) == len(results) == 4
    assert left_in(place) == []
    sizes = [c.params.get("arrayProperties") for c in calls if c.action == "submitjob"]
    assert any(sizes), "no array was ever submitted"
    assert len(sizes) < len(results)


@pytest.mark.bubblewrap
def test_existing_code_is_changed_as_on_threads(place: Cloud, tmp_path: Path) -> None:
    """Its archive is one object, which tasks and checks find."""
    before = len(place.aws.calls)

    def on(here: Path, *more: str) -> str:
        return change_repository(here, lambda *wish: run(here, *wish, *more, **place.environ))

    assert on(tmp_path / "batch", *on_batch(place)) == on(tmp_path / "threads")
    calls = place.aws.calls[before:]
    assert len([c for c in calls if c.action == "PutObject" and "/base/" in c.path]) == 1
    assert len(stored_results(calls)) == 3  # the tasks and the checks
    assert left_in(place) == []


def test_a_reported_failure_is_tried_first(place: Cloud, tmp_path: Path) -> None:
    make_failing(tmp_path)
    said = run(tmp_path, *FAILING, *MENDED_BY_ONE, *on_batch(place), **place.environ)
    check_reproduced(said, "the job's container, as a job of batch")
    assert left_in(place) == []


def test_secrets_reach_workers_and_no_call_to_aws(place: Cloud, tmp_path: Path) -> None:
    """A real run over loopback: the key is in the environment here, and in Secrets Manager for the
    workers, who have no other. What they write has a fault, which another worker mends."""
    name = f"with-secret-{secrets.token_hex(4)}"
    made = place.aws.client("secretsmanager").create_secret(Name=name, SecretString=CANARY)
    named = [{"name": "ANTHROPIC_API_KEY", "valueFrom": made["ARN"]}]
    place.define(name, IMAGE, secrets=named)
    before = len(place.aws.calls)
    with serve(0, SimulationSettings(speed=0, faults="broken_code=1"), SystemClock()) as server:
        told = {"ANTHROPIC_API_KEY": CANARY, "ANTHROPIC_BASE_URL": server.base_url}
        real = ("--real", "--verbose", "--output-dir", "out", *on_batch(place, name))
        said = run(tmp_path, SMALL, *real, **place.environ, **told)
    calls = place.aws.calls[before:]
    words = " ".join(said.split())
    assert "1 of 1 passed, in the job's container, as a job of batch" in words
    assert "repaired round 1: word_count.py (task build)" in words
    assert len(stored_results(calls)) == 4  # the task and the repair, each with its checks
    for kind, inside in (("/requests/", b'"instructions"'), ("/results/", b'"outcome"')):
        packed = [c.raw for c in calls if c.action == "PutObject" and kind in c.path]
        assert len(packed) == 4
        for sent in packed:
            assert inside not in sent
            assert holds(sent, inside), "what is packed was not searched"
    assert [call.action for call in calls if holds(call.raw, CANARY.encode())] == []
    assert CANARY not in said
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or not holds(path.read_bytes(), CANARY.encode()), path
    assert left_in(place) == []


def test_a_real_run_whose_workers_could_not_sign_in_starts_nothing(
    place: Cloud, tmp_path: Path
) -> None:
    before = len(place.aws.calls)
    told = {"ANTHROPIC_API_KEY": CANARY, "ANTHROPIC_BASE_URL": "http://127.0.0.1:9"}
    process = start(tmp_path, SMALL, "--real", *on_batch(place), **place.environ, **told)
    said, complained = process.communicate(timeout=100)
    assert process.returncode == 3, said + complained
    assert "gives its workers no credentials for Claude" in complained
    assert "--batch-secret ANTHROPIC_API_KEY" in complained
    assert [c.action for c in place.aws.calls[before:] if c.action == "submitjob"] == []
    assert not (tmp_path / ".orchestrator").exists()


def test_a_kill_between_submission_and_journal_runs_no_job_twice(
    place: Cloud, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(render_plan(wide_plan(3)), encoding="utf-8")
    wish = ("--plan", str(plan), *FAST)
    expected, before = on_threads(tmp_path, *wish), len(place.aws.calls)
    here = tmp_path / "batch"
    here.mkdir()
    command = (*wish, *on_batch(place))
    killed = start(here, *command, **place.environ)

    def kill(call: Call) -> None:
        if call.action == "submitjob":
            killed.send_signal(signal.SIGKILL)
            killed.wait()

    place.aws.after = kill
    try:
        killed.communicate(timeout=100)
    finally:
        place.aws.after = lambda call: None
    assert killed.returncode == -signal.SIGKILL
    [journal] = here.glob(".orchestrator/runs/*/journal.jsonl")
    assert '"job_submitted"' not in journal.read_text(), "the answer had arrived"
    said = run(here, "resume", "last", "--json", **place.environ)
    assert build_manifest(here / "out") == expected
    events = [json.loads(line) for line in said.splitlines()]
    ended = [e for e in events if e["kind"] == "job_ended"]
    assert {e["attempt"] for e in ended} == {1}
    results = stored_results(place.aws.calls[before:])
    assert len(results) == len(set(results)) == len(ended) == 3
    assert left_in(place) == []


def test_after_a_kill_clean_stops_the_jobs_and_removes_the_runs_objects(
    place: Cloud, tmp_path: Path
) -> None:
    run(tmp_path, "plan", SMALL, "--sim-speed", "0", "--quiet", "-o", "plan.json")
    slow = ("--sim-speed", "0.01", "--quiet", "--output-dir", "out", "--plan", "plan.json")
    process = start(tmp_path, *slow, *on_batch(place), **place.environ)
    journals = ".orchestrator/runs/*/journal.jsonl"

    def submitted() -> bool:
        return any('"job_submitted"' in p.read_text() for p in tmp_path.glob(journals))

    eventually(submitted, "submitted", within_s=60, every_s=0.1, clock=SystemClock())
    process.kill()
    process.communicate()
    others = f"{place.bucket}-of-somebody"
    place.aws.client("s3").put_object(Bucket=place.bucket, Key=others, Body=b"x")
    [facts] = tmp_path.glob(".orchestrator/runs/*/run.json")
    name = facts.parent.name
    told = run(tmp_path, "clean", name, **place.environ)
    assert "job orchestrator-" in told
    assert f"object(s) in s3://{place.bucket}/parallel-orchestrator/" in told
    run(tmp_path, "clean", name, "--yes", **place.environ)
    assert left_in(place) == [others]
    place.aws.client("s3").delete_object(Bucket=place.bucket, Key=others)
    assert not facts.parent.exists()


def test_doctor_finds_all_well_and_registers_the_same_definition_once(
    place: Cloud, tmp_path: Path
) -> None:
    role = f"arn:aws:iam::123456789012:role/{place.queue}"  # one that moto has not seen before
    wish = ("--register-job-definition", "--batch-image", IMAGE, "--batch-job-role", role)
    asked = ("doctor", "--json", *wish, *on_batch(place)[1:5], "--batch")
    lines: list[dict[str, str]] = []
    for _ in range(2):
        process = start(tmp_path, *asked, **place.environ)
        said, complained = process.communicate(timeout=100)
        # on a busy machine it tells what it waits for
        assert all(line.startswith("Waiting for ") for line in complained.splitlines())
        lines += [json.loads(line) for line in said.splitlines()]
    first, again = [c["message"] for c in lines if c["subject"] == "job definition"]
    assert "registered; use it" in first
    assert "was registered before" in again
    of_batch = [c for c in lines if c["subject"] == "backend batch"]
    assert [c["state"] for c in of_batch] == ["ok", "ok"], of_batch

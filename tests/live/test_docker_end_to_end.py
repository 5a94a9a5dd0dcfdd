"""Whole runs with `--docker`, as a person starts them, and what they leave on the engine."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from backends.docker.connection import open_engine
from backends.docker.container import PLANNER, ROLE, WORK_DIR
from claude.simulation.server import serve
from core.bundle import SimulationSettings, build_manifest
from core.clock import SystemClock
from core.job import Manifest
from parallel_task_orchestrator.conformance.live_run import eventually
from tests.engine.repository.repos import make_repository
from tests.live.docker_run import (
    FULL_IMAGE,
    IMAGE,
    ROOT,
    WHOLE,
    command_line,
    left_behind,
    orchestrate,
    quiet_environment,
)
from tests.live.mistakes import OPTIONS, check_how_they_end

pytestmark = [pytest.mark.docker_engine, pytest.mark.slow, pytest.mark.timeout(240)]
FAST = ("--sim-speed", "0", "--quiet", "--max-executors", "2", "--output-dir", "out")
SLOW = ("--sim-speed", "0.05", "--quiet", "--max-executors", "2", "--output-dir", "out")
SMALL = "Write a script that prints the first ten primes"


def on_threads(place: Path, *wish: str) -> Manifest:
    """The tree of the same run without containers."""
    place.mkdir()
    command = [part for part in command_line(*wish, *FAST) if part != "--docker"]
    done = orchestrate(place, command)
    assert done.returncode == 0, done.stderr
    return build_manifest(place / "out")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The tree of SMALL, which has one task."""
    return on_threads(tmp_path_factory.mktemp("threads") / "small", SMALL)


def run_in_containers(
    place: Path, *args: str, image: str = IMAGE, network: str = "none", **environ: str
) -> Manifest:
    """The tree of a run that has to go well; nothing of it is left on the engine."""
    command = command_line(*args, *FAST, image=image, network=network)
    done = orchestrate(place, command, **environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert left_behind(place / ".orchestrator") == []
    return build_manifest(place / "out")


# -- the same tree


def test_a_planner_and_executors_in_containers_give_the_tree_of_threads(tmp_path: Path) -> None:
    expected = on_threads(tmp_path / "threads", *WHOLE)
    with made_containers(tmp_path) as made:
        got = run_in_containers(tmp_path, *WHOLE, "--docker-planner-in-docker")
    assert got == expected
    tasks = list((tmp_path / ".orchestrator").glob("runs/*/tasks/*/1/result/result.json"))
    assert len(tasks) == 4
    assert sorted(made) == ["executor"] * len(tasks) + [PLANNER, "probe"]


def test_the_command_line_tool_of_claude_gives_the_tree_of_the_api(
    small: Manifest, tmp_path: Path
) -> None:
    args = (SMALL, "--engine", "claude-code", "--docker-memory", "1g")
    by_cli = run_in_containers(tmp_path, *args, image=FULL_IMAGE)
    assert by_cli == small
    [transcript] = tmp_path.glob(".orchestrator/runs/*/tasks/*/1/result/transcript.jsonl")
    assert '"engine": "claude-code"' in transcript.read_text()


@pytest.mark.parametrize("engine", ["api", "claude-code"])
def test_a_real_run_over_loopback_gives_the_simulations_tree(
    small: Manifest, tmp_path: Path, engine: str
) -> None:
    image = FULL_IMAGE if engine == "claude-code" else IMAGE
    server_of_it = serve(0, SimulationSettings(speed=0), SystemClock())
    with server_of_it as server, made_containers(tmp_path) as made:
        got = run_in_containers(
            tmp_path,
            *(SMALL, "--real", "--engine", engine, "--docker-memory", "1g"),
            image=image,
            network="host",
            ANTHROPIC_API_KEY="sk-ant-test",
            ANTHROPIC_BASE_URL=server.base_url,
        )
    assert got == small
    assert made.count("executor") == 1
    assert PLANNER not in made


@contextmanager
def made_containers(place: Path) -> Iterator[list[str]]:
    """The role of each container that runs below `place` make meanwhile.

    Heard as it happens: the engine keeps the last 256 events only, of all tests together.
    """
    made: list[str] = []
    engine = open_engine(dict(os.environ))
    filters = {"type": "container", "event": "create", "label": WORK_DIR}
    stream = engine.events(filters=filters, decode=True)

    def listen() -> None:
        with suppress(Exception):  # closing it ends it so
            for event in stream:
                labels = event["Actor"]["Attributes"]
                if labels[WORK_DIR].endswith(str(place / ".orchestrator")):
                    made.append(labels[ROLE])

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield made
    finally:
        stream.close()
        listener.join(timeout=10)
        engine.close()


# -- nothing left


def test_a_run_that_failed_leaves_nothing_on_the_engine(tmp_path: Path) -> None:
    command = command_line(SMALL, *FAST, "--sim-faults", "refusal=1", "--max-retries", "1")
    plan = tmp_path / "plan.json"
    plan.write_text(_small_plan())
    done = orchestrate(tmp_path, [*command, "--plan", str(plan)])
    assert done.returncode == 1, done.stdout + done.stderr
    [journal] = tmp_path.glob(".orchestrator/runs/*/journal.jsonl")
    assert '"cause":"REFUSED"' in journal.read_text()
    assert left_behind(tmp_path / ".orchestrator") == []


@cache
def _small_plan() -> str:
    command = [*command_line()[:2], "plan", SMALL, "--sim-speed", "0", "--json", "--quiet"]
    done = orchestrate(ROOT, command)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(place: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A run whose executors take very long, once one of them runs."""
    place.mkdir(exist_ok=True)
    process = subprocess.Popen(
        command_line(*args),
        cwd=place,
        env=quiet_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            _until(lambda: process.poll() is not None or _has_begun(place), "a container runs")
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            yield process
        finally:
            process.kill()


def _has_begun(place: Path) -> bool:
    journals = list(place.glob(".orchestrator/runs/*/journal.jsonl"))
    return any('"job_submitted"' in journal.read_text() for journal in journals)


def _until(look: Any, what: str) -> None:
    eventually(look, what, within_s=90, every_s=0.1, clock=SystemClock())


def _slow_plan(place: Path) -> str:
    """A plan in a file, since the planner of a slow simulation is slow too."""
    place.mkdir(exist_ok=True)
    path = place / "plan.json"
    path.write_text(_small_plan())
    return str(path)


@pytest.mark.parametrize("existing", [False, True], ids=["new", "existing code"])
def test_after_a_kill_clean_removes_what_was_left(existing: bool, tmp_path: Path) -> None:
    slow = [*SLOW, "--plan", _slow_plan(tmp_path)]
    if existing:
        slow[slow.index("--output-dir")] = "--into"
        make_repository(tmp_path / "out")
    with running(tmp_path, SMALL, *slow) as process:
        process.kill()
        process.wait()
    left = left_behind(tmp_path / ".orchestrator")
    assert len([name for name in left if "-base-" in name]) == existing
    assert [name for name in left if name.startswith("container")], "there was nothing to remove"
    [run] = tmp_path.glob(".orchestrator/runs/*/run.json")
    clean = [*command_line()[:2], "clean"]
    told = orchestrate(tmp_path, [*clean, "--yes"])
    assert "may still run" in told.stdout, "what runs goes only when it is named"
    told = orchestrate(tmp_path, [*clean, run.parent.name])
    assert "container orchestrator-" in told.stdout
    assert left_behind(tmp_path / ".orchestrator") == left, "nothing goes without --yes"
    clean.append(run.parent.name)
    done = orchestrate(tmp_path, [*clean, "--yes"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert left_behind(tmp_path / ".orchestrator") == []


def test_after_a_kill_resume_takes_the_containers_up_again(small: Manifest, tmp_path: Path) -> None:
    plan = _slow_plan(tmp_path)
    slow = (*SLOW[2:], "--sim-speed", "20")
    with running(tmp_path, SMALL, *slow, "--plan", plan) as process:
        process.kill()
        process.wait()
    assert left_behind(tmp_path / ".orchestrator")
    resume = [*command_line()[:2], "resume", "last", "--sim-speed", "0", "--json"]
    done = orchestrate(tmp_path, resume)
    assert done.returncode == 0, done.stdout + done.stderr
    assert build_manifest(tmp_path / "out") == small
    assert left_behind(tmp_path / ".orchestrator") == []
    events = [json.loads(line) for line in done.stdout.splitlines()]
    ended = [e for e in events if e["kind"] == "job_ended" and e["attempt"] == 1]
    assert ended, "no attempt of the killed process was taken up"


# -- side by side


def test_runs_beside_each_other_do_not_meet(small: Manifest, tmp_path: Path) -> None:
    """Two in one work directory, and one in another."""
    shared, apart = tmp_path / "shared", tmp_path / "apart"
    wishes: Sequence[tuple[Path, str]] = ((shared, "first"), (shared, "second"), (apart, "third"))
    for place in (shared, apart):
        place.mkdir()
    processes = [
        subprocess.Popen(
            command_line(SMALL, *FAST[:-1], name),
            cwd=place,
            env=quiet_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for place, name in wishes
    ]
    told = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    for place, name in wishes:
        assert build_manifest(place / name) == small
        assert left_behind(place / ".orchestrator") == []


def test_every_mistake_is_found_in_a_container_and_repaired_in_another_or_told(
    tmp_path: Path,
) -> None:
    done = orchestrate(tmp_path, command_line(*OPTIONS))
    assert done.returncode == 0, done.stdout + done.stderr
    check_how_they_end(tmp_path, done.stdout, f"a container of {IMAGE}")
    assert left_behind(tmp_path / ".orchestrator") == []

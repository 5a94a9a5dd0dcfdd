"""Jobs and whole runs on a real Docker Engine, for tests: what is started, and what is left of it.

`docker_run` is a run directory with a backend; `orchestrate` is the program itself in a process of
its own. Both use the images that tests/services/executor_image.sh makes.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from backends.base import BackendContext
from backends.docker.client import DockerHost
from backends.docker.connection import open_engine
from backends.docker.container import VOLUME, WORK_DIR, RunLabels
from backends.docker_backend import DockerBackend
from backends.shared.worker_image import CODE_DIR
from core.bundle import AttemptDir, Limits, ModelSettings, SimulationSettings
from core.clock import SystemClock
from core.credentials import Credentials
from core.job import JobKey, TaskResult
from core.plan import Plan
from engine.run.attempt_store import DiskStore
from engine.run.rundir import RunDir, RunFacts, create_run
from parallel_task_orchestrator.conformance.live_run import PROMPT, Bounds, LiveRun, build_plan
from tests.fakes.results import no_work

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("PTO_IMAGE", "parallel-orchestrator:slim")
FULL_IMAGE = os.environ.get("PTO_FULL_IMAGE", "parallel-orchestrator:latest")
OPTIONS: Mapping[str, Any] = {
    "docker_image": IMAGE,
    "docker_network": "none",
    "docker_memory": "512m",
}
BOUNDS = Bounds(state_s=90, cancel_s=30, look_every_s=0.1)
RUN_ID = "20260101-120000-5555"
LOST_SOCKETS = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""The SDK leaves the socket of a connect that failed to the garbage collector, which a test that
expects such failures calls at its end."""
WHOLE = ("Build it", "--sim-tasks", "4")
"""A run whose last task needs a file of another, and can therefore not be in one array with it."""


class DockerRun(LiveRun):
    """A LiveRun whose jobs may have another model and other limits than the usual ones."""

    model: ModelSettings | None = None
    limits = Limits(timeout_s=1200)

    @property
    def home(self) -> RunLabels:
        return RunLabels.of(self.run.root)

    @property
    def host(self) -> DockerHost:
        """The backend's own way to its engine."""
        assert isinstance(self.backend, DockerBackend)
        return self.backend._host

    def store(self, simulation: SimulationSettings) -> DiskStore:
        model = self.model or ModelSettings(simulation=simulation)
        return DiskStore(self.run, self.plan, PROMPT, model, self.limits)

    def attempt(self, task: str, number: int = 1) -> AttemptDir:
        return self.run.attempt(JobKey(self.run.run_id, task, number))

    def name(self, task: str, number: int = 1) -> str:
        """Of the attempt's container."""
        return self.home.job_name(JobKey(self.run.run_id, task, number))

    def finish(self, task: str) -> TaskResult:
        """The result of a job that is run to its end."""
        [handle] = self.submit(task)
        self.wait_ended(handle)
        return self.result(handle)


@contextmanager
def docker_run(
    place: Path,
    *,
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    credentials: Credentials = Credentials(),  # noqa: B008 - a frozen value
    model: ModelSettings | None = None,
    limits: Limits | None = None,
    plan: Plan | None = None,
    run_id: str = RUN_ID,
    bounds: Bounds = BOUNDS,
) -> Iterator[DockerRun]:
    """A run below `place`; at its end nothing of it is left on the engine."""
    clock = SystemClock()
    environ = dict(os.environ) if environ is None else environ

    def make(run: RunDir) -> DockerBackend:
        told = {**OPTIONS, **(options or {})}
        return DockerBackend.build(
            BackendContext(run.root, credentials, clock, no_work, told, environ)
        )

    facts = RunFacts(run_id, PROMPT, str(place / "out"), 0.0, {}, True)
    run = create_run(place / "work dir", facts)
    live = DockerRun(run, plan or build_plan(), make, bounds, clock)
    live.model = model
    live.limits = limits or live.limits
    try:
        yield live
    finally:
        live.end()


def left_behind(work_dir: Path, environ: Mapping[str, str] | None = None) -> list[str]:
    """The containers and volumes that any run of a work directory has on the engine now."""
    engine = open_engine(dict(os.environ) if environ is None else environ)
    try:
        containers: list[dict[str, Any]] = engine.containers(all=True, filters={"label": WORK_DIR})
        volumes: list[dict[str, Any]] = engine.volumes({"label": WORK_DIR})["Volumes"] or []
    finally:
        engine.close()
    found = [("container", c["Names"][0].lstrip("/"), c["Labels"]) for c in containers]
    found += [("volume", v["Name"], v["Labels"]) for v in volumes]
    return sorted(f"{kind} {n}" for kind, n, of in found if of[WORK_DIR].endswith(str(work_dir)))


def read_volume(live: DockerRun, task: str) -> bytes:
    """Everything in a container's volume, running or not: one tar, names and contents."""
    with live.host.archive(live.name(task), VOLUME) as chunks:
        assert chunks is not None
        return b"".join(chunks)


@contextmanager
def another_worker(program: str) -> Iterator[str]:
    """The name of an image of ours whose docker_executor.py is `program`: a worker gone wrong."""
    name = f"pto-test-worker-{os.getpid()}"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo("docker_executor.py")
        member.size, member.mode = len(program), 0o644
        tar.addfile(member, io.BytesIO(program.encode()))
    host = DockerHost(dict(os.environ))
    try:
        container = host.create(name, {"Image": IMAGE, "Cmd": ["true"]})
        host.put(container, CODE_DIR, io.BytesIO(stream.getvalue()))
        with host._calling() as engine:
            engine.commit(container, name, "latest")
        host.remove(container)
        try:
            yield name
        finally:
            with host._calling() as engine:
                engine.remove_image(name, force=True)
    finally:
        host.close()


def quiet_environment(**more: str) -> dict[str, str]:
    """This process's environment without anybody's credentials and settings."""
    mine = ("ANTHROPIC_", "AWS_", "CLAUDE", "ORCHESTRATOR_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    return {**kept, "AWS_EC2_METADATA_DISABLED": "true", "PYTHONDONTWRITEBYTECODE": "1", **more}


def command_line(*args: str, image: str = IMAGE, network: str = "none") -> list[str]:
    """The program with `--docker`; one wish of `args` after another beats what stands here."""
    program = [sys.executable, str(ROOT / "orchestrator.py")]
    docker = ["--docker", "--docker-image", image, "--docker-network", network]
    return [*program, *args, *docker, "--docker-memory", "512m"]


def orchestrate(
    place: Path, command: Sequence[str], **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end in `place`."""
    return subprocess.run(
        command,
        cwd=place,
        env=quiet_environment(**environ),
        capture_output=True,
        text=True,
        timeout=200,
    )

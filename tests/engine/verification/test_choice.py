"""Where checks run: what the backend says, then what is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backends.aws_batch_backend import AwsBatchBackend
from backends.base import Backend
from backends.docker_backend import DockerBackend
from backends.slurm_backend import SlurmBackend
from backends.threading_backend import ThreadingBackend
from config import Settings
from engine.verification import choice
from engine.verification.choice import choose_runner
from engine.verification.container import ContainerRunner
from tests.engine.verification.conftest import Project, planned

CONTAINER = "a container of parallel-orchestrator:latest"
REAL = Settings(real=True)
UNPROTECTED = replace(REAL, verify_on_host=True)


@pytest.mark.parametrize(
    ("backend", "settings", "lack", "expected"),
    [
        (DockerBackend, REAL, "unused", CONTAINER),
        (DockerBackend, UNPROTECTED, "unused", CONTAINER),
        (SlurmBackend, REAL, "", "a job"),
        (AwsBatchBackend, REAL, "", "a job"),
        (ThreadingBackend, REAL, "", CONTAINER),
        (ThreadingBackend, UNPROTECTED, "", CONTAINER),
        (ThreadingBackend, UNPROTECTED, "no engine", "no sandbox"),
        (ThreadingBackend, REAL, "no engine", "no bwrap; install it"),
    ],
)
def test_where_checks_run_without_bubblewrap(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    backend: type[Backend],
    settings: Settings,
    lack: str,
    expected: str,
) -> None:
    monkeypatch.setattr(choice, "find_bubblewrap", lambda tools: "no bwrap")
    monkeypatch.setattr(ContainerRunner, "problem", lambda runner: lack)
    built = backend.__new__(backend)
    tasks: Any = None
    plan, merged = planned("true"), project.merged
    runner = choose_runner(project.session, plan, merged, settings, built, tasks)
    name = runner if isinstance(runner, str) else runner.name
    assert name.startswith(expected)

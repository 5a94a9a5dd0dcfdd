"""Engine and images of the tests through the docker command; tests skip where they are absent."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

FULL = "parallel-orchestrator:latest"
SLIM = "parallel-orchestrator:slim"
CONFINED = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--network", "none", "--tmpfs", "/tmp", "--pids-limit", "200", "--memory", "512m"),
)


def docker(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = ["docker", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=100)


def require_engine() -> None:
    """Skip, with the reason, when no Docker Engine answers."""
    if shutil.which("docker") is None:
        pytest.skip(
            "there is no docker command; tests/services/docker_engine.sh installs an engine"
        )
    if docker("version").returncode != 0:
        pytest.skip("no Docker Engine answers; tests/services/docker_engine.sh starts one")


def require_image(name: str) -> dict[str, Any]:
    """What the engine says about an image; skip, with the reason, when it is not there."""
    require_engine()
    done = docker("image", "inspect", name)
    if done.returncode != 0:
        pytest.skip(f"there is no image {name}; tests/services/executor_image.sh builds it")
    found: dict[str, Any] = json.loads(done.stdout)[0]
    return found


def run_in(image: str, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in a container as confined as a job's."""
    return docker("run", "--rm", "--init", "-i", *CONFINED, image, *command, stdin=stdin)


def said_in(image: str, *command: str, stdin: str = "") -> str:
    done = run_in(image, *command, stdin=stdin)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()

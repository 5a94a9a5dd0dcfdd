"""The scripts that start services for the tests, where they need no service themselves."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "services"


def run_with(folder: Path, docker: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """executor_image.sh with a docker command of a few lines, which keeps its calls."""
    command = folder / "docker"
    command.write_text(f'#!/bin/sh\necho "$*" >>{folder}/calls\n{docker}\n')
    command.chmod(0o755)
    return subprocess.run(
        [SCRIPTS / "executor_image.sh", *arguments],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("docker", "code", "reason"),
    [
        ("exit 0", 0, ""),
        ("exit 1", 1, "No Docker Engine answers"),
        ('[ "$1" = version ]', 1, "The image parallel-orchestrator:latest was not found."),
    ],
    ids=["all is there", "no engine", "no image"],
)
def test_whether_the_images_are_ready_is_answered_without_building_them(
    tmp_path: Path, docker: str, code: int, reason: str
) -> None:
    done = run_with(tmp_path, docker, "ready")
    assert (done.returncode, done.stdout) == (code, "")
    assert reason in done.stderr
    assert "build" not in (tmp_path / "calls").read_text()

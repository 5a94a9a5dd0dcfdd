"""The script of a job, as text: no secret is in it, since the controller keeps scripts. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

SETUP_NAME = "setup.sh"


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Where a worker finds what it needs, by paths as the nodes see them. `python` runs it where
    there is no `setup` and no `container`; there it is the python3 of those."""

    run_dir: str
    code: str
    python: str
    setup: str = ""
    container: str = ""


def render_script(place: WorkerPlace, batch_dir: str) -> str:
    """Runs the attempt that stands in the index at this job's place of the array."""
    worker = [
        shlex.quote(f"{place.code}/batch_executor.py"),
        shlex.quote(batch_dir),
        '"${SLURM_ARRAY_TASK_ID:-0}"',
        '"${SLURM_CLUSTER_NAME:-slurm}:$SLURM_JOB_ID#${SLURM_RESTART_COUNT:-0}"',
        *(["--contained"] if place.container else []),
    ]
    return _render(place, worker)


def render_probe(place: WorkerPlace, answer: str, engine: str, host: str, port: int) -> str:
    """Writes to the file `answer` what a worker would find on its node."""
    told = [answer, engine, host, str(port)]
    worker = [shlex.quote(f"{place.code}/batch_executor.py"), "--check", *map(shlex.quote, told)]
    return _render(place, worker)


def _render(place: WorkerPlace, worker: list[str]) -> str:
    lines = ["#!/bin/bash"]
    if place.setup:
        # a job that is not of a login shell lacks the function `module`
        lines += ["[ -r /etc/profile ] && . /etc/profile", f". {shlex.quote(place.setup)}"]
    lines += ["export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1"]
    python = place.python if not (place.setup or place.container) else "python3"
    # exec, so that the signals that Slurm sends to the script reach the worker
    lines += [" ".join(["exec", *_around(place), shlex.quote(python), *worker])]
    return "\n".join(lines) + "\n"


def _around(place: WorkerPlace) -> list[str]:
    """Apptainer with nothing of the node but the run's directory and the worker's code.

    https://apptainer.org/docs/user/main/cli/apptainer_exec.html
    """
    if not place.container:
        return []
    binds = [f"--bind={path}" for path in dict.fromkeys((place.run_dir, place.code))]
    parts = ["--containall", "--cleanenv", "--no-home", *binds, f"--pwd={place.run_dir}"]
    variables = ["--env=PYTHONDONTWRITEBYTECODE=1,PYTHONUNBUFFERED=1"]
    return ["apptainer", "exec", *map(shlex.quote, [*parts, *variables, place.container])]

"""The script of a job, as text: no secret is in it, since the controller keeps scripts. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

SETUP_NAME = "setup.sh"
ATTEMPTS_NAME = "attempts"
"""In a batch's folder: the index for the shell, a directory below the run's a line."""


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Where a worker finds what it needs, by paths as the nodes see them. `python` runs it where
    there is no `setup` and no `container`; there it is the python3 of those. `credentials` is a
    file, or empty where there are none."""

    run_dir: str
    code: str
    python: str
    setup: str = ""
    container: str = ""
    credentials: str = ""


def render_script(place: WorkerPlace, batch_dir: str) -> str:
    """Runs the attempt that stands in the index at this job's place of the array."""
    worker = [
        shlex.quote(f"{place.code}/batch_executor.py"),
        shlex.quote(batch_dir),
        '"${SLURM_ARRAY_TASK_ID:-0}"',
        '"${SLURM_CLUSTER_NAME:-slurm}:$SLURM_JOB_ID#${SLURM_RESTART_COUNT:-0}"',
    ]
    if not place.container:
        return _render(place, [], worker)
    # Of the run a container sees its own attempt alone. Credentials come on standard input: a file
    # that it sees would be the model's to read.
    lines = [
        f"attempts={shlex.quote(f'{batch_dir}/{ATTEMPTS_NAME}')}",
        f"run_dir={shlex.quote(place.run_dir)}",
        'attempt="$run_dir/$(sed -n "$((${SLURM_ARRAY_TASK_ID:-0} + 1))p" "$attempts")"',
    ]
    around = _apptainer(place, '"$attempt"', [place.code, batch_dir])
    source = shlex.quote(place.credentials or "/dev/null")
    return _render(place, around, [*worker, "--contained", "<", source], lines)


def render_probe(
    place: WorkerPlace, answer: str, engine: str, provider: str, host: str, port: int
) -> str:
    """Writes to the file `answer` what a worker would find on its node."""
    told = [answer, engine, provider, host, str(port)]
    worker = [shlex.quote(f"{place.code}/batch_executor.py"), "--check", *map(shlex.quote, told)]
    folder = shlex.quote(answer.rpartition("/")[0])
    return _render(place, _apptainer(place, folder, [place.code]), worker)


def _render(
    place: WorkerPlace, around: Sequence[str], worker: Sequence[str], before: Sequence[str] = ()
) -> str:
    lines = ["#!/bin/bash"]
    if place.setup:
        # a job that is not of a login shell lacks the function `module`
        lines += ["[ -r /etc/profile ] && . /etc/profile", f". {shlex.quote(place.setup)}"]
    lines += ["export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1", *before]
    python = place.python if not (place.setup or place.container) else "python3"
    # exec, so that the signals that Slurm sends to the script reach the worker
    lines += [" ".join(["exec", *around, shlex.quote(python), *worker])]
    return "\n".join(lines) + "\n"


def _apptainer(place: WorkerPlace, folder: str, read_only: Sequence[str]) -> list[str]:
    """Words for the shell: nothing of the node but `folder`, quoted already, which may be written
    to, and what may be read; nothing at all without a container.

    https://apptainer.org/docs/user/main/cli/apptainer_exec.html
    """
    if not place.container:
        return []
    binds = [f"--bind={path}:{path}:ro" for path in read_only]
    variables = "--env=PYTHONDONTWRITEBYTECODE=1,PYTHONUNBUFFERED=1"
    return [
        *("apptainer", "exec", "--containall", "--cleanenv", "--no-home"),
        *(f"--bind={folder}", *map(shlex.quote, binds), f"--pwd={folder}"),
        *(variables, shlex.quote(place.container)),
    ]

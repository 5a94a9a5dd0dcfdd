"""The scripts of jobs as text. They hold no secret, since the controller keeps them. Pure."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

ATTEMPTS_NAME = "attempts"  # in an array's folder: the index for the shell


@dataclass(frozen=True, slots=True)
class WorkerPaths:
    """Where a worker finds what it needs, as the nodes see it.

    `python` is the interpreter without a `setup` and a `container`, whose python3 is used
    otherwise. `credentials` is a file, or empty.
    """

    run_dir: str
    code: str
    python: str
    setup: str = ""
    container: str = ""
    credentials: str = ""


def render_script(paths: WorkerPaths, array_dir: str) -> str:
    """Runs the attempt that the index of the array names for this job."""
    worker = [
        shlex.quote(f"{paths.code}/batch_executor.py"),
        shlex.quote(array_dir),
        '"${SLURM_ARRAY_TASK_ID:-0}"',
        '"${SLURM_CLUSTER_NAME:-slurm}:$SLURM_JOB_ID#${SLURM_RESTART_COUNT:-0}"',
    ]
    if not paths.container:
        return _render(paths, [], worker)
    # A container sees only its own attempt of the run. Credentials come on standard input, since
    # the model could read a file that is visible there.
    lines = [
        f"attempts={shlex.quote(f'{array_dir}/{ATTEMPTS_NAME}')}",
        f"run_dir={shlex.quote(paths.run_dir)}",
        'attempt="$run_dir/$(sed -n "$((${SLURM_ARRAY_TASK_ID:-0} + 1))p" "$attempts")"',
    ]
    apptainer = _apptainer(paths, '"$attempt"', [paths.code, array_dir])
    credentials = shlex.quote(paths.credentials or "/dev/null")
    return _render(paths, apptainer, [*worker, "--contained", "<", credentials], lines)


def render_probe(
    paths: WorkerPaths, answer: str, engine: str, provider: str, host: str, port: int
) -> str:
    """Writes the file `answer` with what a worker would find on its node."""
    words = [f"{paths.code}/batch_executor.py", "--check", answer, engine, provider, host]
    worker = [shlex.quote(word) for word in (*words, str(port))]
    folder = shlex.quote(answer.rpartition("/")[0])
    return _render(paths, _apptainer(paths, folder, [paths.code]), worker)


def _render(
    paths: WorkerPaths, prefix: Sequence[str], worker: Sequence[str], before: Sequence[str] = ()
) -> str:
    # Slurm may warn of a time limit right after the start, and that ends what does not listen yet
    lines = ["#!/bin/bash", "trap '' USR1"]
    if paths.setup:
        # the function `module` exists in login shells only
        lines += ["[ -r /etc/profile ] && . /etc/profile", f". {shlex.quote(paths.setup)}"]
    lines += ["export PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1", *before]
    python = "python3" if paths.setup or paths.container else paths.python
    # exec, so that the signals that Slurm sends to the script reach the worker
    lines += [" ".join(["exec", *prefix, shlex.quote(python), *worker])]
    return "\n".join(lines) + "\n"


def _apptainer(paths: WorkerPaths, folder: str, read_only: Sequence[str]) -> list[str]:
    """The start of the command in a container, in which only `folder`, quoted already, can be
    written and `read_only` can be read; empty without a container.

    https://apptainer.org/docs/user/main/cli/apptainer_exec.html
    """
    if not paths.container:
        return []
    binds = [f"--bind={path}:{path}:ro" for path in read_only]
    variables = "--env=PYTHONDONTWRITEBYTECODE=1,PYTHONUNBUFFERED=1"
    return [
        *("apptainer", "exec", "--containall", "--cleanenv", "--no-home"),
        *(f"--bind={folder}", *map(shlex.quote, binds), f"--pwd={folder}"),
        *(variables, shlex.quote(paths.container)),
    ]

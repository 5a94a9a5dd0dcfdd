"""Whether Slurm would run such jobs: what can be checked here, then what the cluster answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from backends.slurm import commands
from backends.slurm.commands import Partition
from backends.slurm.host import ClusterHost, CommandResult
from backends.slurm.settings import SlurmSettings
from backends.slurm.states import job_state
from core.errors import BackendError, Problem

P = ParamSpec("P")

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
_AMBIGUOUS = "Requested node configuration"
"""Printed for nodes that are too small, and for those that are down, drained or reserved."""
_TEST_SCRIPT = "#!/bin/sh\ntrue\n"


def errors_as_problems(find: Callable[P, Iterable[Problem]]) -> Callable[P, list[Problem]]:
    """Also report the BackendError that ends the search as a problem."""

    @wraps(find)
    def search(*args: P.args, **kwargs: P.kwargs) -> list[Problem]:
        try:
            return list(find(*args, **kwargs))
        except BackendError as exc:
            return [Problem(exc.message, exc.remedy)]

    return search


@errors_as_problems
def find_problems(host: ClusterHost, settings: SlurmSettings) -> Iterator[Problem]:
    """What is missing, each with its fix; the cluster is asked only when it can be."""
    if missing := host.missing_commands(COMMANDS):
        yield Problem(
            f"Slurm's commands {', '.join(missing)} were not found on PATH.",
            "Run this on a login node of the cluster, or load its Slurm module.",
        )
        return
    yield from _own_problems(host, settings)
    yield from _cluster_problems(host, settings)


def read_setup(path: Path) -> bytes:
    """The content of a setup file. Raises BackendError."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BackendError(
            f"The setup file {path} could not be read: {exc.strerror}.", "Correct --slurm-setup."
        ) from exc


def _own_problems(host: ClusterHost, settings: SlurmSettings) -> Iterator[Problem]:
    if settings.slurm_container and set(host.run_dir) & set(":,"):
        yield Problem(
            f"Apptainer cannot bind {host.run_dir!r}: colons and commas separate paths there.",
            "Choose a --work-dir without them in its path.",
        )
    if "\\" in host.run_dir:
        yield Problem(
            f"Slurm cannot write logs below {host.run_dir!r}: it treats a backslash as an escape.",
            "Choose a --work-dir without one in its path.",
        )
    if (setup := settings.slurm_setup) is not None and not setup.is_file():
        yield Problem(f"The setup file {setup} was not found.", "Correct --slurm-setup.")
    yield from _image_problems(host, settings.slurm_container)
    time, wanted_s = settings.slurm_time, settings.task_timeout
    if (limit_s := commands.time_limit_s(time)) is not None and limit_s <= wanted_s:
        yield Problem(
            f"--slurm-time {time} is not longer than --task-timeout ({wanted_s:g} s), so"
            " Slurm would end tasks that may still run.",
            "Raise --slurm-time, or lower --task-timeout.",
        )
    contained = bool(settings.slurm_container) or settings.allow_commands
    if settings.engine == "claude-code" and not contained:
        yield Problem(
            "The engine claude-code runs commands of the model, and a job without a container runs"
            " them with your own permissions.",
            "Run the workers in an image with --slurm-container, or allow it with"
            " --allow-commands.",
        )


def _image_problems(host: ClusterHost, image: str) -> Iterator[Problem]:
    """Jobs start in the run's directory, so that a relative path would name another file."""
    if not image or "://" in image:
        return
    if not image.startswith("/"):
        yield Problem(
            f"The image {image!r} of --slurm-container is a relative path.",
            "Give its absolute path on the nodes, or a name such as docker://python:3.12.",
        )
    elif host.shares_disk and not Path(image).exists():
        yield Problem(f"The image {image} was not found.", "Correct --slurm-container.")


def _cluster_problems(host: ClusterHost, settings: SlurmSettings) -> Iterator[Problem]:
    result = host.run(commands.build_sinfo())
    if result.exit_code != 0:
        yield _no_answer(result)
        return
    if problem := _partition_problem(commands.parse_sinfo(result.stdout), settings.slurm_partition):
        yield problem
        return
    tested = _test(host, settings)
    if tested.exit_code == 0:
        return
    if commands.is_unreachable(tested.stderr):
        yield _no_answer(tested)
    elif not _would_wait(host, settings, tested.stderr):
        yield Problem(f"Slurm refused such jobs: {tested.error}.", "Correct the --slurm options.")


def _test(host: ClusterHost, settings: SlurmSettings) -> CommandResult:
    return host.run(commands.build_test(settings, "/"), stdin=_TEST_SCRIPT)


def _no_answer(result: CommandResult) -> Problem:
    return Problem(f"Slurm did not answer: {result.error}.", "Check the cluster: scontrol ping.")


def _would_wait(host: ClusterHost, settings: SlurmSettings, refusal: str) -> bool:
    """Whether Slurm would queue such a job. The test also fails where it only cannot start now,
    and that must not keep a run with running jobs from being resumed."""
    if commands.is_job_limit(refusal):
        listed = commands.parse_squeue(host.run(commands.build_squeue()).stdout)
        return any(not job_state(record.state).final for record in listed)
    if not commands.may_start_later(refusal):
        return False
    if _AMBIGUOUS not in refusal:
        return True
    return commands.may_start_later(_test(host, commands.minimal_settings(settings)).stderr)


def _partition_problem(partitions: Sequence[Partition], wanted: str) -> Problem | None:
    names = ", ".join(p.name for p in partitions) or "none"
    if wanted:
        chosen = [p for p in partitions if p.name in wanted.split(",")]
        if not chosen:
            return Problem(f"The cluster has no partition {wanted!r}.", f"Choose one of: {names}.")
    else:
        chosen = [p for p in partitions if p.is_default]
        if not chosen and partitions:
            return Problem(
                "The cluster has no default partition.",
                f"Choose one with --slurm-partition: {names}.",
            )
    if chosen and not any(p.is_up for p in chosen):
        states = ", ".join(f"{p.name} is {p.state}" for p in chosen)
        up = ", ".join(p.name for p in partitions if p.is_up) or "none is up"
        return Problem(f"No jobs can start now: {states}.", f"Choose another partition: {up}.")
    return None

"""Whether Slurm would run such jobs: what can be checked here, then what the cluster answers.

A probe is one short job that finds out what only a node knows: whether it sees the run's directory,
whether its Python can run a worker, and whether it reaches the provider.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from backends.shared.output import cause_first
from backends.shared.provider_endpoint import provider_address
from backends.slurm import commands
from backends.slurm.commands import Partition
from backends.slurm.host import ClusterHost, CommandResult, Upload, UploadFile
from backends.slurm.script import WorkerPaths, render_probe
from backends.slurm.settings import SlurmSettings
from backends.slurm.states import JobRecord, explain_pending, job_state
from core.bundle import WIRE_VERSION
from core.clock import Clock
from core.errors import BackendError, BundleError, Problem
from core.job import JobState
from core.text_file import read_bytes
from core.wire import decode
from core.worker.check import WorkerCheck

P = ParamSpec("P")

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
_AMBIGUOUS = "Requested node configuration"
"""Printed for nodes that are too small, and for those that are down, drained or reserved."""
_TEST_SCRIPT = "#!/bin/sh\ntrue\n"

PROBE_TIMEOUT_S = 300.0
_FOLDER = "slurm/probe"
_SCRIPT, _SETUP = f"{_FOLDER}/job.sh", f"{_FOLDER}/setup.sh"
_ANSWER, _LOG = f"{_FOLDER}/answer.json", f"{_FOLDER}/0.log"
_PAUSES_S = (0.25, 5.0)


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
        fix = "Run this on a login node of the cluster, or load its Slurm module."
        yield Problem(f"Slurm's commands {', '.join(missing)} were not found on PATH.", fix)
        return
    yield from _own_problems(host, settings)
    yield from _cluster_problems(host, settings)


def share_remedy(host: ClusterHost) -> str:
    """What to do where the nodes do not see the run's directory."""
    return f"Put {host.shared_option} on a file system that all nodes share and can write to."


def start_remedy(settings: SlurmSettings) -> str:
    """What to do where workers cannot start on a node."""
    needed = "a python3 of 3.11 or newer with this program's packages"
    if settings.slurm_container:
        return f"Give a --slurm-container that has {needed}; the nodes need apptainer."
    if settings.slurm_setup is not None:
        return f"Correct --slurm-setup: it has to activate {needed}."
    return f"Give a --slurm-setup that activates {needed}, or a --slurm-container."


def read_setup(path: Path) -> bytes:
    """The content of a setup file. Raises BackendError."""
    try:
        return read_bytes(path)
    except OSError as exc:
        message = f"The setup file {path} could not be read: {exc.strerror}."
        raise BackendError(message, "Correct --slurm-setup.") from exc


def _own_problems(host: ClusterHost, settings: SlurmSettings) -> Iterator[Problem]:
    if settings.slurm_container and set(host.run_dir) & set(":,"):
        what = f"Apptainer cannot bind {host.run_dir!r}: colons and commas separate paths there."
        yield Problem(what, "Choose a --work-dir without them in its path.")
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
        fix = "Give its absolute path on the nodes, or a name such as docker://python:3.12."
        yield Problem(f"The image {image!r} of --slurm-container is a relative path.", fix)
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
    if commands.lacks_configuration(result.stderr):
        return Problem(
            "Slurm is not set up here, since its commands found no slurm.conf:"
            f" {result.error.rpartition('; ')[2]}.",
            "Run this on a login node of the cluster, or set SLURM_CONF to its slurm.conf.",
        )
    return Problem(f"Slurm did not answer: {result.error}.", "Check the cluster: scontrol ping.")


def _would_wait(host: ClusterHost, settings: SlurmSettings, refusal: str) -> bool:
    """Whether Slurm would queue such a job: its test also fails for one that must only wait."""
    if commands.is_job_limit(refusal):
        listed = commands.parse_squeue(host.run(commands.build_squeue()).stdout)
        return any(not job_state(record.state).final for record in listed)
    if not commands.may_start_later(refusal):
        return False
    if _AMBIGUOUS not in refusal:
        return True
    smallest = replace(  # in the same partition and for the same time
        settings, slurm_cpus=1, slurm_mem="", slurm_gpus=0, slurm_constraint="", slurm_arg=()
    )
    return commands.may_start_later(_test(host, smallest).stderr)


def _partition_problem(partitions: Sequence[Partition], wanted: str) -> Problem | None:
    names = ", ".join(p.name for p in partitions) or "none"
    if wanted:
        chosen = [p for p in partitions if p.name in wanted.split(",")]
        if not chosen:
            return Problem(f"The cluster has no partition {wanted!r}.", f"Choose one of: {names}.")
    else:
        chosen = [p for p in partitions if p.is_default]
        if not chosen and partitions:
            fix = f"Choose one with --slurm-partition: {names}."
            return Problem("The cluster has no default partition.", fix)
    if chosen and not any(p.is_up for p in chosen):
        states = ", ".join(f"{p.name} is {p.state}" for p in chosen)
        up = ", ".join(p.name for p in partitions if p.is_up) or "none is up"
        return Problem(f"No jobs can start now: {states}.", f"Choose another partition: {up}.")
    return None


@errors_as_problems
def probe(
    host: ClusterHost, settings: SlurmSettings, paths: WorkerPaths, clock: Clock
) -> Iterator[Problem]:
    """Run one short job to its end and report what it found missing; leaves nothing behind."""
    try:
        upload = Upload(list(_files(host, settings, paths)))
        name = commands.job_name("probe")
        command = commands.build_sbatch(settings, host.run_dir, name, "probe", _SCRIPT, 1)
        submitted = host.run(command, upload)
        if (job_id := commands.parse_job_id(submitted.stdout)) is not None:
            yield from _follow(host, settings, name, job_id, clock)
            return
        reason = f"Slurm refused the test job: {submitted.error}."
        yield Problem(reason, "Correct the --slurm options.")
    finally:
        host.remove([_FOLDER])


def _files(host: ClusterHost, settings: SlurmSettings, paths: WorkerPaths) -> Iterator[UploadFile]:
    if settings.slurm_setup is not None:
        yield UploadFile(_SETUP, read_setup(settings.slurm_setup), 0o600)
        paths = replace(paths, setup=f"{host.run_dir}/{_SETUP}")
    provider_host, port = provider_address(settings)
    answer = f"{host.run_dir}/{_ANSWER}"
    script = render_probe(paths, answer, settings.engine, settings.provider, provider_host, port)
    yield UploadFile(_SCRIPT, script.encode(), 0o755)


def _follow(
    host: ClusterHost, settings: SlurmSettings, name: str, job_id: str, clock: Clock
) -> Iterator[Problem]:
    record = None
    try:
        record = _wait_for_end(host, name, job_id, clock)
    finally:
        if record is None or not job_state(record.state).final:
            host.run(["scancel", job_id])
    if record is None or job_state(record.state).final:
        yield from _read_answer(host, settings, record)
        return
    what = f"The test job did not end within {PROBE_TIMEOUT_S:g} s: {explain_pending(record)}."
    yield Problem(what, f"Inspect it: scontrol show job {job_id}.")


def _wait_for_end(host: ClusterHost, name: str, job_id: str, clock: Clock) -> JobRecord | None:
    """The job at its end, or when time is up; None when it is no longer listed."""
    until, (pause_s, longest_s) = clock.monotonic() + PROBE_TIMEOUT_S, _PAUSES_S
    while True:
        listed = host.run(commands.build_squeue(name))
        records = commands.parse_squeue(listed.stdout)
        record = next((r for r in records if r.array_id == job_id), None)
        gone = listed.exit_code == 0 and record is None
        if gone or (record and job_state(record.state).final) or clock.monotonic() >= until:
            return record
        clock.sleep(pause_s)
        pause_s = min(longest_s, pause_s * 2)


def _read_answer(
    host: ClusterHost, settings: SlurmSettings, record: JobRecord | None
) -> Iterator[Problem]:
    tails = host.tails([_ANSWER, _LOG])
    if not tails[_ANSWER]:
        yield _no_worker_answer(host, settings, record, cause_first(tails[_LOG]))
        return
    try:
        answer = decode(WorkerCheck, tails[_ANSWER], _ANSWER)
    except BundleError as exc:
        yield Problem(f"The test job's answer could not be read: {exc.message}", exc.remedy)
        return
    yield from check_problems(answer, settings)


def _no_worker_answer(
    host: ClusterHost, settings: SlurmSettings, record: JobRecord | None, output: str
) -> Problem:
    share = share_remedy(host)
    if record is not None and job_state(record.state) is JobState.SUCCEEDED:
        return Problem("The test job succeeded, but what it wrote is not visible here.", share)
    if not output:
        return Problem(f"The test job failed and left no log in {host.run_dir}.", share)
    return Problem(
        f"A worker could not start on a node: {output}.",
        f"{start_remedy(settings)} Share the work directory with the nodes.",
    )


def check_problems(answer: WorkerCheck, settings: SlurmSettings) -> Iterator[Problem]:
    """What a worker found missing on its node."""
    node = answer.node
    if answer.wire != WIRE_VERSION:
        what = f"The worker on {node} reads bundles of version {answer.wire}, not {WIRE_VERSION}."
        yield Problem(what, "Use the same version of the program on both sides.")
    if answer.missing_package:
        yield Problem(
            f"Python {answer.python} on {node} lacks a package: {answer.missing_package}.",
            start_remedy(settings),
        )
    if answer.missing_cli:
        fix = "Install it where the nodes can see it, or choose --engine api."
        yield Problem(f"On {node}: {answer.missing_cli}", fix)
    if answer.unreachable:
        yield Problem(
            f"The node {node} cannot reach {answer.unreachable}; it may have no internet access.",
            "Set HTTPS_PROXY in --slurm-setup, choose a partition whose nodes have internet access,"
            " or set the base URL to a gateway that they can reach.",
        )

"""One short job that finds out what only a node knows: whether it sees the run's directory, whether
its Python can run a worker, and whether it reaches the provider.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from backends.shared.provider_endpoint import provider_address
from backends.slurm import commands
from backends.slurm.host import ClusterHost, Upload, UploadFile
from backends.slurm.preflight import errors_as_problems, read_setup
from backends.slurm.script import WorkerPaths, render_probe
from backends.slurm.settings import SlurmSettings
from backends.slurm.states import JobRecord, explain_pending, job_state
from core.bundle import WIRE_VERSION
from core.clock import Clock
from core.errors import BundleError, Problem
from core.job import JobState
from core.wire import decode
from core.worker.check import WorkerCheck

PROBE_TIMEOUT_S = 300.0
_FOLDER = "slurm/probe"
_SCRIPT, _SETUP = f"{_FOLDER}/job.sh", f"{_FOLDER}/setup.sh"
_ANSWER, _LOG = f"{_FOLDER}/answer.json", f"{_FOLDER}/0.log"
_PAUSES_S = (0.25, 5.0)


@errors_as_problems
def probe(
    host: ClusterHost,
    settings: SlurmSettings,
    paths: WorkerPaths,
    clock: Clock,
) -> Iterator[Problem]:
    """Run one short job to its end and report what it found missing; leaves nothing behind."""
    try:
        upload = Upload(list(_files(host, settings, paths)))
        name = commands.job_name("probe")
        command = commands.build_sbatch(settings, host.run_dir, name, "probe", _SCRIPT, 1)
        submitted = host.run(command, upload)
        if (job_id := commands.parse_job_id(submitted.stdout)) is not None:
            yield from _follow(host, name, job_id, clock)
            return
        what = f"Slurm refused the test job: {submitted.error}."
        yield Problem(what, "Correct the --slurm options.")
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


def _follow(host: ClusterHost, name: str, job_id: str, clock: Clock) -> Iterator[Problem]:
    record = None
    try:
        record = _wait_for_end(host, name, job_id, clock)
    finally:
        if record is None or not job_state(record.state).final:
            host.run(["scancel", job_id])
    if record is not None and not job_state(record.state).final:
        yield Problem(
            f"The test job did not end within {PROBE_TIMEOUT_S:g} s: {explain_pending(record)}.",
            f"Inspect it: scontrol show job {job_id}.",
        )
        return
    yield from _read_answer(host, record)


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


def _read_answer(host: ClusterHost, record: JobRecord | None) -> Iterator[Problem]:
    tails = host.tails([_ANSWER, _LOG])
    if not tails[_ANSWER]:
        yield _no_answer(host, record, " ".join(tails[_LOG].split())[-400:])
        return
    try:
        answer = decode(WorkerCheck, tails[_ANSWER], _ANSWER)
    except BundleError as exc:
        yield Problem(f"The test job's answer could not be read: {exc.message}", exc.remedy)
        return
    yield from check_problems(answer)


def _no_answer(host: ClusterHost, record: JobRecord | None, output: str) -> Problem:
    share = f"Put {host.shared_option} on a file system that all nodes share and can write to."
    if record is not None and job_state(record.state) is JobState.SUCCEEDED:
        return Problem("The test job succeeded, but what it wrote is not visible here.", share)
    if not output:
        return Problem(f"The test job failed and left no log in {host.run_dir}.", share)
    return Problem(
        f"A worker could not start on a node: {output}",
        "Give a --slurm-setup whose python3 is 3.11 or newer and has this program's packages,"
        " or a --slurm-container. Share the work directory with the nodes.",
    )


def check_problems(answer: WorkerCheck) -> Iterator[Problem]:
    """What a worker found missing on its node."""
    node = answer.node
    if answer.wire != WIRE_VERSION:
        yield Problem(
            f"The worker on {node} reads bundles of version {answer.wire}, not {WIRE_VERSION}.",
            "Use the same version of the program on both sides.",
        )
    if answer.missing_package:
        yield Problem(
            f"Python {answer.python} on {node} lacks a package: {answer.missing_package}.",
            "Give a --slurm-setup that activates an environment with this program installed.",
        )
    if answer.missing_cli:
        yield Problem(
            f"On {node}: {answer.missing_cli}",
            "Install it where the nodes can see it, or choose --engine api.",
        )
    if answer.unreachable:
        yield Problem(
            f"The node {node} cannot reach {answer.unreachable}; it may have no internet access.",
            "Set HTTPS_PROXY in --slurm-setup, choose a partition whose nodes have internet access,"
            " or set the base URL to a gateway that they can reach.",
        )

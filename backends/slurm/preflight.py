"""Whether jobs can run on this cluster: what Slurm says of them, then what one short job finds.

The probe tells what only a node can know: whether it sees the run's directory, whether its Python
can run a worker, and whether it reaches the provider.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from backends.shared.provider_endpoint import provider_address
from backends.slurm.commands import (
    Partition,
    build_sbatch,
    build_scancel,
    build_sinfo,
    build_squeue,
    build_test,
    is_about_now,
    is_out_of_reach,
    is_over_a_limit,
    job_name,
    least_of,
    parse_job_id,
    parse_sinfo,
    parse_squeue,
    time_limit_s,
    words_of,
)
from backends.slurm.host import ClusterHost, CommandResult, Upload, UploadFile
from backends.slurm.script import WorkerPlace, render_probe
from backends.slurm.settings import SlurmSettings
from backends.slurm.states import Row, explain_pending, job_state
from core.bundle import WIRE_VERSION
from core.clock import Clock
from core.errors import BackendError, BundleError, Problem
from core.job import JobState
from core.wire import decode
from core.worker.check import WorkerCheck

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
PROBE_TIMEOUT_S = 300.0
PROBE_FOLDER = "slurm/probe"
SCRIPT, ANSWER = f"{PROBE_FOLDER}/job.sh", f"{PROBE_FOLDER}/answer.json"
SETUP = f"{PROBE_FOLDER}/setup.sh"
_LOOKS_S = (0.25, 5.0)
_AMBIGUOUS = "Requested node configuration"
"""Said of nodes that are too small as of those that are down, drained or reserved."""
_TEST_SCRIPT = "#!/bin/sh\ntrue\n"


def find_problems(site: ClusterHost, settings: SlurmSettings) -> list[Problem]:
    """What is missing, each with its fix; Slurm is asked only when it can be."""
    try:
        if missing := site.missing_commands(COMMANDS):
            return [
                Problem(
                    f"Slurm's {', '.join(missing)} cannot be found on PATH.",
                    "Run this on a login node of the cluster, or load its Slurm module.",
                )
            ]
        return [*_own_problems(site, settings), *_cluster_problems(site, settings)]
    except BackendError as exc:
        return [Problem(exc.message, exc.remedy)]


def read_setup(path: Path) -> bytes:
    """What a setup file holds. Raises BackendError."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BackendError(
            f"The setup file {path} cannot be read: {exc.strerror}.", "Correct --slurm-setup."
        ) from exc


def _own_problems(site: ClusterHost, settings: SlurmSettings) -> Iterator[Problem]:
    if settings.slurm_container and set(site.run_dir) & set(":,"):
        yield Problem(
            f"Apptainer cannot bind {site.run_dir!r}: a colon or comma means something else to it.",
            "Put --work-dir where no directory has such a name.",
        )
    if "\\" in site.run_dir:
        yield Problem(
            f"Slurm cannot write logs below {site.run_dir!r}: a backslash means something to it.",
            "Put --work-dir where no directory has such a name.",
        )
    if settings.slurm_setup is not None and not settings.slurm_setup.is_file():
        yield Problem(f"There is no setup file {settings.slurm_setup}.", "Correct --slurm-setup.")
    yield from _image_problems(site, settings.slurm_container)
    limit_s, wanted_s = time_limit_s(settings.slurm_time), settings.task_timeout
    if limit_s is not None and limit_s <= wanted_s:
        yield Problem(
            f"--slurm-time {settings.slurm_time} is no longer than --task-timeout ({wanted_s:g} s),"
            " so Slurm would stop what may still go on.",
            "Ask for more with --slurm-time, or less with --task-timeout.",
        )
    contained = bool(settings.slurm_container) or settings.allow_commands
    if settings.engine == "claude-code" and not contained:
        yield Problem(
            "The engine claude-code lets the model run commands, and nothing contains them in a"
            " job of your own account.",
            "Run workers in an image with --slurm-container, or say --allow-commands.",
        )


def _image_problems(site: ClusterHost, image: str) -> Iterator[Problem]:
    """Jobs start in the run's directory, so a relative path would mean another file to them."""
    if not image or "://" in image:
        return
    if not image.startswith("/"):
        yield Problem(
            f"The image {image!r} of --slurm-container is a relative path.",
            "Give its whole path, as the nodes see it, or a name such as docker://python:3.12.",
        )
    elif site.shares_disk and not Path(image).exists():
        yield Problem(f"There is no image {image}.", "Correct --slurm-container.")


def _cluster_problems(site: ClusterHost, settings: SlurmSettings) -> Iterator[Problem]:
    done = site.run(build_sinfo())
    if done.exit_code != 0:
        yield _no_answer(done)
        return
    if (
        problem := _partition_problem(parse_sinfo(done.stdout), settings.slurm_partition)
    ) is not None:
        yield problem
        return
    tested = _test(site, settings)
    if tested.exit_code == 0:
        return
    if is_out_of_reach(tested.stderr):
        yield _no_answer(tested)
    elif not _would_wait(site, settings, tested.stderr):
        yield Problem(
            f"Slurm takes no such jobs: {words_of(tested.stderr)}.", "Correct the --slurm options."
        )


def _test(site: ClusterHost, settings: SlurmSettings) -> CommandResult:
    return site.run(build_test(settings, "/"), stdin=_TEST_SCRIPT)


def _no_answer(done: CommandResult) -> Problem:
    return Problem(
        f"Slurm does not answer: {words_of(done.stderr)}.", "See how the cluster is: scontrol ping."
    )


def _would_wait(site: ClusterHost, settings: SlurmSettings, refusal: str) -> bool:
    """Whether Slurm would let such a job wait: the test also fails where one only cannot start
    now, and a run whose jobs run already must not be kept from taking them up again."""
    if is_over_a_limit(refusal):
        listed = site.run(build_squeue())
        return any(not job_state(row.state).final for row in parse_squeue(listed.stdout))
    if not is_about_now(refusal):
        return False
    least = least_of(settings)
    return _AMBIGUOUS not in refusal or is_about_now(_test(site, least).stderr)


def _partition_problem(partitions: Sequence[Partition], wanted: str) -> Problem | None:
    if not wanted:
        chosen = [p for p in partitions if p.is_default]
        if not chosen and partitions:
            names = ", ".join(p.name for p in partitions)
            return Problem(
                "The cluster has no default partition.", f"Name one: --slurm-partition ({names})."
            )
    else:
        chosen = [p for p in partitions if p.name in wanted.split(",")]
        if not chosen:
            names = ", ".join(p.name for p in partitions) or "none"
            return Problem(f"The cluster has no partition {wanted!r}.", f"Choose one of: {names}.")
    if chosen and not any(p.is_up for p in chosen):
        names = ", ".join(f"{p.name} is {p.state}" for p in chosen)
        up = ", ".join(p.name for p in partitions if p.is_up) or "none is up"
        return Problem(f"No job starts there now: {names}.", f"Choose another partition: {up}.")
    return None


def probe(
    site: ClusterHost,
    settings: SlurmSettings,
    place: WorkerPlace,
    clock: Clock,
) -> list[Problem]:
    """Run one short job to its end and say what it found missing; leaves nothing behind."""
    try:
        return list(_probed(site, settings, place, clock))
    except BackendError as exc:
        return [Problem(exc.message, exc.remedy)]
    finally:
        site.remove([PROBE_FOLDER])


def _probed(
    site: ClusterHost,
    settings: SlurmSettings,
    place: WorkerPlace,
    clock: Clock,
) -> Iterator[Problem]:
    host, port = provider_address(settings)
    script = render_probe(
        place, f"{site.run_dir}/{ANSWER}", settings.engine, settings.provider, host, port
    )
    files = [UploadFile(SCRIPT, script.encode(), 0o755)]
    if settings.slurm_setup is not None:
        files.append(UploadFile(SETUP, read_setup(settings.slurm_setup), 0o600))
    name = job_name("probe")
    done = site.run(build_sbatch(settings, site.run_dir, name, "probe", SCRIPT, 1), Upload(files))
    if (job_id := parse_job_id(done.stdout)) is None:
        yield Problem(
            f"Slurm took no job: {words_of(done.stderr)}.", "Correct the --slurm options."
        )
        return
    row = None
    try:
        row = _await_end(site, name, job_id, clock)
    finally:
        if row is None or not job_state(row.state).final:
            site.run(build_scancel([job_id]))
    if row is not None and not job_state(row.state).final:
        yield Problem(
            f"A job has not ended within {PROBE_TIMEOUT_S:g} s: {explain_pending(row)}.",
            f"See why: scontrol show job {job_id}.",
        )
        return
    yield from _judge_answer(site, row)


def _await_end(site: ClusterHost, name: str, job_id: str, clock: Clock) -> Row | None:
    """The job as it ended, or as it is when time is up; None when it is not listed any more."""
    until, (pause_s, most_s) = clock.monotonic() + PROBE_TIMEOUT_S, _LOOKS_S
    while True:
        listed = site.run(build_squeue(name))
        row = next((r for r in parse_squeue(listed.stdout) if r.array_id == job_id), None)
        gone = listed.exit_code == 0 and row is None
        if gone or (row and job_state(row.state).final) or clock.monotonic() >= until:
            return row
        clock.sleep(pause_s)
        pause_s = min(most_s, pause_s * 2)


def _judge_answer(site: ClusterHost, row: Row | None) -> Iterator[Problem]:
    log = f"{PROBE_FOLDER}/0.log"
    found = site.tails([ANSWER, log])
    text = found[ANSWER]
    if not text:
        said = " ".join(found[log].split())[-400:]
        went_well = row is not None and job_state(row.state) is JobState.SUCCEEDED
        if went_well:
            yield Problem(
                "A job ended well, and what it wrote cannot be seen here.",
                f"Put {site.shared_option} on a file system that all nodes share.",
            )
            return
        if not said:
            yield Problem(
                f"A job failed and left nothing below {site.run_dir} on this side, not even a log.",
                f"Put {site.shared_option} on a file system that all nodes share and may write to.",
            )
            return
        yield Problem(
            f"A worker does not start on a node: {said}",
            "Give a --slurm-setup whose python3 is 3.11 or newer and has this program's packages,"
            " or a --slurm-container; the work directory must be shared with the nodes.",
        )
        return
    try:
        answer = decode(WorkerCheck, text, ANSWER)
    except BundleError as exc:
        yield Problem(f"A node's answer cannot be read: {exc.message}", exc.remedy)
        return
    yield from judge_check(answer)


def judge_check(answer: WorkerCheck) -> Iterator[Problem]:
    """What a worker found missing on its node."""
    node = answer.node
    if answer.wire != WIRE_VERSION:
        yield Problem(
            f"The worker on {node} reads bundles of version {answer.wire}, not {WIRE_VERSION}.",
            "Run the same version on both sides.",
        )
    if answer.missing_package:
        yield Problem(
            f"Python {answer.python} on {node} lacks a package: {answer.missing_package}.",
            "Give a --slurm-setup that activates an environment with this program installed.",
        )
    if answer.missing_cli:
        yield Problem(
            f"On {node}: {answer.missing_cli}",
            "Install it where the nodes see it, or --engine api.",
        )
    if answer.unreachable:
        yield Problem(
            f"Node {node} does not reach {answer.unreachable}: it seems to have no internet.",
            "Set HTTPS_PROXY in --slurm-setup, choose a partition whose nodes have a way out,"
            " or set the base URL to a gateway that they reach.",
        )

"""One short job through the real queue, definition, image, role and bucket, and what it finds.

It goes the way of every job, by the backend's own calls, so what it comes to is what a run would
come to; in place of a task it looks whether one could be done. It costs what a minute of a job
costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from backends.base import Backend
from backends.shared.provider_endpoint import provider_address
from backends.shared.results import attempt_of
from core.clock import Clock
from core.errors import BackendError, BundleError, Problem
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Reason, TaskResult
from core.settings.worker import WorkerSettings
from core.worker.check import (
    CheckRequest,
    WorkerCheck,
    read_check_result,
    write_check_request,
)

PROBE_TIMEOUT_S = 900.0
"""An instance that has to start first takes minutes, and pulls the image then."""
RUN_S = 60.0
"""How long the job itself may take."""
_LOOKS_S = (2.0, 15.0)
_PAGE = "docs/aws-batch.md"
_FIXES = {
    Reason.LAUNCH: "See that the image is where the job definition says, that the execution role"
    f" may pull it and read the secrets, and that the subnets have a way there: {_PAGE}.",
    Reason.OUTDATED: "Build the image anew and push it: docker/README.md.",
    Reason.OOM: "Give more with --batch-memory.",
}


def probe(backend: Backend, run_dir: Path, settings: WorkerSettings, clock: Clock) -> list[Problem]:
    """Run the job to its end and say what it found missing; leaves nothing behind.

    `run_dir` is nobody's run, and is made.
    """
    try:
        try:
            return list(_probed(backend, run_dir, settings, clock))
        finally:
            backend.cleanup(run_dir.name)
    except BackendError as exc:
        return [Problem(exc.message, exc.remedy)]


def _probed(
    backend: Backend, run_dir: Path, settings: WorkerSettings, clock: Clock
) -> Iterator[Problem]:
    key = JobKey(run_dir.name, "probe", 1)
    attempt = attempt_of(run_dir, key)
    host, port = provider_address(settings)
    request = CheckRequest(key, settings.engine, settings.provider, host, port)
    write_check_request(attempt, request)
    [handle] = backend.submit([Job(key, attempt.root, RUN_S)])
    if not isinstance(handle, JobHandle):
        raise handle
    status = _await_end(backend, handle, clock)
    if not status.state.final:
        yield Problem(
            f"A job has not ended within {PROBE_TIMEOUT_S:g} s: {_words(status)}.",
            f"See in the console of AWS Batch what job {handle.native_id} waited for.",
        )
        return
    found = backend.collect([handle], run_dir / "tasks")[key]
    if isinstance(found, TaskResult):
        yield from _judge(found)
    elif status.state is JobState.SUCCEEDED:
        yield Problem(f"A job ended well, and its result cannot be had: {found}", "Try again.")
    else:
        fix = _FIXES.get(status.reason or Reason.EXIT, f"Mend what it complains of: {_PAGE}.")
        yield Problem(f"A job through the queue did not end well: {_words(status)}.", fix)


def _await_end(backend: Backend, handle: JobHandle, clock: Clock) -> JobStatus:
    """Where the job stands at its end, or when time is up; it is cancelled then."""
    begun, (pause_s, most_s) = clock.monotonic(), _LOOKS_S
    try:
        while True:
            status = backend.poll([handle])[handle.key]
            waited_s = clock.monotonic() - begun
            unseen = status.reason is Reason.MISSING and waited_s < backend.grace_s
            if (status.state.final and not unseen) or waited_s >= PROBE_TIMEOUT_S:
                break
            clock.sleep(pause_s)
            pause_s = min(most_s, pause_s * 2)
    except BaseException:
        with suppress(BackendError):  # the first trouble is the one to tell
            backend.cancel([handle])
        raise
    if not status.state.final:
        backend.cancel([handle])
    return status


def _words(status: JobStatus) -> str:
    code = f", exit code {status.exit_code}" if status.exit_code is not None else ""
    why = f" ({status.message.rstrip('.')})" if status.message else ""
    return f"it is {status.state.lower()}{code}{why}"


def _judge(result: TaskResult) -> Iterator[Problem]:
    try:
        answer: WorkerCheck = read_check_result(result)
    except BundleError as exc:
        yield Problem(f"A worker's answer cannot be read: {exc.message}", exc.remedy)
        return
    if answer.missing_package:
        yield Problem(
            f"Python {answer.python} in the image lacks a package: {answer.missing_package}.",
            "Build the image as docker/README.md says.",
        )
    if answer.missing_cli:
        yield Problem(
            f"In the image: {answer.missing_cli}", "Build it with the CLI: docker/README.md."
        )
    if answer.unreachable:
        yield Problem(
            f"A worker does not reach {answer.unreachable}: its subnet seems to have no way out.",
            "Give the subnets a route to the internet, a public address or a NAT gateway; for"
            " Bedrock a VPC endpoint is enough.",
        )

"""One short job through the real queue, definition, image, role and bucket.

The backend's own calls submit, poll and collect it, as they do every job; in place of running a
task it checks whether one could run. It costs as much as a minute of a job.
"""

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
from core.worker.check import CheckRequest, WorkerCheck, read_check_result, write_check_request

PROBE_TIMEOUT_S = 900.0
"""An instance may have to start first, which takes minutes, and then pull the image."""
RUN_S = 60.0
"""The time limit of the job itself."""
_LOOKS_S = (2.0, 15.0)
_PAGE = "docs/aws-batch.md"
_FIXES = {
    Reason.LAUNCH: "Check that the image of the job definition exists, that the execution role may"
    f" pull it and read the secrets, and that the subnets have a route to both: {_PAGE}.",
    Reason.OUTDATED: "Rebuild the image and push it: docker/README.md.",
    Reason.OOM: "Raise --batch-memory.",
}


def probe(backend: Backend, run_dir: Path, settings: WorkerSettings, clock: Clock) -> list[Problem]:
    """Run the job to its end and return what it found missing; leaves nothing behind.

    `run_dir` is of no run, and is made.
    """
    try:
        try:
            return list(_probe_problems(backend, run_dir, settings, clock))
        finally:
            backend.cleanup(run_dir.name)
    except BackendError as exc:
        return [Problem(exc.message, exc.remedy)]


def _probe_problems(
    backend: Backend, run_dir: Path, settings: WorkerSettings, clock: Clock
) -> Iterator[Problem]:
    key = JobKey(run_dir.name, "probe", 1)
    attempt = attempt_of(run_dir, key)
    request = CheckRequest(key, settings.engine, settings.provider, *provider_address(settings))
    write_check_request(attempt, request)
    [handle] = backend.submit([Job(key, attempt.root, RUN_S)])
    if not isinstance(handle, JobHandle):
        raise handle
    status = _await_end(backend, handle, clock)
    if not status.state.final:
        yield Problem(
            f"The test job did not end within {PROBE_TIMEOUT_S:g} s: {_describe(status)}.",
            f"Look up in the console of AWS Batch what job {handle.native_id} waited for.",
        )
        return
    found = backend.collect([handle], run_dir / "tasks")[key]
    if isinstance(found, TaskResult):
        yield from _check_problems(found)
    elif status.state is JobState.SUCCEEDED:
        yield Problem(f"The result of the test job was not found: {found}", "Try again.")
    else:
        has_started = status.reason is Reason.LAUNCH and status.exit_code is not None
        reason = Reason.EXIT if has_started else status.reason or Reason.EXIT
        fix = _FIXES.get(reason, f"Correct what it reports: {_PAGE}.")
        yield Problem(f"The test job failed: {_describe(status)}.", fix)


def _await_end(backend: Backend, handle: JobHandle, clock: Clock) -> JobStatus:
    """The job's status at its end, or when time is up; it is cancelled then."""
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
        with suppress(BackendError):  # the first error is the one to report
            backend.cancel([handle])
        raise
    if not status.state.final:
        backend.cancel([handle])
    return status


def _describe(status: JobStatus) -> str:
    code = f"exit code {status.exit_code}" if status.exit_code is not None else ""
    why = status.message.rstrip(".") or f"it is {status.state.lower()}"
    return "; ".join(filter(None, (why, code)))


def _check_problems(result: TaskResult) -> Iterator[Problem]:
    try:
        answer: WorkerCheck = read_check_result(result)
    except BundleError as exc:
        yield Problem(f"The answer of the test job cannot be read: {exc.message}", exc.remedy)
        return
    if answer.missing_package:
        what = f"Python {answer.python} in the image lacks a package: {answer.missing_package}."
        yield Problem(what, "Rebuild the image: docker/README.md.")
    if answer.missing_cli:
        fix = "Rebuild it with the CLI: docker/README.md."
        yield Problem(f"In the image: {answer.missing_cli}", fix)
    if answer.unreachable:
        yield Problem(
            f"A worker cannot reach {answer.unreachable}: its subnet seems to have no route to it.",
            "Give the subnets a route to the internet (a public address or a NAT gateway); for"
            " Bedrock a VPC endpoint is enough.",
        )

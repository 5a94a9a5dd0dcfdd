"""A worker's report on the place where it would run: made by `--check`, read by a backend's probe.

Where requests travel as bundles, one may ask for it instead of a task; its result holds it.
"""

from dataclasses import dataclass

from core.bundle import WIRE_VERSION, AttemptDir, write_result
from core.job import JobKey, Outcome, TaskResult
from core.wire import decode, encode, write_atomic

CHECK_FILE = "check.json"


@dataclass(frozen=True, slots=True)
class WorkerCheck:
    """Empty texts are good news. `unreachable` is the host and port that took no connection."""

    python: str
    node: str
    missing_package: str = ""
    missing_cli: str = ""
    unreachable: str = ""
    wire: int = WIRE_VERSION


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """A request bundle that holds no task. No `host` stands for none to be reached."""

    key: JobKey
    engine: str
    provider: str
    host: str
    port: int


def write_check_request(attempt: AttemptDir, asked: CheckRequest) -> None:
    attempt.request.mkdir(parents=True, exist_ok=True)
    write_atomic(attempt.request / CHECK_FILE, encode(asked))


def read_check_request(attempt: AttemptDir) -> CheckRequest | None:
    """None for a request that is a task's. Raises BundleError."""
    path = attempt.request / CHECK_FILE
    return decode(CheckRequest, path.read_bytes(), str(path)) if path.exists() else None


def write_check_result(attempt: AttemptDir, key: JobKey, found: WorkerCheck) -> None:
    write_result(attempt, TaskResult(key, Outcome.OK, encode(found)))


def read_check_result(result: TaskResult) -> WorkerCheck:
    """Raises BundleError."""
    return decode(WorkerCheck, result.message.encode(), f"the answer of {result.key}")

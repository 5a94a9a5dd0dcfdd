"""Results and logs as they lie in the run directory, for backends that keep them there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from backends.base import LogChunk
from core.bundle import AttemptDir, read_request, read_result, read_spent, write_result
from core.errors import BundleError, CollectError
from core.job import JobKey, TaskResult
from core.paths import fold, is_owned
from core.wire import write_atomic


def attempt_of(run_dir: Path, key: JobKey) -> AttemptDir:
    """Where the run directory keeps the attempt."""
    return AttemptDir(run_dir / "tasks" / key.task / str(key.attempt))


def hand_over(here: AttemptDir, key: JobKey, destination: Path) -> TaskResult | CollectError:
    """The result that lies `here`, proven, and copied to `destination`/<task>/<attempt> where that
    is another place. Of a request that lies beside it, files that its task does not own are
    refused: who ends the worker can leave a result of his own."""
    there = AttemptDir(destination / key.task / str(key.attempt))
    try:
        if there.root != here.root and here.result.is_dir():
            shutil.copytree(here.result, there.result, dirs_exist_ok=True, symlinks=True)
        result = read_result(there, key)
        return _check_owned(here, result) or result
    except BundleError as exc:
        return CollectError(exc.message, exc.remedy)
    except OSError as exc:
        return CollectError(f"The result of {key} could not be copied: {exc}.", retryable=True)


def _check_owned(here: AttemptDir, result: TaskResult) -> CollectError | None:
    """Raises BundleError when the request cannot be read."""
    if not here.task_json.exists():
        return None
    request = read_request(here)
    contracts = {fold(contract.path) for contract in request.contracts}
    for path in result.manifest.paths:
        if not is_owned(request.task.owns, path) or fold(path) in contracts:
            return CollectError(f"The result of {result.key} holds {path!r}, which is not its own.")
    return None


def add_earlier_events(attempt: AttemptDir, key: JobKey, lines: Sequence[str]) -> None:
    """Put the events of a job's earlier workers, which were lost, ahead of its last one's, and what
    they spent into its result. One that cannot be read is left for who takes it to find out."""
    with suppress(BundleError):
        result = read_result(attempt, key)
        own = attempt.events.read_bytes() if attempt.events.exists() else b""
        earlier = "".join(f"{line}\n" for line in lines).encode()
        write_atomic(attempt.events, earlier)
        spent = tuple(read_spent(attempt))
        write_atomic(attempt.events, earlier + own)
        write_result(attempt, replace(result, usage=(*spent, *result.usage)))


def install_result(attempt: AttemptDir, fresh: Path) -> None:
    """Put the tree `fresh`, on the same file system, in the place of the attempt's result."""
    if attempt.result.exists():
        shutil.rmtree(attempt.result)
    fresh.rename(attempt.result)


def read_lines(path: Path, cursor: str) -> LogChunk:
    """Whole lines of `path` since the byte that `cursor` names."""
    start = int(cursor or 0)
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            data = stream.read()
    except FileNotFoundError:
        return LogChunk((), cursor)
    whole = data[: data.rfind(b"\n") + 1]
    return LogChunk(split_lines(whole), str(start + len(whole)))


def split_lines(data: bytes) -> tuple[str, ...]:
    """The whole lines in `data`; a JSON text may hold other line separators as they are."""
    return tuple(line.decode(errors="replace") for line in data.split(b"\n")[:-1])

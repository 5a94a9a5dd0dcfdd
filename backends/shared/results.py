"""Results and logs as they are in the run directory, for backends that keep them there."""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from backends.base import LogChunk
from backends.shared.parallel import in_parallel
from core.bundle import (
    BASE_FILES,
    AttemptDir,
    read_request,
    read_result,
    read_spent,
    write_result,
)
from core.errors import BackendError, BundleError, CollectError
from core.job import JobHandle, JobKey, Outcome, TaskResult
from core.paths import fold, is_owned
from core.transfer.untrusted_tar import MACHINE_FAULTS
from core.wire import write_atomic
from core.workspace.confined import remove_tree


def attempt_of(run_dir: Path, key: JobKey) -> AttemptDir:
    """Where the run directory keeps the attempt."""
    return AttemptDir(run_dir / "tasks" / key.task / str(key.attempt))


def collect_each(
    handles: Sequence[JobHandle],
    run_dir: Path,
    destination: Path,
    fetch: Callable[[JobHandle, AttemptDir], None],
    at_once: int,
) -> dict[JobKey, TaskResult | CollectError]:
    """Backend.collect for a backend that fetches jobs one by one, `at_once` at the same time.

    `fetch` brings the result to the attempt in the run directory unless it is there; it may raise
    CollectError, or OSError where the disk fails. Raises BackendError when it takes no result, for
    whatever job: they stay where they are until there is room for them.
    """

    def collect(handle: JobHandle) -> TaskResult | CollectError:
        key = handle.key
        if key.run != run_dir.name:
            return CollectError(f"{key} is not a job of run {run_dir.name}.")
        attempt = attempt_of(run_dir, key)
        try:
            if run_dir.is_dir():  # of one that was removed, nothing is made again
                attempt.root.mkdir(parents=True, exist_ok=True)
            fetch(handle, attempt)
        except CollectError as exc:
            return exc
        except OSError as exc:
            why = f"The result of {key} could not be stored: {exc}."
            if exc.errno in MACHINE_FAULTS:
                raise BackendError(why) from exc
            return CollectError(why, retryable=True)
        return hand_over(attempt, key, destination)

    answers = in_parallel(collect, handles, at_once)
    return {handle.key: answer for handle, answer in zip(handles, answers, strict=True)}


def hand_over(attempt: AttemptDir, key: JobKey, destination: Path) -> TaskResult | CollectError:
    """The verified result of `attempt`, copied to `destination`/<task>/<attempt> where that is
    another place.

    One that holds or deletes a file that the task of its request does not own, or lacks one that it
    owns and that existing code has not, is refused: whoever can end the worker can leave another
    result.
    """
    target = AttemptDir(destination / key.task / str(key.attempt))
    try:
        if target.root != attempt.root and attempt.result.is_dir():
            shutil.copytree(attempt.result, target.result, dirs_exist_ok=True, symlinks=True)
        result = read_result(target, key)
        return _check_owned(attempt, result) or result
    except BundleError as exc:
        return CollectError(exc.message, exc.remedy)
    except OSError as exc:
        return CollectError(f"The result of {key} could not be copied: {exc}.", retryable=True)


def _check_owned(attempt: AttemptDir, result: TaskResult) -> CollectError | None:
    """Raises BundleError when the request cannot be read."""
    if not attempt.task_json.exists():
        return None
    request = read_request(attempt)
    contracts = {fold(contract.path) for contract in request.contracts}
    paths = {*result.manifest.paths, *result.deleted}
    existing = attempt.root.parents[2] / BASE_FILES
    for path in sorted(paths):
        if not is_owned(request.task.owns, path) or fold(path) in contracts:
            message = f"The result of {result.key} changes {path!r}, which its task does not own."
            return CollectError(message)
    for entry in request.task.owns if result.outcome is Outcome.OK else ():
        if request.base is not None and (existing / entry).exists():
            continue  # as it was, unless it is told of
        if entry not in paths and not any(is_owned((entry,), path) for path in paths):
            return CollectError(f"The result of {result.key} lacks {entry!r}, which its task owns.")
    return None


def add_earlier_events(attempt: AttemptDir, key: JobKey, lines: Sequence[str]) -> None:
    """Put the events of a job's earlier workers, which were lost, ahead of its last one's, and what
    they spent into its result. One that cannot be read stays as it is, for `hand_over` to refuse.
    """
    with suppress(BundleError):
        result = read_result(attempt, key)
        own = attempt.events.read_bytes() if attempt.events.exists() else b""
        earlier = "".join(f"{line}\n" for line in lines).encode()
        write_atomic(attempt.events, earlier)
        spent = tuple(read_spent(attempt))
        write_atomic(attempt.events, earlier + own)
        write_result(attempt, replace(result, usage=(*spent, *result.usage)))


def install_result(attempt: AttemptDir, fresh: Path) -> None:
    """Replace the attempt's result by the tree `fresh`, which is on the same file system."""
    remove_tree(attempt.result)
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
    """The whole lines in `data`, ended by "\\n" only: a JSON text may hold other separators."""
    return tuple(line.decode(errors="replace") for line in data.split(b"\n")[:-1])

"""ExecutorAgent: a request bundle in, a result bundle out.

Claims the attempt, lays out the inputs in work/, lets an engine do the task, judges by evidence,
moves what the task owns to result/files and writes result.json last. What was spent is on disk
after every request, so that a killed attempt still tells.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import Protocol

import claude.client.client
from claude.allowance import guarded
from claude.client.types import Claude, Hooks
from claude.engines import load_engine
from claude.engines.attempt_log import AttemptLog
from claude.engines.base import Engine, EngineContext, EngineResult, result_of_error
from claude.limits.governor import Governor
from claude.prices import pricing
from core.bundle import (
    AttemptDir,
    Limits,
    ModelSettings,
    Request,
    build_manifest,
    claim,
    is_taken_over,
    read_request,
    read_result,
    write_result,
)
from core.clock import Clock, DeadlineClock
from core.credentials import Credentials
from core.errors import BundleError
from core.job import JobKey, Manifest, Outcome, TaskResult
from core.paths import path_defect
from core.workspace.confined import remove_tree
from core.workspace.result_check import find_defects, result_paths
from core.workspace.workspace import Workspace

_log = logging.getLogger(__name__)
_LONGEST_MESSAGE_CHARS = 4_000
_MOST_NAMED = 1_000


def _ignore(_: str) -> None:
    pass


class Connect(Protocol):
    """claude.client.client.connect, or a stand-in."""

    def __call__(
        self,
        model: ModelSettings,
        credentials: Credentials,
        *,
        clock: Clock,
        governor: Governor,
        limits: Limits,
        hooks: Hooks,
    ) -> AbstractContextManager[Claude]: ...


class ExecutorAgent:
    """Runs attempts; one instance serves many threads, which share nothing but the governor.

    `contained` says that a container is around this process, which works on nothing else; `echo`
    gets each line that goes to events.jsonl.
    """

    def __init__(
        self,
        credentials: Credentials,
        clock: Clock,
        *,
        governor: Governor | None = None,
        connect: Connect = claude.client.client.connect,
        load: Callable[[str], Callable[[EngineContext], Engine]] = load_engine,
        contained: bool = False,
        echo: Callable[[str], None] = _ignore,
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._governor = governor or Governor()
        self._connect = connect
        self._load = load
        self._contained = contained
        self._echo = echo

    def run(self, attempt: AttemptDir, claimant: str) -> TaskResult | None:
        """Run the attempt and leave its result; None when another claimant has it, or took it over.

        A result is left whatever happens, but where the request cannot be read (BundleError). An
        attempt that has its result already is not run again.
        """
        if not claim(attempt, claimant):
            return None
        request = read_request(attempt)
        if (earlier := _read_earlier(attempt, request.key)) is not None:
            return earlier
        started_s = self._clock.monotonic()
        record = AttemptLog(attempt, self._credentials.mask, self._echo)
        try:
            verdict, manifest = self._attempt(attempt, request, record, _Fence(attempt, claimant))
        except _TakenOver:
            return None
        result = TaskResult(
            key=request.key,
            outcome=verdict.outcome,
            message=self._credentials.mask(verdict.message)[:_LONGEST_MESSAGE_CHARS],
            usage=tuple(record.usage),
            manifest=manifest,
            turns=verdict.turns,
            duration_s=self._clock.monotonic() - started_s,
            throttled=record.throttled,
        )
        leave(attempt, record, result)
        if result.outcome is Outcome.OK:
            remove_tree(attempt.work)
            _drop_inputs(attempt, request)
        return result

    def _attempt(
        self, attempt: AttemptDir, request: Request, record: AttemptLog, fence: _Fence
    ) -> tuple[EngineResult, Manifest]:
        """The verdict and the files it stands for: none unless it is OK. Raises _TakenOver before
        anything of a later start is touched."""
        try:
            return self._work(attempt, request, record, fence)
        except _TakenOver:
            raise
        except Exception as exc:  # noqa: BLE001 - the worker's boundary: an attempt always answers
            _log.debug("%s failed", request.key, exc_info=True)
            verdict = result_of_error(exc)
            with suppress(OSError):  # a full disk may be what it failed of
                record.log(traceback.format_exc())
        except BaseException as exc:
            fence.check()
            remove_tree(attempt.files)
            message = f"The worker was stopped ({type(exc).__name__})."
            leave(
                attempt,
                record,
                TaskResult(
                    request.key,
                    Outcome.INTERRUPTED,
                    message,
                    usage=tuple(record.usage),
                    throttled=record.throttled,
                ),
            )
            raise
        fence.check()
        remove_tree(attempt.files)
        return verdict, Manifest()

    def _work(
        self, attempt: AttemptDir, request: Request, record: AttemptLog, fence: _Fence
    ) -> tuple[EngineResult, Manifest]:
        record.log(f"{request.key}: {request.task.title} (engine {request.model.engine})")
        clock = DeadlineClock(self._clock, request.limits.timeout_s)
        inputs = _check_inputs(attempt, request)
        workspace = _lay_out(attempt, request, inputs)
        hooks = guarded(
            Hooks(record.spent, record.progress, on_throttle=record.throttle),
            request.allowance,
            request.model,
            pricing(request.model),
            record.usage,
        )
        context = EngineContext(
            request=request,
            workspace=workspace,
            clock=clock,
            connect=self._connector(request, hooks),
            find_defects=lambda: find_defects(workspace, inputs, attempt.inputs),
            transcript=record.transcript,
            progress=record.progress,
            attempt=attempt,
            contained=self._contained,
        )
        verdict = self._load(request.model.engine)(context).work()
        if verdict.outcome is Outcome.OK and (defects := context.find_defects()):
            verdict = EngineResult(Outcome.DEFECT, "\n".join(defects), verdict.turns)
        fence.check()
        record.log(f"{verdict.outcome}: {verdict.message}")
        if verdict.outcome is not Outcome.OK:
            remove_tree(attempt.files)
            record.log(f"What was written so far stays in {attempt.work.name}/.")
            return verdict, Manifest()
        return verdict, _deliver(attempt, workspace, inputs, record)

    def _connector(
        self, request: Request, hooks: Hooks
    ) -> Callable[[Clock], AbstractContextManager[Claude]]:
        return lambda clock: self._connect(
            request.model,
            self._credentials,
            clock=clock,
            governor=self._governor,
            limits=request.limits,
            hooks=hooks,
        )


class _TakenOver(Exception):
    """A later start of the same job has the attempt, and may have left its result already."""


@dataclass(frozen=True, slots=True)
class _Fence:
    """Keeps a worker off what is not its own any more."""

    attempt: AttemptDir
    claimant: str

    def check(self) -> None:
        """Raises _TakenOver."""
        if is_taken_over(self.attempt, self.claimant):
            raise _TakenOver


@dataclass(frozen=True)
class ThreadWorker:
    """Runs attempts in this process, each with the clock that can stop it."""

    credentials: Credentials
    governor: Governor

    def __call__(self, attempt: AttemptDir, claimant: str, clock: Clock) -> TaskResult | None:
        return ExecutorAgent(self.credentials, clock, governor=self.governor).run(attempt, claimant)


def _read_earlier(attempt: AttemptDir, key: JobKey) -> TaskResult | None:
    """The result that an earlier worker of this claimant left, if it is whole: it may have been
    collected already, so not even an interrupted one is run again."""
    with suppress(BundleError):
        return read_result(attempt, key)
    return None


def leave(attempt: AttemptDir, record: AttemptLog, result: TaskResult) -> None:
    """Leave the result, last; on a full disk what else was written makes room for it."""
    try:
        record.settle()
        write_result(attempt, result)
    except OSError:
        _log.debug("%s: the result needs room", result.key, exc_info=True)
        remove_tree(attempt.work)
        record.settle()
        write_result(attempt, result)


def _check_inputs(attempt: AttemptDir, request: Request) -> Manifest:
    """The manifest of the inputs. Raises BundleError when they are not those of the request."""
    # an empty directory does not travel everywhere
    inputs = build_manifest(attempt.inputs) if attempt.inputs.is_dir() else Manifest()
    digests = {entry.path: entry.sha256 for entry in inputs.entries}
    for contract in request.contracts:
        if digests.get(contract.path) != contract.sha256:
            raise BundleError(
                f"The contract {contract.path!r} in {attempt.inputs} is absent or was changed.",
                "Start the attempt again from the run directory.",
            )
    for path in inputs.paths:
        if defect := path_defect(path):
            raise BundleError(f"The input {path!r} {defect}.")
    return inputs


def _drop_inputs(attempt: AttemptDir, request: Request) -> None:
    """Of the inputs only the contracts stay. The rest lies in the results that it came from, and
    along a chain of tasks each would keep all before it once more."""
    kept = {attempt.inputs / contract.path for contract in request.contracts}
    with suppress(RecursionError):  # a command may have made it too deep
        for path in sorted(attempt.inputs.rglob("*"), reverse=True):
            with suppress(OSError):  # a directory that holds a contract
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                elif path not in kept:
                    path.unlink()


def _lay_out(attempt: AttemptDir, request: Request, inputs: Manifest) -> Workspace:
    """A fresh work/ with the inputs in it; what a killed worker left there is dropped."""
    for leftover in (attempt.work, attempt.files):
        remove_tree(leftover)
    attempt.work.mkdir()
    limits = request.limits
    workspace = Workspace(
        attempt.work,
        request.task.owns,
        frozenset(contract.path for contract in request.contracts),
        max_files=limits.max_files,
        max_bytes=limits.max_bytes,
    )
    for entry in inputs.entries:
        workspace.put(entry.path, (attempt.inputs / entry.path).read_bytes(), entry.mode)
    return workspace


def _deliver(
    attempt: AttemptDir, workspace: Workspace, inputs: Manifest, record: AttemptLog
) -> Manifest:
    """Move the files of the result to result/files; the rest is dropped and named in the log."""
    remove_tree(attempt.files)  # nothing but what is moved there now
    for path in result_paths(workspace):
        destination = attempt.files / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        workspace.move_out(path, destination)
    given = set(inputs.paths)
    if dropped := [path for path, _ in workspace.files() if path not in given]:
        more = [f"and {len(dropped) - _MOST_NAMED} more"] if len(dropped) > _MOST_NAMED else []
        lines = ["Dropped, since it is no part of the result:", *dropped[:_MOST_NAMED], *more]
        record.log("\n".join(lines))
    return build_manifest(attempt.files)

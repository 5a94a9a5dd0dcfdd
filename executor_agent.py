"""ExecutorAgent: a request bundle in, a result bundle out.

Claims the attempt, lays out the inputs in work/, lets an engine do the task, checks the workspace,
moves what the task owns to result/files and writes result.json last. Usage is on disk after every
request, so that it survives a killed attempt.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import KW_ONLY, dataclass, field
from functools import partial

import claude.client.client
from claude.allowance import guarded
from claude.client.types import Claude, Hooks
from claude.engines import load_engine
from claude.engines.attempt_log import AttemptLog
from claude.engines.base import Engine, EngineContext, EngineResult, result_of_error
from claude.engines.own_checks import OwnChecks, sandbox_for_checks
from claude.limits.governor import Governor
from claude.prices import pricing
from core.bundle import (
    AttemptDir,
    Request,
    build_manifest,
    claim,
    is_taken_over,
    read_request,
    read_result,
    write_result,
)
from core.check_request import CheckJob
from core.checks.sandbox import Sandbox
from core.clock import Clock, DeadlineClock
from core.credentials import Credentials
from core.errors import BundleError
from core.job import Manifest, Outcome, TaskResult
from core.paths import path_defect
from core.wire import encode, write_atomic
from core.workspace.base_tree import NO_BASE, BaseTree, Put, lay_out_base
from core.workspace.confined import remove_tree
from core.workspace.result_check import deleted_paths, find_defects, result_paths
from core.workspace.unsent import Unsent
from core.workspace.workspace import Workspace

_log = logging.getLogger(__name__)
_LONGEST_MESSAGE_CHARS = 4_000
_MOST_NAMED = 1_000


@dataclass(frozen=True)
class ExecutorAgent:
    """Runs attempts; one instance serves many threads, which share nothing but the governor.

    `contained` says that a container is around this process, which does nothing else; `echo` gets
    each line of events.jsonl.
    """

    credentials: Credentials
    clock: Clock
    _: KW_ONLY
    governor: Governor = field(default_factory=Governor)
    connect: Callable[..., AbstractContextManager[Claude]] = claude.client.client.connect
    load: Callable[[str], Callable[[EngineContext], Engine]] = load_engine
    find_sandbox: Callable[[], Sandbox | None] = sandbox_for_checks
    contained: bool = False
    echo: Callable[[str], None] = lambda _: None

    def run(self, attempt: AttemptDir, claimant: str) -> TaskResult | None:
        """Run the attempt and write its result; None when another claimant has it, or took it over.

        A result is written whatever happens, unless the request cannot be read (BundleError). An
        attempt that has its result already is not run again.
        """
        if not claim(attempt, claimant):
            return None
        request = read_request(attempt)
        with suppress(BundleError):
            # of an earlier worker, even an interrupted one: it may have been collected already
            return read_result(attempt, request.key)
        log = AttemptLog(attempt, self.credentials.mask, self.echo)
        running = _Running(attempt, claimant, request, log, self.clock.monotonic())
        try:
            result, manifest = self._attempt(running)
        except _TakenOver:
            return None
        found = self._write_result(running, result, manifest)
        if found.outcome is Outcome.OK:
            remove_tree(attempt.work)
            _drop_inputs(attempt, request)
        return found

    def _attempt(self, running: _Running) -> tuple[EngineResult, Manifest]:
        """The engine's result and its files: none unless it is OK. Raises _TakenOver before
        anything of a later start is touched."""
        try:
            return self._work(running)
        except _TakenOver:
            raise
        except Exception as exc:  # noqa: BLE001 - the worker's boundary: an attempt always answers
            _log.debug("%s failed", running.request.key, exc_info=True)
            with suppress(OSError):  # the disk may be full
                running.log.log(traceback.format_exc())
            running.drop_files()
            return result_of_error(exc), Manifest()
        except BaseException as exc:
            running.drop_files()
            message = f"The worker was stopped ({type(exc).__name__})."
            self._write_result(running, EngineResult(Outcome.INTERRUPTED, message), Manifest())
            raise

    def _work(self, running: _Running) -> tuple[EngineResult, Manifest]:
        attempt, request, log = running.attempt, running.request, running.log
        log.log(f"{request.key}: {request.task.title} (engine {request.model.engine})")
        clock = DeadlineClock(self.clock, request.limits.timeout_s)
        inputs = _check_inputs(attempt, request)
        if request.checks is not None:
            return self._check(running, request.checks, inputs, clock)
        workspace, base = _lay_out(attempt, request, inputs)
        context = EngineContext(
            request=request,
            workspace=workspace,
            clock=clock,
            connect=self._connector(running),
            find_defects=lambda: find_defects(workspace, inputs, attempt.inputs, base),
            transcript=log.transcript,
            progress=log.progress,
            attempt=attempt,
            contained=self.contained,
            run_checks=self._own_checks(request, attempt, clock),
        )
        result = self.load(request.model.engine)(context).work()
        if result.outcome is Outcome.OK and (defects := context.find_defects()):
            result = EngineResult(Outcome.DEFECT, "\n".join(defects), result.turns)
        running.check_claim()
        log.log(f"{result.outcome}: {result.message}")
        if result.outcome is not Outcome.OK:
            remove_tree(attempt.files)
            log.log(f"What was written so far stays in {attempt.work.name}/.")
            return result, Manifest()
        running.deleted = tuple(deleted_paths(workspace, workspace.scan(), inputs, base))
        return result, _deliver(attempt, workspace, (inputs, base), log)

    def _own_checks(
        self, request: Request, attempt: AttemptDir, clock: Clock
    ) -> Callable[[], tuple[str, bool]] | None:
        """The tool for a model without a shell that has the whole project before it: else what its
        checks import is not there yet. A simulated model knows no such tool."""
        model = request.model
        is_whole = request.is_whole or request.base is not None
        if not is_whole or not request.task.checks:
            return None
        has_shell = self.contained or model.allow_commands or model.engine != "api"
        if has_shell or model.simulation is not None or (sandbox := self.find_sandbox()) is None:
            return None
        return OwnChecks(request.task.checks, sandbox, attempt, clock).run

    def _check(
        self, running: _Running, job: CheckJob, inputs: Manifest, clock: Clock
    ) -> tuple[EngineResult, Manifest]:
        """Run the project's checks: the work is done, however they end."""
        from core.checks.job import CHECKS_NAME, run_checks  # what other workers do without

        attempt, log = running.attempt, running.log
        for leftover in (attempt.work, attempt.files):
            remove_tree(leftover)
        try:
            report = run_checks(
                job,
                lambda put: _lay_inputs(attempt, running.request, inputs, put),
                attempt.work,
                clock,
                log.progress,
                contained=self.contained,
            )
        finally:
            remove_tree(attempt.work)
        running.check_claim()
        attempt.files.mkdir(parents=True)
        write_atomic(attempt.files / CHECKS_NAME, encode(report))
        message = report.why_not or f"{len(report.ended)} commands run in {report.sandbox}"
        return EngineResult(Outcome.OK, message), build_manifest(attempt.files)

    def _write_result(
        self, running: _Running, result: EngineResult, manifest: Manifest
    ) -> TaskResult:
        log = running.log
        found = TaskResult(
            key=running.request.key,
            outcome=result.outcome,
            message=self.credentials.mask(result.message)[:_LONGEST_MESSAGE_CHARS],
            usage=tuple(log.usage),
            manifest=manifest,
            turns=result.turns,
            duration_s=self.clock.monotonic() - running.started_s,
            throttled=log.throttled,
            deleted=running.deleted if result.outcome is Outcome.OK else (),
        )
        write_final_result(running.attempt, log, found)
        return found

    def _connector(self, running: _Running) -> Callable[[Clock], AbstractContextManager[Claude]]:
        request, log = running.request, running.log
        model, limits = request.model, request.limits
        plain = Hooks(
            log.spent,
            log.progress,
            on_throttle=log.throttle,
            on_answer=log.answer_begun,
            on_answering=log.answering,
        )
        hooks = guarded(plain, request.allowance, model, pricing(model), log.usage)
        return lambda clock: self.connect(
            model, self.credentials, clock=clock, governor=self.governor, limits=limits, hooks=hooks
        )


class _TakenOver(Exception):
    """A later start of the same job has the attempt, and may have written its result already."""


@dataclass(slots=True)
class _Running:
    """An attempt that this worker has claimed. `deleted`: files of the base that it removed."""

    attempt: AttemptDir
    claimant: str
    request: Request
    log: AttemptLog
    started_s: float
    deleted: tuple[str, ...] = ()

    def check_claim(self) -> None:
        """Raises _TakenOver."""
        if is_taken_over(self.attempt, self.claimant):
            raise _TakenOver

    def drop_files(self) -> None:
        """Raises _TakenOver instead of touching a later start's files."""
        self.check_claim()
        remove_tree(self.attempt.files)


@dataclass(frozen=True)
class ThreadWorker:
    """Runs attempts in this process, each with the clock that can stop it."""

    credentials: Credentials
    governor: Governor

    def __call__(self, attempt: AttemptDir, claimant: str, clock: Clock) -> TaskResult | None:
        return ExecutorAgent(self.credentials, clock, governor=self.governor).run(attempt, claimant)


def write_final_result(attempt: AttemptDir, log: AttemptLog, result: TaskResult) -> None:
    """Write the result, last; on a full disk the workspace makes room for it."""
    try:
        log.settle()
        write_result(attempt, result)
    except OSError:
        _log.debug("%s: the result needs room", result.key, exc_info=True)
        remove_tree(attempt.work)
        log.settle()
        write_result(attempt, result)


def _check_inputs(attempt: AttemptDir, request: Request) -> Manifest:
    """The manifest of the inputs. Raises BundleError when they are not those of the request."""
    # an empty directory does not travel everywhere
    inputs = build_manifest(attempt.inputs) if attempt.inputs.is_dir() else Manifest()
    digests = {entry.path: entry.sha256 for entry in inputs.entries}
    for contract in request.contracts:
        if digests.get(contract.path) != contract.sha256:
            raise BundleError(
                f"The contract {contract.path!r} in {attempt.inputs} is missing or was changed.",
                "Resume the run to start the task again.",
            )
    for path in inputs.paths:
        if defect := path_defect(path):
            raise BundleError(f"The input {path!r} {defect}.")
    return inputs


def _drop_inputs(attempt: AttemptDir, request: Request) -> None:
    """Keep only the contracts. The other inputs are in the results that they came from, and along a
    chain of tasks each would repeat all before it."""
    kept = {attempt.inputs / contract.path for contract in request.contracts}
    with suppress(RecursionError):  # a command may have made it too deep
        for path in sorted(attempt.inputs.rglob("*"), reverse=True):
            with suppress(OSError):  # a directory that holds a contract
                if path.is_dir() and not path.is_symlink():
                    path.rmdir()
                elif path not in kept:
                    path.unlink()


def _lay_out(attempt: AttemptDir, request: Request, inputs: Manifest) -> tuple[Workspace, BaseTree]:
    """A fresh work/ with base and inputs; leftovers of a killed worker are removed."""
    for leftover in (attempt.work, attempt.files):
        remove_tree(leftover)
    attempt.work.mkdir()
    owns, limits = request.task.owns, request.limits
    contracts = frozenset(contract.path for contract in request.contracts)
    workspace = Workspace(
        attempt.work, owns, contracts, max_files=limits.max_files, max_bytes=limits.max_bytes
    )
    base = _lay_inputs(attempt, request, inputs, partial(workspace.put, known={}))
    workspace.unsent = Unsent(base.unsent)
    return workspace, base


def _lay_inputs(attempt: AttemptDir, request: Request, inputs: Manifest, put: Put) -> BaseTree:
    """Put the files that the attempt is given; gives those of the base."""
    base = NO_BASE
    if request.base is not None:
        base = lay_out_base(attempt, request.base, {*request.deleted, *inputs.paths}, put)
    for entry in inputs.entries:
        put(entry.path, (attempt.inputs / entry.path).read_bytes(), entry.mode)
    return base


def _deliver(
    attempt: AttemptDir, workspace: Workspace, given: tuple[Manifest, BaseTree], log: AttemptLog
) -> Manifest:
    """Move the result's files to result/files; the rest is dropped and listed in the log."""
    inputs, base = given
    remove_tree(attempt.files)
    for path in result_paths(workspace, workspace.scan(), base):
        destination = attempt.files / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        workspace.move_out(path, destination)
    known = {*inputs.paths, *base.entries}
    if dropped := [path for path, _ in workspace.scan().files if path not in known]:
        more = [f"and {len(dropped) - _MOST_NAMED} more"] if len(dropped) > _MOST_NAMED else []
        lines = ["Dropped, since not part of the result:", *dropped[:_MOST_NAMED], *more]
        log.log("\n".join(lines))
    return build_manifest(attempt.files) if attempt.files.is_dir() else Manifest()

"""ExecutorAgent: a request bundle in, a result bundle out.

Claims the attempt, lays out the inputs in work/, lets an engine do the task, judges by evidence,
moves what the task owns to result/files and writes result.json last. What was spent is on disk
after every request, so that a killed attempt still tells.
"""

from __future__ import annotations

import json
import logging
import shutil
import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import claude.client
from claude.allowance import guarded
from claude.client import Claude, Hooks
from claude.engines import Assignment, Engine, Verdict, judge_error, load_engine
from claude.governor import Governor
from claude.prices import pricing
from claude.transcript import Transcript
from core.bundle import (
    AttemptDir,
    Limits,
    ModelSettings,
    Request,
    build_manifest,
    claim,
    read_request,
    read_result,
    read_spent,
    write_result,
)
from core.clock import Clock, DeadlineClock
from core.credentials import Credentials
from core.errors import BundleError
from core.events import Kind
from core.evidence import find_defects, result_paths
from core.job import JobKey, Manifest, Outcome, TaskResult, Usage
from core.paths import path_defect
from core.wire import plain
from core.workspace import Workspace

_log = logging.getLogger(__name__)
_LONGEST_MESSAGE_CHARS = 4_000


class Connect(Protocol):
    """claude.client.connect, or a stand-in."""

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
    """Runs attempts; one instance serves many threads, which share nothing but the governor."""

    def __init__(
        self,
        credentials: Credentials,
        clock: Clock,
        *,
        governor: Governor | None = None,
        connect: Connect = claude.client.connect,
        load: Callable[[str], Callable[[Assignment], Engine]] = load_engine,
    ) -> None:
        self._credentials = credentials
        self._clock = clock
        self._governor = governor or Governor()
        self._connect = connect
        self._load = load

    def run(self, attempt: AttemptDir, claimant: str) -> TaskResult | None:
        """Run the attempt and leave its result; None when another claimant has it.

        A result is left whatever happens, but where the request cannot be read (BundleError). An
        attempt that has its result already is not run again.
        """
        if not claim(attempt, claimant):
            return None
        request = read_request(attempt)
        if (earlier := _read_earlier(attempt, request.key)) is not None:
            return earlier
        started_s = self._clock.monotonic()
        record = _Record(attempt, self._credentials.mask)
        verdict, manifest = self._attempt(attempt, request, record)
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
        write_result(attempt, result)
        if result.outcome is Outcome.OK:
            shutil.rmtree(attempt.work, ignore_errors=True)
            _drop_inputs(attempt, request)
        return result

    def _attempt(
        self, attempt: AttemptDir, request: Request, record: _Record
    ) -> tuple[Verdict, Manifest]:
        """The verdict and the files it stands for: none unless it is OK."""
        try:
            return self._work(attempt, request, record)
        except Exception as exc:  # noqa: BLE001 - the worker's boundary: an attempt always answers
            _log.debug("%s failed", request.key, exc_info=True)
            verdict = judge_error(exc)
            record.log(traceback.format_exc())
        except BaseException as exc:
            shutil.rmtree(attempt.files, ignore_errors=True)
            message = f"The worker was stopped ({type(exc).__name__})."
            write_result(
                attempt,
                TaskResult(
                    request.key,
                    Outcome.INTERRUPTED,
                    message,
                    usage=tuple(record.usage),
                    throttled=record.throttled,
                ),
            )
            raise
        shutil.rmtree(attempt.files, ignore_errors=True)
        return verdict, Manifest()

    def _work(
        self, attempt: AttemptDir, request: Request, record: _Record
    ) -> tuple[Verdict, Manifest]:
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
        assignment = Assignment(
            request=request,
            workspace=workspace,
            clock=clock,
            connect=self._connector(request, clock, hooks),
            find_defects=lambda: find_defects(workspace, inputs, attempt.inputs),
            transcript=Transcript(attempt.transcript, self._credentials.mask),
            progress=record.progress,
            credentials=self._credentials,
            hooks=hooks,
            attempt=attempt,
        )
        verdict = self._load(request.model.engine)(assignment).work()
        if verdict.outcome is Outcome.OK and (defects := assignment.find_defects()):
            verdict = Verdict(Outcome.DEFECT, "\n".join(defects), verdict.turns)
        record.log(f"{verdict.outcome}: {verdict.message}")
        if verdict.outcome is not Outcome.OK:
            record.log(f"What was written so far stays in {attempt.work.name}/.")
            return verdict, Manifest()
        return verdict, _deliver(attempt, workspace, inputs, record)

    def _connector(
        self, request: Request, clock: Clock, hooks: Hooks
    ) -> Callable[[], AbstractContextManager[Claude]]:
        return lambda: self._connect(
            request.model,
            self._credentials,
            clock=clock,
            governor=self._governor,
            limits=request.limits,
            hooks=hooks,
        )


@dataclass(frozen=True)
class ThreadWorker:
    """Runs attempts in this process, each with the clock that can stop it."""

    credentials: Credentials
    governor: Governor

    def __call__(self, attempt: AttemptDir, claimant: str, clock: Clock) -> TaskResult | None:
        return ExecutorAgent(self.credentials, clock, governor=self.governor).run(attempt, claimant)


class _Record:
    """What is told while the attempt runs: events.jsonl and log.txt, each line out at once.

    Goes on where an earlier worker of the same attempt was killed: its money was spent too.
    """

    def __init__(self, attempt: AttemptDir, mask: Callable[[str], str]) -> None:
        attempt.result.mkdir(parents=True, exist_ok=True)
        self._events = attempt.events
        self._log = attempt.log
        self._mask = mask
        self.usage = list(read_spent(attempt))
        self.throttled = 0
        _end_torn_line(attempt.events)

    def spent(self, usage: Usage) -> None:
        self.usage.append(usage)
        self._emit({"usage": plain(usage)})

    def throttle(self) -> None:
        self.throttled += 1

    def progress(self, text: str) -> None:
        self._emit({"text": self._mask(text)})

    def log(self, text: str) -> None:
        with self._log.open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(self._mask(text).rstrip() + "\n")

    def _emit(self, data: Mapping[str, Any]) -> None:
        with self._events.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"kind": str(Kind.PROGRESS), **data}) + "\n")


def _end_torn_line(events: Path) -> None:
    if events.exists() and not events.read_bytes().endswith(b"\n"):
        with events.open("ab") as stream:
            stream.write(b"\n")


def _read_earlier(attempt: AttemptDir, key: JobKey) -> TaskResult | None:
    """The result that an earlier worker of this claimant left, if it is whole: it may have been
    collected already, so not even an interrupted one is run again."""
    with suppress(BundleError):
        return read_result(attempt, key)
    return None


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
    for path in sorted(attempt.inputs.rglob("*"), reverse=True):
        with suppress(OSError):  # a directory that holds a contract
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            elif path not in kept:
                path.unlink()


def _lay_out(attempt: AttemptDir, request: Request, inputs: Manifest) -> Workspace:
    """A fresh work/ with the inputs in it; what a killed worker left there is dropped."""
    for leftover in (attempt.work, attempt.files):
        shutil.rmtree(leftover, ignore_errors=True)
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
    attempt: AttemptDir, workspace: Workspace, inputs: Manifest, record: _Record
) -> Manifest:
    """Move the files of the result to result/files; the rest is dropped and named in the log."""
    for path in result_paths(workspace):
        destination = attempt.files / path
        destination.parent.mkdir(parents=True, exist_ok=True)
        workspace.move_out(path, destination)
    given = set(inputs.paths)
    if dropped := [path for path, _ in workspace.files() if path not in given]:
        record.log("\n".join(["Dropped, since it is no part of the result:", *dropped]))
    return build_manifest(attempt.files)

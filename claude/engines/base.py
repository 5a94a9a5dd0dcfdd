"""The contract of an engine: how an executor reaches Claude, what it gets and what it returns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude.client.types import Block, Claude
from claude.engines.transcript import Transcript
from claude.prompts import render_own_contracts, render_shared, render_task
from core.bundle import AttemptDir, Request
from core.clock import Clock
from core.errors import (
    BillingRefused,
    BudgetExceeded,
    CredentialsRefused,
    Interrupted,
    ModelError,
    ModelUnavailable,
    ModelUnknown,
)
from core.job import Outcome
from core.workspace.confined import ConfinedTree
from core.workspace.workspace import Workspace

_OUTCOMES: tuple[tuple[type[Exception], Outcome], ...] = (
    (Interrupted, Outcome.INTERRUPTED),
    (ModelUnavailable, Outcome.RATE_LIMITED),
    (CredentialsRefused, Outcome.AUTH),
    (ModelUnknown, Outcome.AUTH),
    (BillingRefused, Outcome.BILLING),
    (BudgetExceeded, Outcome.BUDGET),
)


@dataclass(frozen=True, slots=True)
class EngineContext:
    """One attempt as an engine sees it: inputs laid out in the workspace, nothing written yet.
    `connect` opens the Messages API with a clock that may end its waiting; `progress` takes lines
    for people. An engine may keep temporary files below `attempt.root`. `contained` says that a
    container is around this process, which does nothing else. `run_checks`, if given, runs the
    task's checks for a model that may run no commands."""

    request: Request
    workspace: Workspace
    clock: Clock
    connect: Callable[[Clock], AbstractContextManager[Claude]]
    find_defects: Callable[[], list[str]]
    transcript: Transcript
    progress: Callable[[str], None]
    attempt: AttemptDir = field(default_factory=lambda: AttemptDir(Path()))
    contained: bool = False
    run_checks: Callable[[], tuple[str, bool]] | None = None

    @property
    def commands(self) -> bool:
        """Whether the model may run commands."""
        return self.contained or self.request.model.allow_commands


@dataclass(frozen=True, slots=True)
class EngineResult:
    """How the engine's work ended; OK only after a check. `message` is for people."""

    outcome: Outcome
    message: str
    turns: int = 0


class WorkEnded(Exception):
    """Control flow: the work is over, and how."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message


class Engine(ABC):
    """Works on one task, once. Subclasses implement `_solve`."""

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._request = context.request
        self._limits = context.request.limits
        self._turns = 0

    def work(self) -> EngineResult:
        """The result, whatever the model or the API does; other errors pass. Either way the
        transcript has its first and last line."""
        transcript = self._context.transcript
        transcript.begin(self._request)
        try:
            result = EngineResult(Outcome.OK, self._solve(), self._turns)
        except WorkEnded as end:
            result = EngineResult(end.outcome, end.message, self._turns)
        except (ModelError, Interrupted) as exc:
            result = result_of_error(exc, self._turns)
        except BaseException as exc:
            transcript.end(type(exc).__name__, str(exc), self._unsent())
            raise
        transcript.end(result.outcome, result.message, self._unsent())
        return result

    @abstractmethod
    def _solve(self) -> str:
        """Do the task and return a summary, or raise WorkEnded, ModelError or Interrupted."""

    def _unsent(self) -> Sequence[Mapping[str, Any]]:
        """Messages that got no answer any more, for the transcript."""
        return ()

    def _out_of_turns(self) -> WorkEnded:
        most = self._limits.max_turns
        return WorkEnded(Outcome.DEFECT, f"The task was not done within {most} turns.")

    def _defective(self, defects: Sequence[str]) -> WorkEnded:
        return WorkEnded(Outcome.DEFECT, "\n".join(["The result has defects:", *defects]))

    def _declined(self, text: str) -> WorkEnded:
        return WorkEnded(Outcome.REFUSED, f"Claude declined the task. {text}".rstrip())


def build_prompt(context: EngineContext) -> tuple[Block, Block]:
    """The shared text, the same bytes for all tasks of a run, then the task's own."""
    request, workspace = context.request, context.workspace
    contracts = {c.path: workspace.text(c.path) for c in request.contracts if c.is_used}
    files = [path for path in _given_files(context) if path not in contracts]
    own = render_own_contracts(request, contracts)
    task = "\n".join(filter(None, (own, render_task(request, files))))
    return build_text(render_shared(request, contracts)), build_text(task)


def _given_files(context: EngineContext) -> list[str]:
    """What others have written; not the existing code, which may be large."""
    inputs = context.attempt.inputs
    if context.request.base is None:
        return [path for path, _ in context.workspace.scan().files]
    return [path for path, _ in ConfinedTree(inputs).scan().files] if inputs.is_dir() else []


def build_text(text: str) -> Block:
    return {"type": "text", "text": text}


def result_of_error(error: Exception, turns: int = 0) -> EngineResult:
    """The result of work that an error ended; the outcome says whether trying again can help."""
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return EngineResult(outcome, str(error), turns)
    return EngineResult(Outcome.DEFECT, f"{type(error).__name__}: {error}", turns)

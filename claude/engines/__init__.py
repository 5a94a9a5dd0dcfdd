"""How an executor reaches Claude: what every engine is given and gives back, and choosing one.

A short name stands for a class that is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

from claude.client.types import Claude
from claude.engines.transcript import Transcript
from core.bundle import AttemptDir, Request
from core.clock import Clock
from core.errors import (
    BillingRefused,
    BudgetExceeded,
    CredentialsRefused,
    Interrupted,
    ModelUnavailable,
    ModelUnknown,
    SettingsError,
)
from core.job import Outcome
from core.workspace.workspace import Workspace

ENGINES: Mapping[str, str] = {
    "api": "claude.engines.api.ApiEngine",
    "claude-code": "claude.engines.claude_code.ClaudeCodeEngine",
}

_OUTCOMES: tuple[tuple[type[Exception], Outcome], ...] = (
    (Interrupted, Outcome.INTERRUPTED),
    (ModelUnavailable, Outcome.RATE_LIMITED),
    (CredentialsRefused, Outcome.AUTH),
    (ModelUnknown, Outcome.AUTH),
    (BillingRefused, Outcome.BILLING),
    (BudgetExceeded, Outcome.BUDGET),
)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One attempt as an engine sees it: inputs laid out in the workspace, nothing written yet.

    `connect` opens the Messages API for as long as the context lasts, with a clock that may end its
    waiting; `find_defects` judges the workspace by evidence; `progress` takes lines for people.
    Below `attempt.root` an engine may keep files of its own as long as it works. `contained` says
    that a container is around this process, which works on nothing else.
    """

    request: Request
    workspace: Workspace
    clock: Clock
    connect: Callable[[Clock], AbstractContextManager[Claude]]
    find_defects: Callable[[], list[str]]
    transcript: Transcript
    progress: Callable[[str], None]
    attempt: AttemptDir = field(default_factory=lambda: AttemptDir(Path()))
    contained: bool = False

    @property
    def commands(self) -> bool:
        """Whether the model may run commands."""
        return self.contained or self.request.model.allow_commands


@dataclass(frozen=True, slots=True)
class EngineResult:
    """How the engine's work ended; OK only with evidence. `message` is for people."""

    outcome: Outcome
    message: str
    turns: int = 0


class Engine(Protocol):
    """Works on one assignment, once."""

    def work(self) -> EngineResult:
        """Ends in a verdict whatever the model or the API does; other errors are not caught."""
        ...


def load_engine(name: str) -> Callable[[Assignment], Engine]:
    """The engine with this short name. Raises SettingsError that lists those that exist."""
    if (path := ENGINES.get(name)) is None:
        raise SettingsError(
            f"There is no engine {name!r}.", f"Engines that exist: {', '.join(ENGINES)}."
        )
    module, _, attribute = path.rpartition(".")
    return cast(Callable[[Assignment], Engine], getattr(importlib.import_module(module), attribute))


def judge_error(error: Exception, turns: int = 0) -> EngineResult:
    """The verdict on work that an error ended; the outcome says whether trying again can help."""
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return EngineResult(outcome, str(error), turns)
    return EngineResult(Outcome.DEFECT, f"{type(error).__name__}: {error}", turns)

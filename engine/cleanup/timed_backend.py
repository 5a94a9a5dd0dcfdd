"""A backend for commands that wait for its answers: no call of it lasts for ever."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from backends.base import Backend
from core.clock import Clock
from core.errors import BackendError, OrchestratorError
from engine.scheduling.calls import ThreadedCalls

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TimedBackend:
    """A backend whose calls come to an end: one that hangs, or breaks, is a BackendError."""

    backend: Backend
    clock: Clock
    answer_s: float = 60.0
    cleanup_s: float = 300.0

    @property
    def name(self) -> str:
        return self.backend.name

    def call(self, method: str, call: Callable[[Backend], T], limit_s: float | None = None) -> T:
        answers: list[T | Exception] = []
        calls, limit_s = ThreadedCalls(self.clock), limit_s or self.answer_s
        until = self.clock.monotonic() + limit_s
        calls.start(method, lambda: call(self.backend), answers.append)
        try:
            while not answers and (left_s := until - self.clock.monotonic()) > 0:
                calls.wait(left_s)
        finally:
            calls.close()
        if not answers:
            raise BackendError(
                f"{self.name} gave no answer to {method} within {limit_s:g} s.", "Try again later."
            )
        if not isinstance(found := answers[0], Exception):
            return found
        if isinstance(found, OrchestratorError):
            raise found
        # against the contract; but other runs and backends have nothing to do with it
        raise BackendError(f"{method} failed: {type(found).__name__}: {found}.") from found

    def cleanup(self, run_id: str) -> None:
        self.call("cleanup", lambda backend: backend.cleanup(run_id), self.cleanup_s)

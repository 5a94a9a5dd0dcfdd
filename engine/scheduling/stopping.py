"""Whether and why a run stops before its tasks are through, and how long it may take to."""

from dataclasses import dataclass, field

from engine.scheduling.context import SchedulerContext
from engine.scheduling.types import Stop, StopCause

_AT_ONCE = (StopCause.INTERRUPTED, StopCause.PLANNING)
"""Causes for which what runs is stopped too."""


@dataclass(slots=True)
class Stopping:
    """`is_asked`, from any thread: by a person, or since there will be no plan. `stop` is the cause
    that was heeded."""

    context: SchedulerContext
    is_asked: bool = False
    stop: Stop | None = field(default=None, init=False)
    since: float = field(default=0.0, init=False)
    """In monotonic seconds."""

    def halt(self, stop: Stop) -> None:
        """Start nothing more."""
        self.stop, self.since = stop, self.context.now()

    @property
    def is_at_once(self) -> bool:
        """Whether what runs is stopped too."""
        return self.stop is not None and self.stop.cause in _AT_ONCE

    @property
    def patient_until(self) -> float | None:
        """How long what is stopped may take to end; None while nothing is."""
        return self.since + self.context.pacing.interrupt_grace_s if self.stop else None

    @property
    def is_patient(self) -> bool:
        until = self.patient_until
        return until is None or self.context.now() < until

"""What the scheduler and its parts work with: the backend, its calls, time, the event sink."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from backends.base import Backend
from core.clock import Clock
from core.events import EventData, EventSink, Notice, event_at
from core.job import JobKey
from engine.scheduling.backend_health import BackendHealth
from engine.scheduling.calls import Calls, Then, outcome_of
from engine.scheduling.types import Pacing


@dataclass(slots=True)
class SchedulerContext:
    """Holds nothing that a run decides upon; that is the scheduler's."""

    run_id: str
    backend: Backend
    calls: Calls
    clock: Clock
    pacing: Pacing
    sink: EventSink
    now: Callable[[], float] = field(init=False)
    """Monotonic seconds."""
    health: BackendHealth = field(init=False)

    def __post_init__(self) -> None:
        self.now = self.clock.monotonic
        self.health = BackendHealth(
            self.backend.name,
            self.calls,
            self.clock,
            lambda text: self.emit(Notice(text)),
            notice_s=self.pacing.call_notice_s,
            give_up_s=self.pacing.give_up_s,
            under_way=self.backend.under_way,
        )

    def pause_s(self, due: Iterable[float | None]) -> float:
        """Until the next of the times that are `due` and have not passed, or until somebody should
        know that nothing happens."""
        now = self.now()
        times = [when for when in due if when is not None and when > now]
        notice = now + self.pacing.call_notice_s
        if not times or self.calls.overdue(0.0):  # some call is under way, and may hang
            times.append(notice)
        return min(times) - now

    def call(self, method: str, work: Callable[[], Any], then: Then) -> None:
        """`then` gets the answer: at once from a prompt method, from others in a later wait."""
        if method in self.backend.prompt:
            then(outcome_of(work))
        else:
            self.calls.start(method, work, then)

    def emit(self, data: EventData, key: JobKey | None = None) -> None:
        self.sink.emit(event_at(self.clock.time(), data, key))

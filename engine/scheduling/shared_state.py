"""What the rooms of the scheduler share: the backend, where tasks and attempts stand, time."""

from __future__ import annotations

from dataclasses import dataclass, field

from backends.base import Backend
from core.clock import Clock
from core.events import EventData, EventSink, Notice, event_at
from core.job import JobHandle, JobKey
from engine.scheduling.attempt import Attempt, PollTimer
from engine.scheduling.backend_health import BackendHealth
from engine.scheduling.calls import Calls
from engine.scheduling.task_graph import TaskGraph
from engine.scheduling.types import Pacing, Stop


@dataclass(slots=True)
class Desk:
    """Touched by the scheduler's thread alone, but for `interrupted`.

    `number` is the last attempt of each task in all sessions, `tries` counts those of this one;
    `strays` are jobs that nobody wants any more: of earlier sessions, or given up as lost.
    """

    run_id: str
    backend: Backend
    calls: Calls
    clock: Clock
    pacing: Pacing
    sink: EventSink
    graph: TaskGraph
    succeeded: dict[str, int]
    number: dict[str, int]
    messages: dict[str, str]
    tries: dict[str, int]
    active: dict[JobKey, Attempt] = field(default_factory=dict)
    retries: list[tuple[float, str]] = field(default_factory=list)
    strays: list[JobHandle] = field(default_factory=list)
    stop: Stop | None = None
    stopped_at: float = 0.0
    interrupted: bool = False
    polls: PollTimer = field(init=False)
    health: BackendHealth = field(init=False)

    def __post_init__(self) -> None:
        self.polls = PollTimer(self.backend.pace)
        self.health = BackendHealth(
            self.backend.name,
            self.calls,
            self.clock,
            lambda text: self.emit(Notice(text)),
            notice_s=self.pacing.call_notice_s,
            give_up_s=self.pacing.give_up_s,
            under_way=self.backend.under_way,
        )

    def now(self) -> float:
        return self.clock.monotonic()

    def emit(self, data: EventData, key: JobKey | None = None) -> None:
        self.sink.emit(event_at(self.clock.time(), data, key))

"""The run's time as spans on lanes: planning, one lane for each executor slot, delivery and checks.

Folded from the journal's events. Times are seconds of the run's sessions one after the other, so
that the days between two sessions take no room.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from core.events import (
    CheckEnded,
    Delivered,
    Event,
    JobEnded,
    JobIntended,
    MergeIntended,
    Notice,
    PlanReady,
    Progress,
    RepairBegun,
    RepairEnded,
    RunEnded,
    RunStarted,
    TaskRetry,
)
from core.job import JobKey, Outcome
from engine.run.run_view import RunView, apply_all
from engine.views.format import repair_text, suspicion_text


class SpanKind(StrEnum):
    PLANNING = "planning"
    JOB = "job"
    WAIT = "wait"
    """Until a task is tried again."""
    MERGE = "merge"
    CHECK = "check"


PLANNER, PROOF = "planner", "proof"


@dataclass(slots=True)
class Span:
    """`end` is None while it goes on; `ran_s` is how long the job's executor worked, of it. `state`
    is ok, failed, lost, or how a check ended."""

    kind: SpanKind
    lane: str
    begin: float
    end: float | None = None
    task: str = ""
    attempt: int = 0
    ran_s: float | None = None
    state: str = ""
    note: str = ""


@dataclass(slots=True)
class Attempt:
    """What the journal says of one attempt of a task."""

    number: int
    cause: str = ""
    message: str = ""
    is_void: bool = False


@dataclass(slots=True)
class Timeline:
    """An event sink; `run_view` has got the same events."""

    run_view: RunView
    spans: list[Span] = field(default_factory=list)
    sessions: list[float] = field(default_factory=list)
    """When each began."""
    notices: list[tuple[float, str]] = field(default_factory=list)
    attempts: dict[str, dict[int, Attempt]] = field(default_factory=dict)
    """Of each task, by number."""
    _open: dict[JobKey | SpanKind, Span] = field(default_factory=dict)

    def emit(self, event: Event) -> None:
        self.run_view.apply(event)
        at = self.run_view.wall_s(event.at)
        key = JobKey(self.run_view.run_id, event.task, event.attempt)
        match event.data:
            case RunStarted():
                self._end_all(at)
                self.sessions.append(at)
                if not self.run_view.planned:
                    self._begin(SpanKind.PLANNING, Span(SpanKind.PLANNING, PLANNER, at))
            case PlanReady() if SpanKind.PLANNING in self._open:
                self._extend_planning(at)
            case Progress(usage=usage) if usage is not None and not event.task:
                self._extend_planning(at)
            case JobIntended():
                self._job_begun(key, at)
            case JobEnded() as data:
                self._job_ended(key, at, data)
            case TaskRetry() as data:
                note = data.message or data.reason
                span = Span(SpanKind.WAIT, self._lane_of(event.task), at, at + data.delay_s)
                span.task, span.attempt, span.note = event.task, event.attempt, note
                self.spans.append(span)
            case MergeIntended():
                self._begin(SpanKind.MERGE, Span(SpanKind.MERGE, PROOF, at))
            case Delivered():
                if SpanKind.MERGE in self._open:
                    span = self._open.pop(SpanKind.MERGE)
                    span.end, span.state = at, "ok"
            case CheckEnded() as data:
                begin = max(0.0, at - data.seconds)
                span = Span(SpanKind.CHECK, PROOF, begin, at, state=str(data.state))
                span.note = f"{data.phase}: {data.command}"
                self.spans.append(span)
            case Notice(text):
                self.notices.append((at, text))
            case RepairBegun() as data:
                self.notices.append((at, suspicion_text(data)))
            case RepairEnded() as data:
                self.notices.append((at, repair_text(data)))
            case RunEnded():
                self._end_all(at)

    def read(self, run_id: str, events: Iterable[Event]) -> None:
        """Raises BundleError when the events contradict each other."""
        apply_all(self, run_id, events)

    def _begin(self, key: JobKey | SpanKind, span: Span) -> None:
        self.spans.append(span)
        self._open[key] = span

    def _extend_planning(self, at: float) -> None:
        """Planning may go on after the first tasks have begun; its last request is its end."""
        self._open.pop(SpanKind.PLANNING, None)
        spans = (span for span in reversed(self.spans) if span.kind is SpanKind.PLANNING)
        last = next(spans, None)
        if last is not None and last.begin >= (self.sessions or [0.0])[-1]:
            last.end, last.state = at, "ok"

    def _job_begun(self, key: JobKey, at: float) -> None:
        self.attempts.setdefault(key.task, {}).setdefault(key.attempt, Attempt(key.attempt))
        task = self.run_view.tasks.get(key.task)
        lane = str(task.slot) if task and task.slot else self._lane_of(key.task)
        span = Span(SpanKind.JOB, lane, at, task=key.task, attempt=key.attempt)
        self._begin(key, span)

    def _job_ended(self, key: JobKey, at: float, data: JobEnded) -> None:
        known = self.attempts.setdefault(key.task, {})
        attempt = known.setdefault(key.attempt, Attempt(key.attempt))
        attempt.cause, attempt.message = data.cause, data.message
        attempt.is_void = self.run_view.jobs.is_void(key)
        if key in self._open:
            span = self._open.pop(key)
            span.end, span.ran_s, span.note = at, data.duration_s or None, data.message
            span.state = "ok" if data.cause == Outcome.OK else "failed"
            if attempt.is_void:
                span.state = "void"

    def _lane_of(self, task: str) -> str:
        """Where the task was last."""
        spans = (s.lane for s in reversed(self.spans) if s.kind is SpanKind.JOB and s.task == task)
        return next(spans, "1")

    def _end_all(self, at: float) -> None:
        """What a session leaves open is over with it."""
        for span in self._open.values():
            span.end, span.state = at, span.state or "lost"
        self._open.clear()

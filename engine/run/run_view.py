"""The RunView: what a run looks like now, reduced from its events and nothing else.

Screen, plain lines and summary all read it, so they agree. Time comes from the events, or is
handed in as `now`. On resume, feed it the journal's events first, then those of the new session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cache
from graphlib import TopologicalSorter
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.events import Event, Kind
from core.job import JobState, Reason, Usage
from engine.money.cache_savings import saved_usd
from engine.money.usage import Spend

Price = Callable[[Usage], float | None]


class TaskPhase(StrEnum):
    """Where a task stands for a person; the board's states say what the scheduler may do."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """Whether it holds an executor slot."""
        return self in (TaskPhase.QUEUED, TaskPhase.RUNNING)

    @property
    def final(self) -> bool:
        return self in _FINAL


_FINAL = {TaskPhase.SUCCEEDED, TaskPhase.FAILED, TaskPhase.BLOCKED, TaskPhase.CANCELLED}


@dataclass(frozen=True, slots=True)
class Pending:
    """What a queued job waits for, in the queue's words; a `stuck` one will wait for ever as things
    stand."""

    why: str
    stuck: bool = False


@dataclass(slots=True)
class TaskView:
    """One task, or with an empty id the planning. Times are Unix seconds, None before they are."""

    id: str
    title: str = ""
    depends_on: tuple[str, ...] = ()
    estimate: int = 0
    phase: TaskPhase = TaskPhase.WAITING
    attempt: int = 0
    slot: int | None = None
    started_at: float | None = None
    """Of the attempt under way."""
    busy_s: float = 0.0
    """Of all ended attempts together."""
    files: int = 0
    activity: str = ""
    pending: Pending | None = None
    """Only while it is queued, and only if the queue tells."""
    message: str = ""
    settled: dict[int, Spend] = field(default_factory=dict)
    """Spend of ended attempts, by number."""
    under_way: Spend = field(default_factory=Spend)

    @property
    def spend(self) -> Spend:
        return sum(self.settled.values(), self.under_way)

    def elapsed_s(self, now: float) -> float:
        """Seconds worked on it so far, all attempts together."""
        running = max(0.0, now - self.started_at) if self.started_at is not None else 0.0
        return self.busy_s + running


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What RUN_STARTED tells."""

    run: str = ""
    run_dir: str = ""
    prompt: str = ""
    simulated: bool = False
    backend: str = ""
    model: str = ""
    max_executors: int = 0
    target: str = ""
    resumed: bool = False


class RunView:
    """Apply events in order; everything else is reading. Not for several threads at once."""

    def __init__(self, price: Price) -> None:
        self._price = price
        self.header = RunHeader()
        self.title = ""
        self.planned = False
        self.forecast: Mapping[str, Any] | None = None
        self.planning = TaskView("", "planning")
        self.tasks: dict[str, TaskView] = {}
        self.counts: Counter[TaskPhase] = Counter()
        self.notices: list[str] = []
        self.conflicts: tuple[Mapping[str, Any], ...] = ()
        self.refused: tuple[Mapping[str, Any], ...] = ()
        self.delivered_files: int | None = None
        self.ended: Mapping[str, Any] | None = None
        self._free: set[int] = set()
        self._slots = 0
        self._settled = Spend()
        self._path: dict[str, int] = {}
        self._session_at: float | None = None
        self._last_at = 0.0
        self._earlier_s = 0.0
        self._foreseen_s = 0.0

    def emit(self, event: Event) -> None:
        """A run view is an event sink."""
        self.apply(event)

    def apply(self, event: Event) -> None:
        _APPLY[event.kind](self, event)
        self._last_at = event.at

    def spend(self) -> Spend:
        """Of the whole run, planning included."""
        under_way = (t.under_way for t in self.tasks.values() if t.under_way.requests)
        return sum(under_way, self._settled + self.planning.under_way)

    def wall_s(self, now: float | None = None) -> float:
        """Seconds of all sessions; the last one until `now`, or until its last event."""
        if self._session_at is None:
            return 0.0
        end = self._last_at if now is None or self.ended is not None else now
        return self._earlier_s + max(0.0, end - self._session_at)

    def executing_s(self) -> float:
        """Seconds of all sessions since the forecast was told."""
        return max(0.0, self.wall_s() - self._foreseen_s)

    def task_spend(self) -> Spend:
        """What the tasks used, planning left out, as the forecast does."""
        return sum((task.spend for task in self.tasks.values()), Spend())

    def work_s(self) -> float:
        """Seconds of all ended attempts together."""
        return sum(t.busy_s for t in self.tasks.values())

    def critical_path_s(self) -> float:
        """Seconds of the longest chain of dependent tasks, as they really took."""
        longest: dict[str, float] = {}
        for name in self._order():
            before = max((longest.get(d, 0.0) for d in self.tasks[name].depends_on), default=0.0)
            longest[name] = before + self.tasks[name].busy_s
        return max(longest.values(), default=0.0)

    def progress(self, now: float) -> float:
        """Between 0 and 1, by estimate; a running task counts for what it should have done."""
        total = sum(max(1, t.estimate) for t in self.tasks.values())
        pace = self._seconds_per_token()
        done = 0.0
        for task in self.tasks.values():
            if task.phase.final:
                done += max(1, task.estimate)
            elif task.phase is TaskPhase.RUNNING and pace and task.started_at is not None:
                expected_s = max(1, task.estimate) * pace
                done += max(1, task.estimate) * min(0.9, (now - task.started_at) / expected_s)
        return done / total if total else 0.0

    def eta_s(self, now: float) -> float | None:
        """Seconds still to go, at the pace of the tasks done so far; None before there is one."""
        pace = self._seconds_per_token()
        if pace is None or self.ended is not None:
            return None
        longest = work = 0.0
        for task in self.tasks.values():
            if task.phase.final:
                continue
            spent = now - task.started_at if task.started_at is not None else 0.0
            longest = max(longest, self._path[task.id] * pace - spent)
            work += max(0.0, max(1, task.estimate) * pace - spent)
        return max(longest, work / max(1, self.header.max_executors), 0.0)

    def waits(self) -> Counter[Pending]:
        """What queued jobs wait for, and how many."""
        return Counter(t.pending for t in self.tasks.values() if t.pending is not None)

    def _seconds_per_token(self) -> float | None:
        done = [t for t in self.tasks.values() if t.phase is TaskPhase.SUCCEEDED and t.busy_s > 0]
        tokens = sum(max(1, t.estimate) for t in done)
        return sum(t.busy_s for t in done) / tokens if done else None

    def _order(self) -> list[str]:
        known = self.tasks
        graph = {n: [d for d in t.depends_on if d in known] for n, t in known.items()}
        return list(TopologicalSorter(graph).static_order())

    def _task(self, event: Event) -> TaskView:
        """The task meant; one that the plan does not name is still counted."""
        if not event.task:
            return self.planning
        if event.task not in self.tasks:
            self._add(TaskView(event.task, event.task))
        return self.tasks[event.task]

    def _add(self, task: TaskView) -> None:
        self.tasks[task.id] = task
        self._path[task.id] = max(1, task.estimate)
        self.counts[task.phase] += 1

    def _move(self, task: TaskView, phase: TaskPhase) -> None:
        """Change a task's phase, and take or give back its executor slot."""
        if not task.id:
            return
        self.counts[task.phase] -= 1
        self.counts[phase] += 1
        task.phase = phase
        task.pending = task.pending if phase is TaskPhase.QUEUED else None
        if phase.active and task.slot is None:
            if not self._free:
                self._slots += 1
                self._free.add(self._slots)
            task.slot = min(self._free)
            self._free.remove(task.slot)
        elif not phase.active and task.slot is not None:
            self._free.add(task.slot)
            task.slot = None

    def _usage(self, data: object) -> Spend:
        """One request; what is not a usage, or counts below nothing, counts for nothing."""
        try:
            usage = _usage_adapter().validate_python(data)
        except ValidationError:
            return Spend()
        counts = (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_tokens,
        )
        if min(counts) < 0:
            return Spend()
        cost = self._price(usage)
        saved = saved_usd(usage, self._price) or 0.0
        return Spend(1, *counts, cost or 0.0, int(cost is None), saved)

    def _settle(self, task: TaskView, attempt: int, usages: Iterable[object]) -> None:
        """The final list of an attempt replaces what was seen under way, unless it is empty."""
        told = sum(map(self._usage, usages), Spend())
        task.settled[attempt] = told if told.requests else task.under_way
        task.under_way = Spend()
        self._settled += task.settled[attempt]

    def _run_started(self, event: Event) -> None:
        known = {f.name: event.data[f.name] for f in fields(RunHeader) if f.name in event.data}
        self.header = RunHeader(**known)
        if self._session_at is not None:
            self._earlier_s += max(0.0, self._last_at - self._session_at)
        self._session_at = event.at
        self.ended = None
        self.notices.clear()
        for task in self.tasks.values():
            if task.phase is not TaskPhase.SUCCEEDED:
                task.started_at, task.message = None, ""
                self._move(task, TaskPhase.WAITING)

    def _plan_ready(self, event: Event) -> None:
        self.title = str(event.data.get("title", ""))
        self.planned = True
        for name, title, depends_on, estimate in event.data.get("tasks", ()):
            if name not in self.tasks:
                self._add(TaskView(name, title, tuple(depends_on), estimate))
        for name in reversed(self._order()):
            for dependency in self.tasks[name].depends_on:
                behind = self._path[name] + max(1, self.tasks[dependency].estimate)
                self._path[dependency] = max(self._path[dependency], behind)
        usage = event.data.get("usage") or ()
        if usage or not self.planning.settled:  # a resumed run tells its plan again
            self._settle(self.planning, len(self.planning.settled) + 1, usage)

    def _foreseen(self, event: Event) -> None:
        self.forecast = event.data
        self._foreseen_s = self.wall_s(event.at)

    def _job_begun(self, event: Event) -> None:
        task = self._task(event)
        task.attempt = event.attempt
        if not task.phase.active:
            task.activity = ""
            self._move(task, TaskPhase.QUEUED)

    def _job_state(self, event: Event) -> None:
        state, task = event.data.get("state"), self._task(event)
        if state == JobState.RUNNING:
            self._running(task, event)
        elif state == JobState.QUEUED:
            task.started_at, task.activity = None, ""
            why, stuck = (
                str(event.data.get("message") or ""),
                event.data.get("reason") == Reason.UNSCHEDULABLE,
            )
            task.pending = Pending(why, stuck) if why or stuck else None
            self._move(task, TaskPhase.QUEUED)

    def _running(self, task: TaskView, event: Event) -> None:
        if task.phase is not TaskPhase.RUNNING:
            task.attempt, task.started_at = event.attempt, event.at
            self._move(task, TaskPhase.RUNNING)

    def _progress(self, event: Event) -> None:
        task = self._task(event)
        if event.attempt in task.settled or task.phase.final:
            return  # late news of an attempt that is settled already
        if event.task:
            self._running(task, event)
        if "usage" in event.data:
            task.under_way += self._usage(event.data["usage"])
        if text := event.data.get("text"):
            task.activity = str(text)

    def _job_ended(self, event: Event) -> None:
        task, data = self._task(event), event.data
        if event.attempt not in task.settled:
            since = event.at - task.started_at if task.started_at is not None else 0.0
            task.busy_s += float(data.get("duration_s") or max(0.0, since))
            self._settle(task, event.attempt, data.get("usage") or ())
        task.attempt, task.started_at, task.activity = event.attempt, None, ""
        task.files, task.message = int(data.get("files") or 0), str(data.get("message") or "")
        self._move(task, TaskPhase.WAITING)

    def _task_retry(self, event: Event) -> None:
        task = self._task(event)
        task.message = str(event.data.get("message") or event.data.get("reason") or "")
        task.started_at = None
        self._move(task, TaskPhase.RETRYING)

    def _task_ended(self, event: Event) -> None:
        task = self._task(event)
        task.message = str(event.data.get("message") or "")
        task.started_at = None
        self._move(task, TaskPhase[str(event.data["state"])])

    def _notice(self, event: Event) -> None:
        self.notices.append(str(event.data.get("text", "")))

    def _delivered(self, event: Event) -> None:
        self.conflicts = tuple(event.data.get("conflicts") or ())
        self.refused = tuple(event.data.get("refused") or ())
        self.delivered_files = int(event.data.get("files") or 0)

    def _run_ended(self, event: Event) -> None:
        self.ended = event.data

    def _nothing(self, event: Event) -> None:
        pass


_APPLY: Mapping[Kind, Callable[[RunView, Event], None]] = {
    Kind.RUN_STARTED: RunView._run_started,
    Kind.PLAN_READY: RunView._plan_ready,
    Kind.FORECAST: RunView._foreseen,
    Kind.JOB_INTENDED: RunView._job_begun,
    Kind.JOB_SUBMITTED: RunView._job_begun,
    Kind.JOB_STATE: RunView._job_state,
    Kind.QUEUE: RunView._nothing,
    Kind.PROGRESS: RunView._progress,
    Kind.JOB_ENDED: RunView._job_ended,
    Kind.TASK_RETRY: RunView._task_retry,
    Kind.TASK_ENDED: RunView._task_ended,
    Kind.NOTICE: RunView._notice,
    Kind.MERGE_INTENDED: RunView._nothing,
    Kind.DELIVERED: RunView._delivered,
    Kind.RUN_ENDED: RunView._run_ended,
}


@cache
def _usage_adapter() -> TypeAdapter[Usage]:
    return TypeAdapter(Usage)

"""Runs in virtual time for tests: a faulty backend, slow calls, and a timeline of what they did."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from backends.base import Backend, BackendContext, LogChunk, PollPace, Wake
from core.bundle import UNLIMITED, Allowance
from core.errors import BackendError, CollectError, Problem, SubmitError
from core.events import EPHEMERAL, Event, Kind
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Reason, TaskResult, Usage
from core.plan import Contract, Plan, Task
from engine.money.budget import Budget
from engine.run.jobs_view import JobsView
from engine.run.run_view import replay
from engine.scheduling.calls import Calls, Then
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing, PlanSource, RunOutcome
from engine.scheduling.virtual_backend import (
    Script,
    VirtualBackend,
    VirtualCalls,
    VirtualClock,
    VirtualEnd,
)
from engine.scheduling.warm_up import SharedPrefix
from tests.fakes.events import data_of
from tests.fakes.plans import ancestors

T = TypeVar("T")
RUN = "20260101-000000-abcd"
PACING = Pacing(max_executors=3, task_timeout_s=300.0)
COSTLY_PREFIX = SharedPrefix(9_000, 1_024, write_usd=1.0, read_usd=0.1, begins_s=1.0)
"""Worth a wait of half a minute, though for one other only."""


class Crash(BaseException):
    """The process dies here."""


@dataclass(frozen=True)
class Window:
    """While `begin` <= now < `end`, `what` holds (for one task, where that makes sense)."""

    what: str
    begin: float
    end: float
    task: str = ""
    message: str = ""

    def holds(self, now: float) -> bool:
        return self.begin <= now < self.end


@dataclass(frozen=True)
class Faults:
    """`outages` name methods whose whole calls raise, after they did their work if
    `answers_lost`; `disguises` are poll answers in place of the true ones: UNKNOWN, QUEUED, STUCK
    (queued, and will not start) or MISSING; a result arrives `late_s` after its job's end; `silent`
    backends wake nobody."""

    outages: tuple[Window, ...] = ()
    answers_lost: bool = False
    disguises: tuple[Window, ...] = ()
    late_s: float = 0.0
    silent: bool = False


class FaultyBackend(Backend):
    """A virtual backend whose transport fails as `faults` say. `timeline` gets every submit."""

    name = "faulty"
    pace = PollPace(first_s=1.0, most_s=30.0)
    grace_s = 20.0

    def __init__(
        self, clock: VirtualClock, script: Script, faults: Faults, timeline: list[Any]
    ) -> None:
        self.inner = VirtualBackend(clock, script)
        self.faults = faults
        self.called: Counter[str] = Counter()
        self.polled_at: list[float] = []
        self.dies_before_submit = 0
        self.dies_after_submit = 0
        self._clock = clock
        self._timeline = timeline
        self._ended_at: dict[JobKey, float] = {}

    @classmethod
    def build(cls, context: BackendContext) -> Self:
        raise NotImplementedError

    def on_change(self, wake: Wake) -> None:
        if not self.faults.silent:
            self.inner.on_change(wake)

    def preflight(self) -> list[Problem]:
        return []

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        def accept() -> list[JobHandle | SubmitError]:
            self._timeline.append(("submit", [job.key for job in jobs]))
            answer = self.inner.submit(jobs)
            if self.called["submit"] == self.dies_after_submit:
                self.dies_after_submit = 0
                raise Crash
            return answer

        if self.called["submit"] + 1 == self.dies_before_submit:
            self.dies_before_submit = 0
            raise Crash
        return self._call("submit", accept)

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        self.polled_at.append(self._clock.monotonic())
        answers = self._call("poll", lambda: self.inner.poll(handles))
        return {key: self._disguised(key, status) for key, status in answers.items()}

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        found = self._call("collect", lambda: self.inner.collect(handles, destination))
        return {key: self._delayed(key, result) for key, result in found.items()}

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        return self._call("logs", lambda: self.inner.logs(handle, cursor))

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        self._call("cancel", lambda: self.inner.cancel(handles))

    def reattach(self, run_id: str) -> list[JobHandle]:
        return self._call("reattach", lambda: self.inner.reattach(run_id))

    def cleanup(self, run_id: str) -> None:
        self.inner.cleanup(run_id)

    def close(self) -> None:
        self.inner.close()

    def _call(self, method: str, work: Callable[[], T]) -> T:
        self.called[method] += 1
        now = self._clock.monotonic()
        broken = any(w.what == method and w.holds(now) for w in self.faults.outages)
        if broken and not self.faults.answers_lost:
            raise BackendError(f"{method} is out of reach.")
        answer = work()
        if broken:
            raise BackendError(f"the answer of {method} was lost.")
        return answer

    def _disguised(self, key: JobKey, true: JobStatus) -> JobStatus:
        now = self._clock.monotonic()
        if true.state.final:
            self._ended_at.setdefault(key, now)
        for window in self.faults.disguises:
            if window.task == key.task and window.holds(now):
                if window.what == "UNKNOWN":
                    return JobStatus(JobState.UNKNOWN)
                if window.what in ("QUEUED", "STUCK") and not true.state.final:
                    reason = Reason.UNSCHEDULABLE if window.what == "STUCK" else None
                    return JobStatus(JobState.QUEUED, reason, message=window.message)
                if window.what == "MISSING":
                    return JobStatus(JobState.LOST, Reason.MISSING)
        return true

    def _delayed(self, key: JobKey, found: TaskResult | CollectError) -> TaskResult | CollectError:
        since = self._clock.monotonic() - self._ended_at.get(key, 0.0)
        if isinstance(found, TaskResult) and since < self.faults.late_s:
            return CollectError(f"{key} has no result yet.", retryable=True)
        return found


class PromptBackend(FaultyBackend):
    """Is called in the scheduler's own thread."""

    prompt = frozenset({"submit", "poll", "collect", "cancel"})


class SlowCalls:
    """Calls that take virtual time, before and after they do their work; `hang` never come back."""

    def __init__(
        self,
        clock: VirtualClock,
        delays: Callable[[str], tuple[float, float]] = lambda _: (0.0, 0.0),
        hang: frozenset[str] = frozenset(),
    ) -> None:
        self._clock = clock
        self._delays = delays
        self._hang = hang
        self._under: dict[str, tuple[float, Then]] = {}
        self._inbox: deque[tuple[str, Any]] = deque()
        self._woken = False
        self._dead = False

    def start(self, method: str, call: Callable[[], Any], then: Then) -> None:
        if method in self._under:
            raise RuntimeError(f"A call of {method} is already under way.")
        now = self._clock.monotonic()
        self._under[method] = (now, then)
        before, after = self._delays(method)
        if method not in self._hang:
            self._clock.call_at(now + before, lambda: self._work(method, call, after))

    def _work(self, method: str, call: Callable[[], Any], after: float) -> None:
        if self._dead:
            return
        try:
            value = call()
        except Exception as exc:  # noqa: BLE001 - as on a thread
            value = exc
        due = self._clock.monotonic() + after
        self._clock.call_at(due, lambda: self._inbox.append((method, value)))

    def busy(self, method: str) -> bool:
        return method in self._under

    def overdue(self, deadline_s: float) -> dict[str, float]:
        now = self._clock.monotonic()
        ages = {method: now - since for method, (since, _) in self._under.items()}
        return {method: age for method, age in ages.items() if age >= deadline_s}

    def wait(self, timeout_s: float | None) -> None:
        limit = self._clock.monotonic() + (1e12 if timeout_s is None else timeout_s)
        while not self._inbox and not self._woken and self._clock.monotonic() < limit:
            due = self._clock.next_timer()
            self._clock.advance(limit if due is None else min(due, limit))
        self._woken = False
        while self._inbox:
            method, value = self._inbox.popleft()
            self._under.pop(method)[1](value)

    def wake(self) -> None:
        self._woken = True

    def close(self) -> None:
        self._inbox.clear()

    def die(self) -> None:
        """Their process died: what has not begun never will."""
        self._dead = True


class CountingCalls(VirtualCalls):
    """Immediate calls that are counted, as are the waits."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.waits = 0
        self.started: Counter[str] = Counter()

    def start(self, method: str, call: Callable[[], Any], then: Then) -> None:
        self.started[method] += 1
        super().start(method, call, then)

    def wait(self, timeout_s: float | None) -> None:
        self.waits += 1
        super().wait(timeout_s)


class MemoryStore:
    """Keeps what each job key meant, and refuses to give one key two meanings."""

    destination = Path("nowhere")

    def __init__(self, plan: Plan) -> None:
        self._ancestors = ancestors(plan)
        self.meanings: dict[JobKey, tuple[str, dict[str, int]]] = {}
        self.used: dict[JobKey, tuple[Usage, ...]] = {}
        self.allowances: dict[JobKey, Allowance] = {}
        self.contracts: list[str] = []

    def prepare(
        self,
        task: Task,
        key: JobKey,
        previous_failure: str,
        succeeded: Mapping[str, int],
        allowance: Allowance = UNLIMITED,
    ) -> Job:
        inputs = {name: succeeded[name] for name in self._ancestors[task.id]}
        meaning = (previous_failure, inputs)
        self.allowances[key] = allowance
        assert self.meanings.setdefault(key, meaning) == meaning, f"{key} has two meanings"
        return Job(key, Path(str(key)), 1.0)

    def spent(self, key: JobKey) -> tuple[Usage, ...]:
        return self.used.get(key, ())

    def add_contract(self, contract: Contract) -> None:
        self.contracts.append(contract.path)

    def take_plan(self, plan: Plan) -> None:
        self._ancestors = ancestors(plan)


@dataclass
class World:
    """A backend, its clock and a journal, which outlive the schedulers that die on them."""

    plan: Plan
    script: Script
    faults: Faults = Faults()
    pacing: Pacing = PACING
    max_attempts: int = 3
    timeline: list[Any] = field(default_factory=list)
    journal: list[Event] = field(default_factory=list)
    committed: int = 0
    crash_after_line: int | None = None
    crash_on: tuple[Kind, str] | None = None
    backend_type: type[FaultyBackend] = FaultyBackend
    budget: Budget | None = None

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.backend = self.backend_type(self.clock, self.script, self.faults, self.timeline)
        self.store = MemoryStore(self.plan)

    def emit(self, event: Event) -> None:
        self.timeline.append(event)
        if event.kind not in EPHEMERAL:
            self.journal.append(event)
            if len(self.journal) == self.crash_after_line:
                raise Crash
            if self.crash_on == (event.kind, event.task):
                self.crash_on = None
                raise Crash

    def commit(self) -> None:
        self.committed = len(self.journal)

    def scheduler(
        self,
        calls: Calls | None = None,
        earlier: JobsView | None = None,
        source: PlanSource | None = None,
    ) -> Scheduler:
        """A new process at work on the same run."""
        return Scheduler(
            RUN,
            self.plan,
            backend=self.backend,
            store=self.store,
            sink=self,
            calls=calls or VirtualCalls(self.clock),
            clock=self.clock,
            policy=RetryPolicy(self.max_attempts, random.Random(7)),
            pacing=self.pacing,
            earlier=replay(RUN, self.journal).jobs if earlier is None else earlier,
            commit=self.commit,
            budget=self.budget,
            source=source,
        )

    def run(self, calls: Calls | None = None, source: PlanSource | None = None) -> RunOutcome:
        try:
            return self.scheduler(calls, source=source).run()
        except Crash:
            if isinstance(calls, SlowCalls):
                calls.die()
            raise

    # -- what was seen

    def events(self, kind: Kind) -> list[Event]:
        return [e for e in self.timeline if isinstance(e, Event) and e.kind is kind]

    def final_states(self, since: int = 0) -> dict[str, list[str]]:
        """Every final state told of each task, in the timeline from entry `since`."""
        told: dict[str, list[str]] = {t.id: [] for t in self.plan.tasks}
        for event in self.timeline[since:]:
            if isinstance(event, Event) and event.kind is Kind.TASK_ENDED:
                told[event.task].append(str(data_of(event)["state"]))
        return told

    def most_at_once(self) -> int:
        """The most jobs that the scheduler ever held at the same time."""
        held: set[tuple[str, int]] = set()
        most = 0
        for event in self.timeline:
            if isinstance(event, Event) and event.kind is Kind.JOB_INTENDED:
                held.add((event.task, event.attempt))
                most = max(most, len(held))
            elif isinstance(event, Event) and event.kind is Kind.JOB_ENDED:
                held.discard((event.task, event.attempt))
        return most

    def jobs_of(self, task: str) -> list[int]:
        return sorted({e.attempt for e in self.events(Kind.JOB_INTENDED) if e.task == task})


def always(end: VirtualEnd | None = None, **ends: VirtualEnd | Sequence[VirtualEnd]) -> Script:
    """A script: `ends` by task, one for all attempts or one each (the last repeats)."""
    default = end or VirtualEnd()

    def script(key: JobKey) -> VirtualEnd:
        found = ends.get(key.task.replace("-", "_"), default)
        if isinstance(found, VirtualEnd):
            return found
        return found[min(key.attempt, len(found)) - 1]

    return script

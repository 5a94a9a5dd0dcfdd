"""The RunView: where a run stands, reduced from its events and nothing else. All that shows a run
or goes on with it reads this, so they agree. Time comes from the events, or is handed in as `now`.
On resume, apply the journal's events first, then those of the new session."""

from collections.abc import Iterable

from core.errors import BundleError
from core.events import (
    AnswerBegun,
    AnswerProgress,
    CheckBegun,
    CheckEnded,
    Conflict,
    Delivered,
    Event,
    EventSink,
    Forecast,
    JobEnded,
    JobIntended,
    JobStateChanged,
    JobSubmitted,
    PlanApproved,
    PlanReady,
    Progress,
    Refused,
    RepairBegun,
    RepairEnded,
    RunEnded,
    RunStarted,
    TaskAdded,
    TaskEnded,
    TaskRetry,
    Verified,
)
from core.job import JobKey, JobState, Reason, TaskState, Usage
from engine.money.usage import Price, Spend, cost_text
from engine.run.jobs_view import JobsView
from engine.run.journal import read_journal
from engine.run.proof_view import ProofView
from engine.run.rundir import RunDir
from engine.run.task_view import Pending, TaskPhase, TaskView
from engine.run.tasks_view import TasksView


class RunView:
    """Apply events in order; everything else is reading. Not for several threads at once.

    `run_id` is needed where `jobs` are read and a journal may have lost its first event.
    """

    def __init__(self, price: Price = lambda _: None, run_id: str = "") -> None:
        self._price = price
        self.header = RunStarted(run=run_id)
        self.backends: list[str] = []
        """All backends that the run was carried out on."""
        self.title = ""
        self.assumptions: tuple[str, ...] = ()
        """What the request left open, and how the planner decided it."""
        self.start = ""
        """The command that starts what is built."""
        self.planned = False
        self.approved = False
        """Whether a person has said yes to the plan."""
        self.planning_s = 0.0
        """Seconds until there was a plan, from when a reported failure had been tried."""
        self.planning_usage: list[Usage] = []
        """Every request of planning, the preflight's among them."""
        self.forecast: Forecast | None = None
        self.planning = TaskView("", "planning")
        self.tasks = TasksView()
        self.jobs = JobsView()
        self.proof = ProofView()
        self.conflicts: tuple[Conflict, ...] = ()
        self.refused: tuple[Refused, ...] = ()
        self.delivered: Delivered | None = None
        """The last delivery."""
        self.ended: RunEnded | None = None
        """The end of the last session, unless the run was started again since."""
        self.last_at = 0.0
        """Unix time of the last event."""
        self._run_id = run_id
        self._settled = Spend()
        self._session_at: float | None = None
        self._earlier_s = 0.0
        self._forecast_s = self._tried_s = 0.0

    def apply(self, event: Event) -> None:
        match event.data:
            case Progress() as data:
                self._progress(event, data)
            case AnswerBegun():
                self._answer_progress(event, AnswerProgress())
            case AnswerProgress() as data:
                self._answer_progress(event, data)
            case JobStateChanged() as data if not self._is_void(event):
                self._job_state(event, data)
            case JobIntended(reservation, definition):
                self.jobs.intend(self._key(event), reservation, definition)
                self._job_begun(event)
            case JobSubmitted(handle):
                self.jobs.open[self._key(event)] = handle
                self._job_begun(event)
            case JobEnded() as data:
                self.jobs.end(self._key(event), data, event.at)
                self._job_ended(event, data)
            case TaskRetry() as data:
                self._task_stopped(event, TaskPhase.RETRYING, data.message or data.reason)
                self._task(event).retry_at = event.at + data.delay_s
            case TaskEnded(state, message):
                if state is TaskState.SUCCEEDED:
                    self.jobs.succeed(self._key(event))
                self._task_stopped(event, TaskPhase[state.name], message)
                if not self.planned:
                    self._tried_s = self.wall_s(event.at)
            case RunStarted() as data:
                self._run_started(event.at, data)
            case PlanReady() as data:
                self._plan_ready(event.at, data)
            case TaskAdded() as data:
                self.tasks.add(event.task, data, event.at)
                if data.is_anew:
                    self.jobs.restart(event.task)
            case PlanApproved():
                self.approved = True
            case Forecast() as data:
                self.forecast, self._forecast_s = data, self.wall_s(event.at)
            case Delivered() as data:
                self.conflicts, self.refused = data.conflicts, data.refused
                self.delivered = data
            case CheckBegun() | CheckEnded() | Verified() | RepairBegun() | RepairEnded() as data:
                self.proof.apply(data)
            case RunEnded() as data:
                self.ended = data
        self.last_at = event.at

    emit = apply  # it is an event sink

    @property
    def delivered_files(self) -> int | None:
        """How many were delivered or deleted; None before a delivery."""
        return self.delivered.files + self.delivered.deleted if self.delivered else None

    @property
    def run_id(self) -> str:
        return self._run_id or self.header.run

    @property
    def has_begun(self) -> bool:
        """Whether there was ever an attempt of a task of the plan."""
        return bool(self.jobs.attempts.keys() - self.tasks.added.keys())

    @property
    def state(self) -> str:
        """The outcome of the last session; of a run that is open now, "interrupted"."""
        return "interrupted" if self.ended is None else self.ended.outcome or "ended"

    def spend(self) -> Spend:
        """Of the whole run, planning included."""
        under_way = (t.under_way for t in self.tasks.ever() if t.under_way.requests)
        return sum(under_way, self._settled + self.planning.under_way)

    def cost_of(self, task: str) -> str:
        """Of all its attempts, in words, by what the journal keeps of them: the same in every
        session. Empty where none has asked Claude."""
        usages = self.jobs.spent_by.get(task, ())
        spend = sum((Spend.of(usage, self._price) for usage in usages), Spend())
        return cost_text(spend, self.header.simulated) if spend.requests else ""

    @property
    def written(self) -> int:
        """Tokens of the answers under way, which nothing was billed for yet."""
        return self.planning.written + sum(task.written for task in self.tasks.ever())

    def wall_s(self, now: float | None = None) -> float:
        """Seconds of all sessions; the last one until `now`, or until its last event."""
        if self._session_at is None:
            return 0.0
        end = self.last_at if now is None or self.ended is not None else now
        return self._earlier_s + max(0.0, end - self._session_at)

    def executing_s(self) -> float:
        """Seconds of all sessions since the forecast was made, checks left out as it does."""
        return max(0.0, self.wall_s() - self._forecast_s - self.proof.checked_s)

    def task_spend(self) -> Spend:
        """What the tasks used, planning left out, as the forecast does."""
        return sum((task.spend for task in self.tasks.ever()), Spend())

    def eta_s(self, now: float) -> float | None:
        """Seconds still to go, at the pace of the tasks done so far; None before there is one, and
        while nothing moves."""
        moves = self.tasks.counts[TaskPhase.RUNNING] > 0 and not self.silent_s(now)
        if self.ended is not None or not moves:
            return None
        return self.tasks.left_s(now, self.header.max_executors)

    def silent_s(self, now: float) -> float:
        """For how many seconds Claude has sent nothing for all that is under way; 0.0 where
        something moves."""
        running = [t for t in self.tasks.values() if t.phase is TaskPhase.RUNNING]
        since = [task.silent_since for task in running or [self.planning]]
        known = [at for at in since if at is not None]
        return max(0.0, now - max(known)) if known and len(known) == len(since) else 0.0

    def _key(self, event: Event) -> JobKey:
        return JobKey(self.run_id, event.task, event.attempt)

    def _task(self, event: Event) -> TaskView:
        return self.tasks.find(event.task) if event.task else self.planning

    def _is_void(self, event: Event) -> bool:
        """Whether it is late news of an attempt that counts no longer."""
        return self.jobs.is_void(self._key(event)) or event.task in self.tasks.left_out

    def _settle(self, task: TaskView, attempt: int, usages: Iterable[Usage]) -> None:
        """The final list of an attempt replaces what was seen under way, unless it is empty."""
        reported = sum((Spend.of(usage, self._price) for usage in usages), Spend())
        task.settled[attempt] = reported if reported.requests else task.under_way
        task.under_way = Spend()
        self._settled += task.settled[attempt]

    def _run_started(self, at: float, data: RunStarted) -> None:
        self.header, self.ended = data, None
        if data.backend and data.backend not in self.backends:
            self.backends.append(data.backend)
        if self._session_at is not None:
            self._earlier_s += max(0.0, self.last_at - self._session_at)
        self._session_at = at
        self.proof.begin_session()
        self.tasks.begin_session(at)

    def _plan_ready(self, at: float, data: PlanReady) -> None:
        self.title, self.planned, self.assumptions = data.title, True, data.assumptions
        self.start = data.start
        self.tasks.plan(data, at)
        self.jobs.correct(self.tasks.keys(), data.restarted)
        if not self.planning.settled:  # a resumed run announces its plan again
            self._settle(self.planning, 1, ())
            self.planning_s = self.wall_s(at) - self._tried_s

    def _job_begun(self, event: Event) -> None:
        if self._is_void(event):
            return
        task = self._task(event)
        task.attempt = event.attempt
        if not task.phase.active:
            task.activity = ""
            self.tasks.move(task, TaskPhase.QUEUED, event.at)

    def _job_state(self, event: Event, data: JobStateChanged) -> None:
        task = self._task(event)
        if data.state is JobState.RUNNING:
            self._running(task, event)
        elif data.state is JobState.QUEUED:
            task.started_at, task.activity = None, ""
            stuck = data.reason is Reason.UNSCHEDULABLE
            task.pending = Pending(data.message, stuck) if data.message or stuck else None
            self.tasks.move(task, TaskPhase.QUEUED, event.at)

    def _running(self, task: TaskView, event: Event) -> None:
        if task.phase is not TaskPhase.RUNNING:
            task.attempt, task.started_at = event.attempt, event.at
            self.tasks.move(task, TaskPhase.RUNNING, event.at)

    def _progress(self, event: Event, data: Progress) -> None:
        task = self._task(event)
        if data.usage is not None and not event.task:
            self.jobs.spent.append(data.usage)
            self.planning_usage.append(data.usage)
        if event.attempt in task.settled or task.phase.final:
            return  # late news of an attempt that is settled already
        if event.task and not self._is_void(event):
            self._running(task, event)
        if data.usage is not None:
            task.under_way += Spend.of(data.usage, self._price)
            task.ask_anew()
        task.silent_since, task.moved_at = None, event.at
        task.activity = data.text or task.activity

    def _answer_progress(self, event: Event, data: AnswerProgress) -> None:
        task = self._task(event)
        if event.attempt in task.settled or task.phase.final or self._is_void(event):
            return
        if event.task:
            self._running(task, event)
        task.is_writing |= not data.silent_s or data.tokens > 0
        task.written, task.path = data.tokens, data.path
        task.silent_since = event.at - data.silent_s if data.silent_s else None
        task.moved_at = task.moved_at if data.silent_s else event.at

    def _job_ended(self, event: Event, data: JobEnded) -> None:
        task = self._task(event)
        if event.attempt not in task.settled:
            since = event.at - task.started_at if task.started_at is not None else 0.0
            task.busy_s += data.duration_s or max(0.0, since)
            self._settle(task, event.attempt, data.usage)
        if self._is_void(event):
            return
        task.attempt, task.activity, task.files = event.attempt, "", data.files
        self._task_stopped(event, TaskPhase.WAITING, data.message)

    def _task_stopped(self, event: Event, phase: TaskPhase, message: str) -> None:
        task = self._task(event)
        task.message, task.started_at = message, None
        self.tasks.move(task, phase, event.at)


def read_run_view(run: RunDir, price: Price = lambda _: None) -> RunView:
    """Where the run stands, by its journal. Raises BundleError, OSError."""
    return replay(run.run_id, read_journal(run.journal), price)


def replay(run_id: str, events: Iterable[Event], price: Price = lambda _: None) -> RunView:
    """Raises BundleError when the events contradict each other."""
    run_view = RunView(price, run_id)
    apply_all(run_view, run_id, events)
    return run_view


def apply_all(sink: EventSink, run_id: str, events: Iterable[Event]) -> None:
    """Hand the journal of `run_id` to a RunView, or to what has one. Raises BundleError when the
    events contradict each other."""
    for event in events:
        try:
            sink.emit(event)
        except (LookupError, ValueError) as exc:  # such as a state that no task ends in
            raise BundleError(
                f"The journal of {run_id} contradicts itself at {event.kind}: {exc!r}.",
                "Restore it from a copy, or clean the run up.",
            ) from exc

"""What happens in a run, as events; the journal, the screen, --json and the report read these.

The data of an event is a frozen dataclass, one for each Kind. In JSON an event is an object of
`kind`, `at`, `task`, `attempt`, `data` and `version`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Protocol

from core.errors import BundleError
from core.job import Amount, JobHandle, JobKey, JobState, Reason, TaskState, Usage
from core.wire import decode, encode

EVENT_VERSION = 1


class Kind(StrEnum):
    RUN_STARTED = "run_started"
    PLAN_READY = "plan_ready"
    PLAN_APPROVED = "plan_approved"
    TASK_ADDED = "task_added"
    FORECAST = "forecast"
    JOB_INTENDED = "job_intended"
    JOB_SUBMITTED = "job_submitted"
    JOB_STATE = "job_state"
    QUEUE = "queue"
    ANSWER_BEGUN = "answer_begun"
    ANSWER_PROGRESS = "answer_progress"
    PROGRESS = "progress"
    JOB_ENDED = "job_ended"
    TASK_RETRY = "task_retry"
    TASK_ENDED = "task_ended"
    NOTICE = "notice"
    MERGE_INTENDED = "merge_intended"
    DELIVERED = "delivered"
    CHECK_BEGUN = "check_begun"
    CHECK_ENDED = "check_ended"
    VERIFIED = "verified"
    REPAIR_BEGUN = "repair_begun"
    REPAIR_ENDED = "repair_ended"
    RUN_ENDED = "run_ended"


# Progress is for the moment; everything else decides what a resumed run does.
EPHEMERAL = frozenset(
    {
        Kind.ANSWER_BEGUN,
        Kind.ANSWER_PROGRESS,
        Kind.PROGRESS,
        Kind.JOB_STATE,
        Kind.QUEUE,
        Kind.CHECK_BEGUN,
    }
)

_TYPE_OF: dict[Kind, type[EventData]] = {}


@dataclass(frozen=True, slots=True)
class EventData:
    """Base of the data of all events. `sparse` names the fields that JSON leaves out when empty."""

    kind: ClassVar[Kind]
    sparse: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        _TYPE_OF[cls.kind] = cls  # the later of two: with slots the class is made anew


@dataclass(frozen=True, slots=True)
class RunStarted(EventData):
    """A session begins. `model` executes; `planner_model` plans where that is another."""

    kind = Kind.RUN_STARTED
    sparse = frozenset(
        {"effort", "planner_model", "planner_effort", "planning", "speed", "existing"}
    )
    run: str = ""
    run_dir: str = ""
    prompt: str = ""
    simulated: bool = False
    backend: str = ""
    model: str = ""
    max_executors: int = 0
    target: str = ""
    resumed: bool = False
    effort: str = ""
    planner_model: str = ""
    planner_effort: str = ""
    planning: Part | None = None
    """What making a plan is expected to take; None where there is one already."""
    speed: float | None = None
    """Simulated seconds a second, 0 for no waiting; None where Claude is real."""
    existing: bool = False
    """Whether the run changes existing code, in `target`."""


class PlannedTask(NamedTuple):
    id: str
    title: str
    depends_on: tuple[str, ...]
    estimate: int


@dataclass(frozen=True, slots=True)
class PlanReady(EventData):
    """Announced as soon as the tasks are known, and again when they have changed: those that were
    begun otherwise are `restarted`."""

    kind = Kind.PLAN_READY
    sparse = frozenset({"restarted", "assumptions", "start"})
    title: str = ""
    tasks: tuple[PlannedTask, ...] = ()
    restarted: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    start: str = ""
    """The command that starts what is built."""


@dataclass(frozen=True, slots=True)
class TaskAdded(EventData):
    """The run does more than its plan has, such as a repair. `is_anew`: what was begun of it before
    stands on other files, and is void."""

    kind = Kind.TASK_ADDED
    sparse = frozenset({"is_anew"})
    title: str = ""
    estimate: int = 0
    is_anew: bool = False


@dataclass(frozen=True, slots=True)
class PlanApproved(EventData):
    """A person has said yes to it."""

    kind = Kind.PLAN_APPROVED


@dataclass(frozen=True, slots=True)
class Range:
    """A forecast figure."""

    low: float
    likely: float
    high: float

    def plus(self, known: float) -> Range:
        return Range(self.low + known, self.likely + known, self.high + known)


@dataclass(frozen=True, slots=True)
class Part:
    """The likely figures of a part of a run, or of another way to do all of it. `cost_usd` is None
    where a price is unknown."""

    seconds: float = 0.0
    tokens: int = 0
    cost_usd: float | None = 0.0

    def __add__(self, other: Part) -> Part:
        known = self.cost_usd is not None and other.cost_usd is not None
        cost_usd = (self.cost_usd or 0.0) + (other.cost_usd or 0.0) if known else None
        return Part(self.seconds + other.seconds, self.tokens + other.tokens, cost_usd)


@dataclass(frozen=True, slots=True)
class ExpectedPace:
    """How fast a model is taken to be. `runs` is how many earlier ones met it; 0: an assumption."""

    first_token_s: float
    tokens_per_s: float
    runs: int = 0


@dataclass(frozen=True, slots=True)
class PastForecasts:
    """By which factor the forecasts of so many runs were off; None where that is not known."""

    runs: int
    time_factor: float | None = None
    cost_factor: float | None = None


@dataclass(frozen=True, slots=True)
class Forecast(EventData):
    """What carrying out a plan will take: `seconds` from the first task to the last with
    `executors`, `work_s` with one. `cost_usd` is None where the model's price is unknown.
    `planning` is what making the plan took, None where it was given. `alone` is one executor in
    place of plan and tasks, `parallel` is both of these; of a simulation at the speed of life."""

    kind = Kind.FORECAST
    sparse = frozenset({"planning", "alone", "parallel", "pace", "past", "speed"})
    executors: int
    seconds: Range
    work_s: float
    tokens: Range
    cost_usd: Range | None
    simulated: bool = False
    planning: Part | None = None
    alone: Part | None = None
    parallel: Part | None = None
    pace: ExpectedPace | None = None
    past: PastForecasts | None = None
    speed: float | None = None
    """As in RunStarted."""

    def whole(self) -> Forecast:
        """The same with planning counted in."""
        if self.planning is None:
            return self
        cost, plan_usd = self.cost_usd, self.planning.cost_usd
        return replace(
            self,
            seconds=self.seconds.plus(self.planning.seconds),
            tokens=self.tokens.plus(self.planning.tokens),
            cost_usd=None if cost is None or plan_usd is None else cost.plus(plan_usd),
        )


@dataclass(frozen=True, slots=True)
class JobIntended(EventData):
    """Written before the backend is asked to run the job. `definition` is a digest of what the
    task's work stands on (core.plan.definition)."""

    kind = Kind.JOB_INTENDED
    sparse = frozenset({"reservation", "definition"})
    reservation: Amount | None = None
    definition: str = ""


@dataclass(frozen=True, slots=True)
class JobSubmitted(EventData):
    kind = Kind.JOB_SUBMITTED
    handle: JobHandle


@dataclass(frozen=True, slots=True)
class JobStateChanged(EventData):
    kind = Kind.JOB_STATE
    state: JobState
    reason: Reason | None = None
    message: str = ""


class QueueWait(NamedTuple):
    """How many jobs wait in a queue for the same reason; `stuck` ones will not start as things
    stand."""

    why: str
    jobs: int
    stuck: bool


@dataclass(frozen=True, slots=True)
class QueueWaits(EventData):
    kind = Kind.QUEUE
    waits: tuple[QueueWait, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerBegun(EventData):
    """Claude begins to answer a request, whose input can be read from the prompt cache now. What
    was used is in the Progress at the answer's end."""

    kind = Kind.ANSWER_BEGUN


@dataclass(frozen=True, slots=True)
class AnswerProgress(EventData):
    """So many `tokens` of an answer have come, and `path` is the file that it writes, where that
    is known; told once a second at most. `silent_s`: nothing has come for so many seconds."""

    kind = Kind.ANSWER_PROGRESS
    sparse = frozenset({"tokens", "path", "silent_s"})
    tokens: int = 0
    path: str = ""
    silent_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress(EventData):
    """A line of text, or the usage of one request. Journaled only where planning used it."""

    kind = Kind.PROGRESS
    sparse = frozenset({"text", "usage"})
    text: str = ""
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class JobEnded(EventData):
    """`cause` is an Outcome or a Reason. `usage` has one entry a request, `files` is their number;
    `unaccounted` where it is unknown what the job used."""

    kind = Kind.JOB_ENDED
    sparse = frozenset({"unaccounted"})
    cause: str = ""
    state: JobState = JobState.UNKNOWN
    message: str = ""
    usage: tuple[Usage, ...] = ()
    files: int = 0
    duration_s: float = 0.0
    unaccounted: bool = False


@dataclass(frozen=True, slots=True)
class TaskRetry(EventData):
    kind = Kind.TASK_RETRY
    reason: str = ""
    delay_s: float = 0.0
    message: str = ""


@dataclass(frozen=True, slots=True)
class TaskEnded(EventData):
    """`state` is a final one."""

    kind = Kind.TASK_ENDED
    state: TaskState
    message: str = ""


@dataclass(frozen=True, slots=True)
class Notice(EventData):
    """Something a person should know once."""

    kind = Kind.NOTICE
    text: str = ""


@dataclass(frozen=True, slots=True)
class MergeIntended(EventData):
    kind = Kind.MERGE_INTENDED
    target: str = ""
    files: int = 0


CONTRACTS = "contracts"
"""The owner of contracts, in place of a task's id."""
EXISTING = "existing code"
"""The same of files that were there before the run, and are as they were."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two owners have the same path: the first keeps `path`, the second is put at `kept_as`.

    Two directories that differ only in case both stay: `kept_as` is the second.
    """

    path: str
    owners: tuple[str, str]
    kept_as: str
    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is not delivered; `why` is the end of a sentence about its path."""

    path: str
    owner: str
    why: str


@dataclass(frozen=True, slots=True)
class Delivered(EventData):
    """`files` is their number; of a change to existing code, those that are new or changed, and
    `deleted` those that are gone. It is on `branch`, at `commit`, or in the directory itself."""

    kind = Kind.DELIVERED
    sparse = frozenset({"deleted", "branch", "commit", "take", "undo"})
    target: str = ""
    files: int = 0
    conflicts: tuple[Conflict, ...] = ()
    refused: tuple[Refused, ...] = ()
    deleted: int = 0
    branch: str = ""
    commit: str = ""
    take: str = ""
    """The command that takes the branch over."""
    undo: bool = False
    """Whether `undo` gives back what was there."""


class Proof(StrEnum):
    """What a command has shown."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_PROVEN = "not proven"


@dataclass(frozen=True, slots=True)
class CheckBegun(EventData):
    """The command is run now; it is the `number`th of `total`."""

    kind = Kind.CHECK_BEGUN
    command: str
    number: int
    total: int


@dataclass(frozen=True, slots=True)
class CheckEnded(EventData):
    """A command of the delivered project, run in a copy of it. `phase` is install, check, start, or
    config: then `command` is the path of a file that was read. `tasks` are those it is about;
    `output` is the end of what it printed where it did not pass, `tests` how many tests it ran, 0
    where it told none."""

    kind = Kind.CHECK_ENDED
    sparse = frozenset({"reason", "output", "tests"})
    phase: str
    command: str
    tasks: tuple[str, ...]
    state: Proof
    reason: str = ""
    seconds: float = 0.0
    output: str = ""
    tests: int = 0


class CriterionProof(NamedTuple):
    """An acceptance criterion, and what its command has shown."""

    text: str
    served_by: tuple[str, ...]
    command: str
    state: Proof
    reason: str


@dataclass(frozen=True, slots=True)
class Verified(EventData):
    """Verification is over; `why_not` where no command was run."""

    kind = Kind.VERIFIED
    sparse = frozenset({"why_not"})
    sandbox: str = ""
    why_not: str = ""
    criteria: tuple[CriterionProof, ...] = ()


class Suspect(NamedTuple):
    """A file that may be why a check fails, and the task that owns it, or CONTRACTS."""

    path: str
    owner: str


@dataclass(frozen=True, slots=True)
class RepairBegun(EventData):
    """A round of repair, as the task repair-N: these commands failed; the likeliest suspect comes
    first."""

    kind = Kind.REPAIR_BEGUN
    round: int
    checks: tuple[str, ...]
    suspects: tuple[Suspect, ...]


@dataclass(frozen=True, slots=True)
class RepairEnded(EventData):
    """Of all commands so many pass now. `rejected` is why the repair was not kept; `changed` are
    the files that it has rewritten. Without a round before it, no repair was tried."""

    kind = Kind.REPAIR_ENDED
    sparse = frozenset({"rejected", "changed"})
    round: int
    passed: int
    total: int
    changed: tuple[Suspect, ...] = ()
    rejected: str = ""


@dataclass(frozen=True, slots=True)
class RunEnded(EventData):
    """A session ends. `resume_with` holds the options without which resuming ends the same way."""

    kind = Kind.RUN_ENDED
    sparse = frozenset({"resume_with"})
    exit_code: int = 0
    outcome: str = ""
    message: str = ""
    wall_s: float = 0.0
    resume_with: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is Unix time in seconds; `task` and `attempt` are empty and 0 where none is meant."""

    data: EventData
    at: float
    task: str = ""
    attempt: int = 0

    @property
    def kind(self) -> Kind:
        return self.data.kind


def event_at(at: float, data: EventData, key: JobKey | None = None) -> Event:
    """About one attempt of a task, or about the run."""
    return Event(data, at, key.task, key.attempt) if key else Event(data, at)


@dataclass(frozen=True, slots=True)
class _Record:
    """An event as JSON."""

    kind: Kind
    at: float
    task: str = ""
    attempt: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    version: int = EVENT_VERSION


def encode_event(event: Event) -> str:
    """JSON on one line, as decode_event reads it."""
    data = event.data
    text = encode(data, [name for name in data.sparse if not getattr(data, name)])
    return (
        f'{{"kind":"{event.kind}","at":{event.at!r},"task":{_quoted(event.task)},'
        f'"attempt":{event.attempt},"data":{text},"version":{EVENT_VERSION}}}'
    )


_quoted = lru_cache(maxsize=1024)(encode)


def decode_event(text: str | bytes, source: str) -> Event:
    """Raises BundleError, naming `source`, when it is damaged or of another version."""
    record = decode(_Record, text, source)
    if record.version != EVENT_VERSION:
        raise BundleError(
            f"{source} has event format {record.version}; this version reads {EVENT_VERSION}.",
            "Use the version of the program that wrote it.",
        )
    where = f"{source} ({record.kind} of {record.task or 'the run'}/{record.attempt})"
    data = decode(_TYPE_OF[record.kind], json.dumps(record.data), where)
    return Event(data, record.at, record.task, record.attempt)


class EventSink(Protocol):
    """Receives events in order, in the one deciding thread; AnswerProgress also from another."""

    def emit(self, event: Event) -> None: ...


class Broadcast:
    """One sink that passes each event to several, in the order given, and those of several threads
    one after the other."""

    def __init__(self, sinks: Sequence[EventSink]) -> None:
        self._sinks = tuple(sinks)
        self._lock = threading.RLock()

    def emit(self, event: Event) -> None:
        with self._lock:
            for sink in self._sinks:
                sink.emit(event)

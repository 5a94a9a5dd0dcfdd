"""Events of jobs and their tasks, and of requests to Claude."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from core.events.base import EventData, Kind
from core.job import Amount, JobHandle, JobState, Reason, TaskState, Usage


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

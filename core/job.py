"""Jobs, their states and their results: plain frozen values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

Number = Annotated[int, Field(ge=0, le=2**53)]
"""A count that a worker or a journal tells: sums and prices of it stay numbers."""
Seconds = Annotated[float, Field(ge=0, le=1e12)]


@dataclass(frozen=True, slots=True, order=True)
class JobKey:
    """Names one attempt of one task of one run; attempts count from 1."""

    run: str
    task: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.run}/{self.task}/{self.attempt}"

    @classmethod
    def parse(cls, text: str) -> JobKey:
        """Raises ValueError when `text` is not run/task/attempt."""
        if (match := re.fullmatch(r"([^/]+)/([^/]+)/([1-9][0-9]*)", text)) is None:
            raise ValueError(f"{text!r} is not a job key")
        return cls(match[1], match[2], int(match[3]))


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt to be run by a backend. `attempt_dir` holds the request bundle (see
    core.bundle.AttemptDir); `timeout_s` is how long it may run once it has started. Without
    `asks_model` it needs no credentials for one."""

    key: JobKey
    attempt_dir: Path
    timeout_s: float
    asks_model: bool = True


@dataclass(frozen=True, slots=True)
class JobHandle:
    """What a backend needs to find a job again; `data` is plain JSON."""

    key: JobKey
    backend: str
    native_id: str
    data: Mapping[str, Any] = field(default_factory=dict)


class JobState(StrEnum):
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"
    UNKNOWN = "UNKNOWN"

    @property
    def final(self) -> bool:
        """Whether the job will not change any more. UNKNOWN is an answer, never an end."""
        return self in _FINAL


_FINAL = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST}


class TaskState(StrEnum):
    """PENDING waits for dependencies, READY for a slot, WAITING for its next attempt's time."""

    PENDING = "PENDING"
    READY = "READY"
    ACTIVE = "ACTIVE"
    WAITING = "WAITING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    BLOCKED = "BLOCKED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        return self in _FINAL_TASK_STATES


_FINAL_TASK_STATES = {TaskState.SUCCEEDED, TaskState.FAILED, TaskState.BLOCKED, TaskState.CANCELLED}


class Reason(StrEnum):
    """Why a job is in its state, as far as the backend knows."""

    EXIT = "EXIT"
    OOM = "OOM"
    TIMEOUT = "TIMEOUT"
    PREEMPTED = "PREEMPTED"
    NODE_LOST = "NODE_LOST"
    LAUNCH = "LAUNCH"
    UNSCHEDULABLE = "UNSCHEDULABLE"
    MISSING = "MISSING"
    OUTDATED = "OUTDATED"


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The state of a job. SUCCEEDED means only that the worker ended well: look for the result."""

    state: JobState
    reason: Reason | None = None
    exit_code: int | None = None
    message: str = ""


class Outcome(StrEnum):
    """How a worker's job ended, in its own view."""

    OK = "OK"
    DEFECT = "DEFECT"
    REFUSED = "REFUSED"
    RATE_LIMITED = "RATE_LIMITED"
    AUTH = "AUTH"
    BILLING = "BILLING"
    BUDGET = "BUDGET"
    INTERRUPTED = "INTERRUPTED"


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one request, as the provider counted them; `input_tokens` excludes what was
    read from or written to the cache. `request_id` is the provider's. `simulated` is True when no
    real model answered."""

    provider: str
    model: str
    input_tokens: Number = 0
    output_tokens: Number = 0
    cache_read_tokens: Number = 0
    cache_write_tokens: Number = 0
    duration_s: Seconds = 0.0
    request_id: str = ""
    simulated: bool = False

    @property
    def counts(self) -> tuple[int, int, int, int]:
        return (
            self.input_tokens,
            self.output_tokens,
            self.cache_read_tokens,
            self.cache_write_tokens,
        )

    @property
    def total_tokens(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True, slots=True)
class Amount:
    """What was used or may be: tokens of all kinds, and US dollars."""

    tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.tokens + other.tokens, self.cost_usd + other.cost_usd)

    def less(self, other: Amount) -> Amount:
        """What is left of it, at least nothing."""
        return Amount(max(0, self.tokens - other.tokens), max(0.0, self.cost_usd - other.cost_usd))

    def times(self, factor: float) -> Amount:
        return Amount(math.ceil(self.tokens * factor), self.cost_usd * factor)


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One file: POSIX path below the tree's root, bytes, SHA-256 in hex, permission bits."""

    path: str
    size: int
    sha256: str
    mode: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every file of a tree, ordered by path."""

    entries: tuple[ManifestEntry, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(entry.path for entry in self.entries)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.entries)


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What a worker leaves behind. `message` is for people: the executor's own summary when OK,
    else what went wrong. `throttled` counts the requests refused for load or rate (429, 529).
    `deleted` are the files of existing code that it removed."""

    key: JobKey
    outcome: Outcome
    message: str = ""
    usage: tuple[Usage, ...] = ()
    manifest: Manifest = field(default_factory=Manifest)
    turns: Number = 0
    duration_s: Seconds = 0.0
    throttled: Number = 0
    deleted: tuple[str, ...] = ()

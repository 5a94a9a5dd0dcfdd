"""What happens in a run, as events; the journal, the screen, --json and the report read these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

EVENT_VERSION = 1


class Kind(StrEnum):
    """Every kind of event. The comment gives what `data` holds."""

    # run, run_dir, prompt, simulated, backend, model, max_executors, target, resumed
    RUN_STARTED = "run_started"
    PLAN_READY = "plan_ready"  # title, tasks: list of [id, title, depends_on, estimate]
    FORECAST = (
        "forecast"  # executors, simulated, work_s; low, likely, high: seconds, tokens, cost_usd
    )
    JOB_INTENDED = (
        "job_intended"  # reservation: tokens, cost_usd; written before the backend is asked
    )
    JOB_SUBMITTED = "job_submitted"  # handle
    JOB_STATE = "job_state"  # state, reason, message
    # waits: list of [why, how many jobs, whether they will not start as things stand]
    QUEUE = "queue"
    PROGRESS = "progress"  # text, or usage of one request; journaled only where planning used it
    # cause, state, message, usage: one of each request, files: how many, duration_s; unaccounted
    # where nobody knows what it used
    JOB_ENDED = "job_ended"
    TASK_RETRY = "task_retry"  # reason, delay_s, message
    TASK_ENDED = "task_ended"  # state: SUCCEEDED, FAILED, BLOCKED or CANCELLED; message
    NOTICE = "notice"  # text: something a person should know once
    MERGE_INTENDED = "merge_intended"  # target, files
    DELIVERED = "delivered"  # target, files: how many, conflicts, refused
    RUN_ENDED = "run_ended"  # exit_code, outcome, message, wall_s; resume_with: options it needs


# Progress is for the moment; everything else decides what a resumed run does.
EPHEMERAL = frozenset({Kind.PROGRESS, Kind.JOB_STATE, Kind.QUEUE})


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is Unix time in seconds; `task` and `attempt` are empty and 0 where none is meant."""

    kind: Kind
    at: float
    task: str = ""
    attempt: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    version: int = EVENT_VERSION


class EventSink(Protocol):
    """Whatever wants to hear of events. Called in the one deciding thread, in order."""

    def emit(self, event: Event) -> None: ...


class Broadcast:
    """One sink that tells many, in the order given."""

    def __init__(self, sinks: Sequence[EventSink]) -> None:
        self._sinks = tuple(sinks)

    def emit(self, event: Event) -> None:
        for sink in self._sinks:
            sink.emit(event)

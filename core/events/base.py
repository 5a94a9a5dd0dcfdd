"""The kinds of events, and the base of their data: a frozen dataclass, one for each Kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


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


TYPE_OF: dict[Kind, type[EventData]] = {}


@dataclass(frozen=True, slots=True)
class EventData:
    """Base of the data of all events. `sparse` names the fields that JSON leaves out when empty."""

    kind: ClassVar[Kind]
    sparse: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        TYPE_OF[cls.kind] = cls  # the later of two: with slots the class is made anew

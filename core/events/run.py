"""Events of a session, and of its plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from core.events.base import EventData, Kind
from core.events.forecast import Part


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
class Notice(EventData):
    """Something a person should know once."""

    kind = Kind.NOTICE
    text: str = ""


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

"""What travels to a planner that runs elsewhere, and back: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from core import errors
from core.bundle import UNLIMITED, WIRE_VERSION, Allowance, Limits, ModelSettings, read_versioned
from core.context import NO_CONTEXT, Context
from core.errors import OrchestratorError, PlanningFailed
from core.job import Usage
from core.paths import Below


class Parallel(StrEnum):
    """Whether to split the work: where that pays, always, or never."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Revision:
    """A plan, as the JSON that a planner writes, and what the person wants changed in it."""

    plan: str
    feedback: str


@dataclass(frozen=True, slots=True)
class Failure:
    """How a command ended on existing code that the prompt reports as failing: `told` is for the
    planner. `command` has to pass in the end; it is empty where it did not fail."""

    told: str
    command: str = ""


NO_FAILURE = Failure("")


@dataclass(frozen=True, slots=True)
class PlanningRequest:
    """request/planning.json; never holds a secret. Of `allowance`, `spent` is already used.
    `executors` work at once; `surroundings` tells the planner what they can do there. `revisions`
    are the plans before this one, the oldest first. For existing code, `repository` is the map of
    it, `root` the directory on this machine that may be looked at, if there is one, and `left_out`
    are the files that are there and not in it; `part_limit` is how much of it executors get, in
    words, where that is not the whole."""

    prompt: str
    model: ModelSettings
    limits: Limits
    allowance: Allowance = UNLIMITED
    spent: tuple[Usage, ...] = ()
    parallel: Parallel = Parallel.AUTO
    executors: int = 5
    surroundings: str = ""
    revisions: tuple[Revision, ...] = ()
    repository: str = ""
    root: str = ""
    left_out: tuple[str, ...] = ()
    part_limit: str = ""
    failure: Failure = NO_FAILURE
    context: Context = NO_CONTEXT
    version: int = WIRE_VERSION


@dataclass(frozen=True, slots=True)
class PlanningFailure:
    """result/failure.json: the error that planning ended with, by its name in core.errors."""

    kind: str
    message: str
    remedy: str = ""

    def error(self) -> OrchestratorError:
        """The same error again, for the caller."""
        kind = getattr(errors, self.kind, PlanningFailed)
        if not (isinstance(kind, type) and issubclass(kind, errors.ModelError)):
            kind = PlanningFailed
        return kind(self.message, self.remedy)


@dataclass(frozen=True, slots=True)
class PlanningDir:
    """Names every file of one planning below `root`."""

    root: Path

    request = Below("request")
    planning_json = Below("request/planning.json")
    result = Below("result")
    plan_json = Below("result/plan.json")
    failure_json = Below("result/failure.json")


def read_planning(place: PlanningDir) -> PlanningRequest:
    """Raises BundleError as read_versioned does."""
    return read_versioned(PlanningRequest, place.planning_json)

"""What travels to a planner that runs elsewhere, and back: plain frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core import errors
from core.bundle import UNLIMITED, WIRE_VERSION, Allowance, Limits, ModelSettings
from core.errors import BundleError, OrchestratorError, PlanningFailed
from core.job import Usage
from core.wire import decode


@dataclass(frozen=True, slots=True)
class PlanningRequest:
    """request/planning.json; never holds a secret. Of `allowance`, `spent` is gone already."""

    prompt: str
    model: ModelSettings
    limits: Limits
    allowance: Allowance = UNLIMITED
    spent: tuple[Usage, ...] = ()
    version: int = WIRE_VERSION


@dataclass(frozen=True, slots=True)
class PlanningFailure:
    """result/failure.json: the error that planning ended with, by its name in core.errors."""

    kind: str
    message: str
    remedy: str = ""

    @classmethod
    def of(cls, error: OrchestratorError) -> PlanningFailure:
        return cls(type(error).__name__, error.message, error.remedy)

    def error(self) -> OrchestratorError:
        """The same error, for whoever asked for the plan."""
        kind = getattr(errors, self.kind, PlanningFailed)
        if not (isinstance(kind, type) and issubclass(kind, errors.ModelError)):
            kind = PlanningFailed
        return kind(self.message, self.remedy)


@dataclass(frozen=True, slots=True)
class PlanningDir:
    """Names every file of one planning below `root`."""

    root: Path

    @property
    def request(self) -> Path:
        return self.root / "request"

    @property
    def planning_json(self) -> Path:
        return self.request / "planning.json"

    @property
    def result(self) -> Path:
        return self.root / "result"

    @property
    def plan_json(self) -> Path:
        return self.result / "plan.json"

    @property
    def failure_json(self) -> Path:
        return self.result / "failure.json"


def read_planning(place: PlanningDir) -> PlanningRequest:
    """Raises BundleError when it cannot be read, or is of another wire version."""
    try:
        data = place.planning_json.read_bytes()
    except OSError as exc:
        raise BundleError(f"{place.planning_json} cannot be read: {exc}.") from exc
    request = decode(PlanningRequest, data, str(place.planning_json))
    if request.version != WIRE_VERSION:
        raise BundleError(
            f"{place.planning_json} has wire version {request.version}, this worker reads"
            f" {WIRE_VERSION}.",
            "Run the same version on both sides; rebuild the worker's image if it runs in one.",
        )
    return request

"""Events of the checks of what is delivered, and of its repair."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from core.events.base import EventData, Kind


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

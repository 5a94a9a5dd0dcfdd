"""Events of the merge, and of what was delivered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import Field

from core.events.base import EventData, Kind

CONTRACTS = "contracts"
"""The owner of contracts, in place of a task's id."""
EXISTING = "existing code"
"""The same of files that were there before the run, and are as they were."""


@dataclass(frozen=True, slots=True)
class MergeIntended(EventData):
    kind = Kind.MERGE_INTENDED
    target: str = ""
    files: int = 0


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two owners have the same path: the first keeps `path`, the second is put at `kept_as`, which
    is the branch of its task in a repository: there `look` is the command that shows it.

    Two directories that differ only in case both stay: `kept_as` is the second.
    """

    path: str
    owners: tuple[str, str]
    kept_as: str
    why: str
    look: Annotated[str, Field(exclude_if=lambda look: not look)] = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is not delivered; `why` is the end of a sentence about its path."""

    path: str
    owner: str
    why: str


class MadeAnew(NamedTuple):
    """A lock file that the `command` of its tool has made of a merged project in a `sandbox`."""

    path: str
    command: str
    sandbox: str


@dataclass(frozen=True, slots=True)
class Delivered(EventData):
    """`files` is their number; of a change to existing code, those that are new or changed, and
    `deleted` those that are gone. It is on `branch`, at `commit`, or in the directory itself."""

    kind = Kind.DELIVERED
    sparse = frozenset({"deleted", "branch", "commit", "take", "undo", "not_in_lfs", "made_anew"})
    target: str = ""
    files: int = 0
    conflicts: tuple[Conflict, ...] = ()
    refused: tuple[Refused, ...] = ()
    deleted: int = 0
    branch: str = ""
    commit: str = ""
    take: str = ""
    """The command that takes the branch over."""
    not_in_lfs: tuple[str, ...] = ()
    """New files for which the repository asks for Git LFS; they are stored as they are."""
    undo: bool = False
    """Whether `undo` gives back what was there."""
    made_anew: tuple[MadeAnew, ...] = ()

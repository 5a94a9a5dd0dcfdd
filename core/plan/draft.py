"""A plan while it is being written: what is complete can be shown, and worked on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from core.plan.json_pieces import JsonPieces, Piece
from core.plan.model import Analysis, Contract, Criterion, Plan, Setup, Task
from core.plan.rules import head_defects

Part = str | Analysis | Setup | Task | Criterion | Contract
_ELEMENTS: dict[str, type[Task | Criterion | Contract]] = {
    "tasks": Task,
    "acceptance_criteria": Criterion,
    "contracts": Contract,
}
_MEMBERS: dict[str, type[Analysis | Setup]] = {"analysis": Analysis, "setup": Setup}
_HEAD = frozenset({"title", "summary", "assumptions", "analysis", "setup", "conventions"})


@dataclass(frozen=True, slots=True)
class AnswerBegan:
    """What was written before counts no longer: the planner writes the plan anew."""


@dataclass(frozen=True, slots=True)
class HeadWritten:
    """The plan is complete but for its contracts, and keeps all rules so far."""

    head: Plan


@dataclass(frozen=True, slots=True)
class ContractWritten:
    contract: Contract


DraftEvent = AnswerBegan | HeadWritten | ContractWritten


class PlanDraft:
    """Fed with the text of an answer; `feed` gives the parts that it completes, by their name in
    the plan. What has not the right shape is left out here: the whole plan is judged in the end.
    """

    def __init__(self) -> None:
        self.chars = 0
        """Characters so far."""
        self.contracts: dict[str, Contract] = {}
        self._pieces = JsonPieces()
        self._found: dict[str, Any] = {"tasks": [], "acceptance_criteria": []}
        self._complete: set[str] = set()
        self._is_damaged = False

    def feed(self, text: str) -> Iterator[tuple[str, Part]]:
        self.chars += len(text)
        for piece in self._pieces.feed(text):
            try:
                yield from self._take(piece)
            except ValidationError:
                self._is_damaged = True

    @property
    def begun(self) -> Plan:
        """What there is so far."""
        found = {n: tuple(v) if isinstance(v, list) else v for n, v in self._found.items()}
        return Plan.model_validate(found)

    def is_complete(self, name: str) -> bool:
        """Whether that member of the plan has been written."""
        return name in self._complete

    def head(self) -> Plan | None:
        """The plan without its contracts, once it is complete and keeps all rules so far."""
        complete = {"tasks", "acceptance_criteria"} <= self._complete
        if not complete or self._is_damaged or self._pieces.is_broken:
            return None
        head = self.begun
        return None if head_defects(head) else head

    def _take(self, piece: Piece) -> Iterator[tuple[str, Part]]:
        name, value = piece.name, piece.value
        if piece.is_end:
            self._complete.add(name)
        if name in _ELEMENTS and value is not None:
            part = _ELEMENTS[name].model_validate(value)
            if isinstance(part, Contract):
                self.contracts[part.path] = part
            else:
                self._found[name].append(part)
            yield name, part
        elif name in _MEMBERS:
            self._found[name] = _MEMBERS[name].model_validate(value)
            yield name, self._found[name]
        elif name in _HEAD and value is not None:
            text = str(value)
            if piece.is_end:
                self._found[name] = text
            else:
                self._found.setdefault(name, []).append(text)
            yield name, text

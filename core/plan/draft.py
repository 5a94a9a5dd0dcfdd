"""A plan while it is being written: what is complete can be shown, and worked on."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.plan.json_pieces import JsonPieces, Piece
from core.plan.model import Analysis, Contract, Criterion, Plan, Setup, Task
from core.plan.rules import head_defects

Part = str | Analysis | Setup | Task | Criterion | Contract
_MEMBERS: dict[str, Any] = {"title": str, "summary": str, "analysis": Analysis, "setup": Setup}
_ELEMENTS: dict[str, Any] = {
    "assumptions": str,
    "conventions": str,
    "shared": str,
    "reads": str,
    "tasks": Task,
    "acceptance_criteria": Criterion,
    "contracts": Contract,
}
_OF_HEAD = {"assumptions", "analysis", "setup", "conventions", "tasks", "acceptance_criteria"}
"""What tasks stand on, and what may still say that there are none to begin."""
_UNSHOWN: dict[str, Any] = {"version": Plan.model_fields["version"].annotation, "prompt": str}
_TYPES = {n: TypeAdapter(t) for n, t in (_MEMBERS | _ELEMENTS | _UNSHOWN).items()}


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
        self._found: dict[str, Any] = {"tasks": []}
        self._complete: set[str] = set()
        self._is_damaged = False

    def feed(self, text: str) -> list[tuple[str, Part]]:
        self.chars += len(text)
        found = []
        for piece in self._pieces.feed(text):
            part = self._take(piece)
            if part is not None and piece.name not in _UNSHOWN:
                found.append((piece.name, part))
        return found

    @property
    def begun(self) -> Plan:
        """What there is so far, without contracts."""
        return Plan.model_validate(self._found)

    def is_complete(self, name: str) -> bool:
        """Whether that member of the plan has been written."""
        return name in self._complete

    def head(self) -> Plan | None:
        """The plan without its contracts, once it is complete and keeps all rules so far."""
        if not self._complete >= _OF_HEAD or self._is_damaged or self._pieces.is_broken:
            return None
        head = self.begun
        return None if head_defects(head) else head

    def _take(self, piece: Piece) -> Part | None:
        name = piece.name
        if name in self._complete:  # said twice: the last counts, which tasks cannot wait for
            self._is_damaged = True
            return None
        if piece.kind != "element":
            self._complete.add(name)
        if name not in _TYPES or (piece.kind == "member") == (name in _ELEMENTS):
            self._is_damaged = True
            return None
        if piece.kind == "end":
            return None
        try:
            text = json.dumps(self._completed(name, piece.value))
            part: Part = _TYPES[name].validate_json(text)  # as the whole plan will be
        except (ValidationError, RecursionError):
            self._is_damaged = True
            return None
        if isinstance(part, Contract):
            self.contracts[part.path] = part
        elif piece.kind == "element":
            self._found.setdefault(name, []).append(part)
        else:
            self._found[name] = part
        return part

    def _completed(self, name: str, value: Any) -> Any:
        """With what a task may leave out. One that does not say what it uses uses all contracts,
        and which these are is not known yet: it has to wait for the whole plan."""
        if name != "tasks" or not isinstance(value, dict):
            return value
        self._is_damaged |= "uses" not in value
        return {"title": value.get("id", ""), **value}

"""The acceptance matrix: what is proven of each criterion, as acceptance.json has it."""

from collections.abc import Iterable
from dataclasses import dataclass

from core.events import CriterionProof, Proof
from core.wire import encode, write_atomic
from engine.delivery.merge import MergePlan
from engine.run.rundir import RunDir

_PASSED = "its command ended with exit code 0"


@dataclass(frozen=True, slots=True)
class AcceptedCriterion:
    """A criterion, the tasks that serve it, their delivered files, and what was seen of it."""

    criterion: str
    tasks: tuple[str, ...]
    files: tuple[str, ...]
    command: str
    seen: str
    state: Proof


@dataclass(frozen=True, slots=True)
class Acceptance:
    criteria: tuple[AcceptedCriterion, ...]
    version: int = 1


def write_acceptance(run: RunDir, proofs: Iterable[CriterionProof], merged: MergePlan) -> None:
    rows = tuple(
        AcceptedCriterion(
            proof.text,
            proof.served_by,
            tuple(file.path for file in merged.files if file.owner in proof.served_by),
            proof.command,
            proof.reason or (_PASSED if proof.state is Proof.PASSED else ""),
            proof.state,
        )
        for proof in proofs
    )
    write_atomic(run.acceptance, encode(Acceptance(rows)) + "\n")

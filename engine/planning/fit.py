"""A plan that a person has written or edited, beside the existing code that it changes."""

from core.errors import PlanningFailed
from core.plan import ExistingCode, Plan
from engine.repository.base import read_base
from engine.run.rundir import RunDir


def refuse_unfit(run: RunDir, plan: Plan) -> None:
    """Before any of its tasks is paid for. Raises PlanningFailed with every path that cannot be
    written."""
    if (base := read_base(run)) is None:
        return
    existing = ExistingCode(base.manifest.paths, (left.path for left in base.left_out))
    if defects := [f"  - {defect}" for defect in existing.defects(plan)]:
        raise PlanningFailed(
            "\n".join([f"The plan does not fit {base.directory}:", *defects]),
            f"Correct {run.plan}, then resume the run.",
        )

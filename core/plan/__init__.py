"""The plan: its parts, its rules, what follows from its dependencies, and its text."""

from core.plan.definition import Definitions
from core.plan.fit import ExistingCode
from core.plan.format import build_plan, parse_plan, render_brief, render_plan
from core.plan.graph import (
    contracts_below,
    longest_chain,
    makespan_tokens,
    remaining_path,
    topological_order,
)
from core.plan.model import (
    PLAN_VERSION,
    USUAL_ESTIMATE,
    Analysis,
    Contract,
    Criterion,
    Plan,
    Setup,
    Task,
)
from core.plan.rules import (
    MAX_CONTRACT_CHARS,
    TASK_ID,
    head_defects,
    plan_defects,
    promised_contracts,
)
from core.plan.single import build_single_task_plan

__all__ = [
    "MAX_CONTRACT_CHARS",
    "PLAN_VERSION",
    "TASK_ID",
    "USUAL_ESTIMATE",
    "Analysis",
    "Contract",
    "Criterion",
    "Definitions",
    "ExistingCode",
    "Plan",
    "Setup",
    "Task",
    "build_plan",
    "build_single_task_plan",
    "contracts_below",
    "head_defects",
    "longest_chain",
    "makespan_tokens",
    "parse_plan",
    "plan_defects",
    "promised_contracts",
    "remaining_path",
    "render_brief",
    "render_plan",
    "topological_order",
]

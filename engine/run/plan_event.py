"""A plan as the event that announces it."""

from collections.abc import Iterable

from core.events import PlannedTask, PlanReady
from core.plan import Plan


def plan_ready(plan: Plan, restarted: Iterable[str] = ()) -> PlanReady:
    """`restarted` are tasks whose work so far is void."""
    tasks = (PlannedTask(t.id, t.title, t.depends_on, t.estimate) for t in plan.tasks)
    restart = tuple(sorted(restarted))
    return PlanReady(plan.title, tuple(tasks), restart, plan.assumptions, plan.setup.start)


def repair_name(number: int) -> str:
    """Of the task that repairs in this round, as the plan has it beside its own."""
    return f"repair-{number}"

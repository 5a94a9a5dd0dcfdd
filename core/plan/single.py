"""A plan for one executor that builds everything alone."""

import math
from collections.abc import Sequence

from core.paths import EVERYTHING
from core.plan.model import MOST_ESTIMATE, Criterion, Plan, Task

TASK = "build"
_INSTRUCTIONS = (
    "Build everything that the request asks for. You work alone: the whole project is yours, and"
    " which files it has is your decision."
)
_IN_EXISTING = (
    "Change the project as the request asks. You work alone: every file of it is yours to change,"
    " and what is not asked for stays as it is."
)
_MOST_TITLE_CHARS = 60


def build_single_task_plan(
    prompt: str,
    begun: Plan | None = None,
    wishes: Sequence[str] = (),
    *,
    existing: bool = False,
    failing: str = "",
) -> Plan:
    """One task that owns the whole project. `begun` is a plan as far as it was written before it
    turned out that parallel work does not pay; what it decided stands. `wishes` are what the person
    said of earlier plans. `existing`: there is code, which it changes; `failing` is a command that
    has to pass in the end."""
    begun = begun or Plan(tasks=())
    estimate = sum(task.estimate for task in begun.tasks)
    instructions = _IN_EXISTING if existing else _INSTRUCTIONS
    task = Task(
        id=TASK,
        title="Change the project" if existing else "Build the project",
        instructions="\n".join([instructions, *(f"The person adds: {wish}" for wish in wishes)]),
        owns=(EVERYTHING,),
        checks=(failing,) if failing else (),
        estimate=min(estimate, MOST_ESTIMATE) or estimate_alone(begun.analysis.complexity),
    )
    passes = Criterion(text=f"`{failing}` passes.", served_by=(TASK,), command=failing)
    complexity = _limited(begun.analysis.complexity)
    alone = {"complexity": complexity, "recommended_executors": 1, "parallel_pays": False}
    return Plan(
        prompt=prompt,
        title=begun.title or shorten(prompt),
        summary=begun.summary,
        assumptions=begun.assumptions,
        analysis=begun.analysis.model_copy(update=alone),
        setup=begun.setup,
        conventions=begun.conventions,
        tasks=(task,),
        acceptance_criteria=(passes,) if failing else (),
    )


def estimate_alone(complexity: int) -> int:
    """Output tokens of a product of that complexity (1 to 10): about 600 for a file, 12,000 for an
    application of a few parts, 48,000 for a large system."""
    return int(600 * math.pow(_limited(complexity), 1.9))


def _limited(complexity: int) -> int:
    """Of an answer that was cut nobody has judged it."""
    return min(max(complexity, 1), 10)


def shorten(prompt: str) -> str:
    """The first words of a prompt, as a title."""
    line = " ".join(prompt.split())
    if len(line) <= _MOST_TITLE_CHARS:
        return line
    begin = line[:_MOST_TITLE_CHARS]
    return f"{begin.rpartition(' ')[0] or begin} ..."

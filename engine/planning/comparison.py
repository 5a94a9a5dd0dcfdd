"""Does parallel work pay? One executor alone against plan and tasks, in time, tokens and dollars.

Pure: it needs the plan's estimates and dependencies, what the plan itself takes, and how fast and
how dear the model is. The assumptions are stated in docs/performance.md.
"""

from dataclasses import dataclass

from core.events import Part
from core.plan import Plan, Task
from engine.planning.makespan import makespan_s
from engine.planning.requests import (
    BYTES_A_TOKEN,
    SYSTEM_BYTES,
    Terms,
    byte_count,
    expected_requests,
    expected_s,
    given_bytes,
    part_of,
    shared_bytes,
    task_requests,
    task_s,
    unwritten_tokens,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two ways to the same product: `alone`, or `planning` and then the `tasks`."""

    alone: Part
    planning: Part
    tasks: Part

    @property
    def parallel(self) -> Part:
        return self.planning + self.tasks


def compare(
    plan: Plan, executors: int, terms: Terms, planning: Part, unwritten_s: float = 0.0
) -> Comparison:
    """Both ways on the executor's `terms`, when no task fails. `planning` is what the plan takes
    or took: see `expected_planning`. Where tasks begin before it is written, its time is that until
    they may, and the contracts to come take another `unwritten_s`."""
    tasks = tasks_part(plan, executors, terms, unwritten_s)
    return Comparison(_alone(plan, terms), planning, tasks)


def tasks_part(plan: Plan, executors: int, terms: Terms, unwritten_s: float = 0.0) -> Part:
    """List scheduling, the longest remaining path first; the first task writes the prompt cache.
    Tasks that use contracts begin once all are written."""
    given, shared = given_bytes(plan, terms.model), shared_bytes(plan, terms.model)
    usages = [
        usage
        for number, task in enumerate(plan.tasks)
        for usage in task_requests(
            task,
            given[task.id] + terms.context,
            terms.model,
            terms.code,
            cached=shared + terms.context if number > 0 else 0,
        )
    ]

    def seconds_of(task: Task) -> float:
        waits = bool(task.uses) and not task.depends_on
        return task_s(task, terms) + (unwritten_s if waits else 0.0)

    return part_of(makespan_s(plan, executors, seconds_of), usages, terms.price)


def _alone(plan: Plan, terms: Terms) -> Part:
    """One conversation that writes all files, those of the contracts too, and reads no plan."""
    files = sum(byte_count(contract.content) for contract in plan.contracts) // BYTES_A_TOKEN
    output = files + unwritten_tokens(plan) + sum(map(terms.code.written_tokens, plan.tasks))
    known = SYSTEM_BYTES[terms.model.engine] + byte_count(plan.prompt) + terms.context
    owned = {entry for task in plan.tasks for entry in task.owns}
    shown = terms.code.shown_bytes(owned) // BYTES_A_TOKEN
    sent = known // BYTES_A_TOKEN
    usages = expected_requests(output, sent, 0, terms.model, cached=False, shown=shown)
    return part_of(expected_s(output, terms.pace), usages, terms.price)

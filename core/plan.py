"""The Plan: what the planner returns, a person may edit, and the scheduler runs.

The models check shapes; `plan_defects` lists all broken rules between the parts.
"""

import heapq
import json
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import PlanInvalid
from core.paths import fold, owned_path_defect, path_defect

MAX_CONTRACT_CHARS = 1_000_000  # every executor reads every contract
_REMEDY = "Correct these defects, or leave out --plan to have a new plan made."
TASK_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Analysis(_Part):
    """What the planner thinks of the job as a whole."""

    complexity: int = Field(description="1 (a single small file) to 10 (a large system)")
    rationale: str = Field(description="Why this complexity, and how the work was split")
    recommended_executors: int = Field(description="How many executors are worth running at once")
    parallel_pays: bool = Field(
        description="Whether parallel work beats one executor; if not, the plan has one task"
    )


class Contract(_Part):
    """A frozen interface file that tasks share; written before any task starts."""

    path: str = Field(description="Relative path of the file in the project")
    purpose: str = Field(description="What the tasks agree on here, in one sentence")
    content: str = Field(description="The whole file: exact names, types, ports and keys")


class Task(_Part):
    """A node of the DAG."""

    id: str = Field(description="Lower-case letters, digits and dashes; begins with a letter")
    title: str
    instructions: str = Field(description="Everything the executor has to know")
    depends_on: tuple[str, ...] = Field(description="Ids of tasks whose files this one needs")
    owns: tuple[str, ...] = Field(
        description="Exact files, or 'dir/' for all below it, that this task alone writes"
    )
    checks: tuple[str, ...] = Field(description="Shell commands that prove the task is done")
    estimate: int = Field(description="Expected output tokens")


class Criterion(_Part):
    """An acceptance criterion and the tasks that serve it."""

    text: str
    served_by: tuple[str, ...] = Field(description="Ids of tasks")


class Plan(_Part):
    """The whole plan. `version` is that of this format, `prompt` is set by the program."""

    version: Literal[1] = 1
    prompt: str = Field(default="", description="What the plan was made for")
    title: str = Field(description="The project's name in a few words")
    summary: str = Field(description="What will be built, in two or three sentences")
    analysis: Analysis
    contracts: tuple[Contract, ...]
    tasks: tuple[Task, ...]
    acceptance_criteria: tuple[Criterion, ...]

    def task(self, task_id: str) -> Task:
        return next(t for t in self.tasks if t.id == task_id)


def parse_plan(text: str, source: str) -> Plan:
    """The plan in JSON, free of defects. Raises PlanInvalid, naming `source` and every defect."""
    try:
        plan = Plan.model_validate_json(text)
    except ValidationError as exc:
        defects = [
            f"{'.'.join(map(str, error['loc'])) or 'the document'}: {error['msg']}"
            for error in exc.errors(include_url=False)
        ]
        raise PlanInvalid(f"{source} is not a plan:", defects, _REMEDY) from exc
    if defects := plan_defects(plan):
        raise PlanInvalid(f"{source} breaks the rules for plans:", defects, _REMEDY)
    return plan


def render_plan(plan: Plan) -> str:
    """The plan as JSON that a person can edit and `parse_plan` reads."""
    return json.dumps(plan.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def plan_defects(plan: Plan) -> list[str]:
    """Every broken rule, one sentence each; empty for a valid plan."""
    return [
        *_task_defects(plan),
        *_dependency_defects(plan),
        *_contract_defects(plan),
        *_ownership_defects(plan),
        *_criteria_defects(plan),
    ]


def _task_defects(plan: Plan) -> Iterator[str]:
    if not plan.tasks:
        yield "the plan has no tasks"
    for name in _repeated([t.id for t in plan.tasks]):
        yield f"task id {name!r} is used more than once"
    for task in plan.tasks:
        if not TASK_ID.fullmatch(task.id):
            yield f"task id {task.id!r} does not match {TASK_ID.pattern}"
        if not task.owns:
            yield f"task {task.id!r} owns no path"
        if not task.instructions.strip():
            yield f"task {task.id!r} has no instructions"
        if task.estimate < 0:
            yield f"task {task.id!r} has a negative estimate"
        for entry in task.owns:
            if defect := owned_path_defect(entry):
                yield f"task {task.id!r} owns {entry!r}, which {defect}"
    if plan.analysis.recommended_executors < 1:
        yield "analysis.recommended_executors is less than 1"
    if not 1 <= plan.analysis.complexity <= 10:
        yield "analysis.complexity is not between 1 and 10"


def _dependency_defects(plan: Plan) -> Iterator[str]:
    known = {t.id for t in plan.tasks}
    for task in plan.tasks:
        for name in task.depends_on:
            if name not in known:
                yield f"task {task.id!r} depends on {name!r}, which is not in the plan"
        for name in _repeated(task.depends_on):
            yield f"task {task.id!r} names the dependency {name!r} more than once"
    try:
        TopologicalSorter({t.id: t.depends_on for t in plan.tasks}).prepare()
    except CycleError as exc:
        # graphlib lists a cycle against the arrows: each entry depends on the one before it
        yield "dependencies form a cycle: " + " -> ".join(reversed(exc.args[1]))


def _contract_defects(plan: Plan) -> Iterator[str]:
    for contract in plan.contracts:
        if defect := path_defect(contract.path):
            yield f"contract {contract.path!r} {defect}"
        if "\0" in contract.content or len(contract.content) > MAX_CONTRACT_CHARS:
            limit = f"{MAX_CONTRACT_CHARS:,} characters"
            yield f"contract {contract.path!r} is no text of at most {limit}"
    for path in _repeated([fold(c.path) for c in plan.contracts]):
        yield f"contract {path!r} is listed more than once (case is ignored)"


def _ownership_defects(plan: Plan) -> Iterator[str]:
    """Overlaps, found by walking up from each path: linear in the number of paths."""
    owner = {fold(c.path): "a contract" for c in plan.contracts}
    files = set(owner)
    for task in plan.tasks:
        for entry in task.owns:
            name = fold(entry.rstrip("/"))
            if not entry.endswith("/"):
                files.add(name)
            if (other := owner.setdefault(name, f"task {task.id!r}")) != f"task {task.id!r}":
                yield f"{entry!r} belongs to both {other} and task {task.id!r}"
        for entry in _repeated([fold(e.rstrip("/")) for e in task.owns]):
            yield f"task {task.id!r} owns {entry!r} more than once (case is ignored)"
    for name, holder in owner.items():
        for parent in _parents(name):
            if parent in owner and (owner[parent] != holder or parent in files):
                yield f"{name!r} of {holder} lies below {parent!r} of {owner[parent]}"
                break


def _criteria_defects(plan: Plan) -> Iterator[str]:
    known = {t.id for t in plan.tasks}
    if not plan.acceptance_criteria:
        yield "the plan has no acceptance criteria"
    for criterion in plan.acceptance_criteria:
        if not criterion.served_by:
            yield f"criterion {criterion.text!r} is served by no task"
        for name in criterion.served_by:
            if name not in known:
                yield f"criterion {criterion.text!r} names {name!r}, which is not in the plan"


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _repeated(names: list[str] | tuple[str, ...]) -> list[str]:
    return sorted(name for name, times in Counter(names).items() if times > 1)


def topological_order(plan: Plan) -> list[str]:
    """Task ids, each after all it depends on; ties in the plan's order."""
    sorter = TopologicalSorter({t.id: t.depends_on for t in plan.tasks})
    sorter.prepare()
    position = {t.id: n for n, t in enumerate(plan.tasks)}
    order: list[str] = []
    ready: list[int] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, position[name])
        order.append(plan.tasks[heapq.heappop(ready)].id)
        sorter.done(order[-1])
    return order


def ancestors(plan: Plan) -> dict[str, tuple[str, ...]]:
    """For each task, all it depends on directly or not, in topological order."""
    by_id = {t.id: t for t in plan.tasks}
    position = {name: n for n, name in enumerate(topological_order(plan))}
    found: dict[str, frozenset[str]] = {}
    for name in position:
        direct = by_id[name].depends_on
        found[name] = frozenset(direct).union(*(found[d] for d in direct))
    return {n: tuple(sorted(found[n], key=position.__getitem__)) for n in position}


def remaining_path(plan: Plan) -> dict[str, int]:
    """For each task the estimated tokens of the longest path from its start to the plan's end."""
    by_id = {t.id: t for t in plan.tasks}
    longest = dict.fromkeys(by_id, 0)
    for name in reversed(topological_order(plan)):
        longest[name] += max(1, by_id[name].estimate)
        for dependency in by_id[name].depends_on:
            longest[dependency] = max(longest[dependency], longest[name])
    return longest


def longest_chain(plan: Plan) -> list[str]:
    """The tasks of the longest path, in order: no number of executors is faster than these."""
    by_id, weight = {t.id: t for t in plan.tasks}, remaining_path(plan)
    behind: dict[str, list[str]] = {name: [] for name in by_id}
    for task in plan.tasks:
        for name in task.depends_on:
            behind[name].append(task.id)
    chain: list[str] = []
    next_ones = [t.id for t in plan.tasks]
    while next_ones:
        chain.append(max(next_ones, key=weight.__getitem__))
        next_ones = behind[chain[-1]]
    return chain


def render_brief(plan: Plan, limit: int = 60) -> str:
    """What every executor may know of the whole plan, the same bytes for all of a run."""
    lines = [f"# {plan.title}", "", plan.summary, "", "## Tasks"]
    for task in plan.tasks[:limit]:
        needs = f" (after {', '.join(task.depends_on)})" if task.depends_on else ""
        lines.append(f"- {task.id}: {task.title}{needs}; writes {', '.join(task.owns)}")
    if len(plan.tasks) > limit:
        lines.append(f"- and {len(plan.tasks) - limit} more")
    lines += ["", "## Contracts"]
    lines += [f"- {c.path}: {c.purpose}" for c in plan.contracts] or ["- none"]
    lines += ["", "## Acceptance criteria"]
    lines += [f"- {c.text}" for c in plan.acceptance_criteria]
    return "\n".join(lines) + "\n"

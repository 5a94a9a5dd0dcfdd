"""Files that several tasks changed at the same place: one more executor makes one version of each
before the delivery. What it leaves with markers stays a named conflict."""

from collections.abc import Mapping
from dataclasses import replace
from string import Template

from claude.prompts import load_prompt
from core.job import TaskResult
from core.plan import Plan, Task
from engine.delivery.change import MERGE_TASK, Change
from engine.delivery.deliver import change_of
from engine.delivery.merge import MergePlan
from engine.scheduling.types import Stop
from engine.verification.added_task import AddedTasks

_TOKENS_EACH = 600


def merge_conflicts(
    added: AddedTasks, plan: Plan, results: Mapping[str, TaskResult]
) -> Stop | None:
    """Have them settled, if there are any with markers; deliver() takes what came of it. Gives why
    the run has to stop, if it has. Raises as a scheduler does."""
    change = change_of(added.session, plan, results)
    if change is None or not change.marked:
        return None
    return added.run(merge_task(change), marked_tree(change)).outcome.stop


def merge_task(change: Change) -> Task:
    marked = {file.path for file in change.marked}
    told = (c for c in change.tree.conflicts if c.path in marked)
    lines = "".join(f"- {c.path}: {' and '.join(c.owners)}; {c.why}\n" for c in told)
    return Task(
        id=MERGE_TASK,
        title="Merge what several tasks changed",
        instructions=Template(load_prompt("merge")).substitute(conflicts=lines),
        owns=tuple(sorted(marked)),
        estimate=_TOKENS_EACH * len(marked),
        checks=tuple(f"! grep -nE '^(<<<<<<<|>>>>>>>) ' -- '{path}'" for path in sorted(marked)),
    )


def marked_tree(change: Change) -> MergePlan:
    """The tree with the files in conflict as they are marked."""
    marked = {file.path: file for file in change.marked}
    files = [marked.get(file.path, file) for file in change.tree.files]
    return replace(change.tree, files=tuple(files))

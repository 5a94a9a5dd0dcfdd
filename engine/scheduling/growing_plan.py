"""The plan that a scheduler works on, of which the rest may still be written; and what stays good
of the work on an earlier one. Which task changes its state, the scheduler decides."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from core.events import EventData, Notice
from core.job import TaskState
from core.plan import Definitions, Plan, Task, promised_contracts
from core.plan.draft import ContractWritten
from engine.run.plan_event import plan_ready
from engine.scheduling.task_graph import TaskGraph
from engine.scheduling.types import PlanDelayed, PlanFailed, PlanNews, PlanSource, PlanWritten

_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class Correction:
    """What follows from a whole plan in place of the one so far: where its tasks stand, those that
    are `blocked` now, by which failed one, all whose work is `void`, and the events of it."""

    graph: TaskGraph
    blocked: Mapping[str, str]
    void: AbstractSet[str]
    announcements: Sequence[EventData]


class GrowingPlan:
    """`begun` has the digest (core.plan.definition) of each task as it was last begun in an earlier
    session; with a `source` the
    plan's contracts are still being written. `outdated` are the tasks that were begun, and stand on
    something else in the plan or are not in it."""

    def __init__(self, plan: Plan, begun: Mapping[str, str], source: PlanSource | None) -> None:
        self.plan = plan
        self.tasks: dict[str, Task] = {task.id: task for task in plan.tasks}
        self.source = source
        self.is_delayed = False
        """Whether the plan is being written anew, so that nothing may start meanwhile."""
        self._begun = dict(begun)
        self._definitions = Definitions(plan)
        self.outdated: set[str] = set()
        if source is None:
            self._judge()

    @property
    def unwritten(self) -> Sequence[str]:
        """The contracts that are still to come."""
        return promised_contracts(self.plan) if self.source else ()

    def begin(self, task: str) -> str:
        """What the attempt stands on that begins now."""
        self._begun[task] = self._definitions.of(task)
        return self._begun[task]

    def take(self) -> Sequence[PlanNews]:
        """What has become known of the plan since this was last asked."""
        news = self.source.take() if self.source else ()
        for each in news:
            match each:
                case ContractWritten(contract):
                    self._definitions.add(contract)
                case PlanDelayed():
                    self.is_delayed = True
                case PlanWritten() | PlanFailed():
                    self.source, self.is_delayed = None, False
        return news

    def correct(
        self, plan: Plan, before: Mapping[str, TaskState], succeeded: Mapping[str, int]
    ) -> Correction:
        """Go on with `plan`, which is whole; `before` is where each task stands in the plan so far,
        `succeeded` are those that are done."""
        announced = plan_ready(self.plan)
        self.plan, self._definitions = plan, Definitions(plan)
        self.tasks.clear()
        self.tasks.update((task.id, task) for task in plan.tasks)
        self._judge()
        graph = TaskGraph(plan, succeeded.keys() - self.outdated)
        blocked = {
            name: task
            for task, state in before.items()
            if task not in self.outdated
            for name in graph.carry_over(task, state)
            if before.get(name) is not TaskState.BLOCKED
        }
        undone = {task for task, state in before.items() if state.final and task in graph.states}
        restarted = {task for task in undone if not graph.states[task].final}
        dropped = before.keys() - graph.states.keys()
        is_news = bool(self.outdated) or plan_ready(plan) != announced
        events = self.announcement(restarted, dropped) if is_news else ()
        return Correction(graph, blocked, self.outdated | restarted | dropped, events)

    def announcement(
        self, restarted: AbstractSet[str] = frozenset(), dropped: AbstractSet[str] = frozenset()
    ) -> Sequence[EventData]:
        """For the journal and for people. What is outdated starts anew, as the `restarted` do."""
        restarted = (self.outdated & self.tasks.keys()) | restarted
        kept = self._begun.keys() & self.tasks.keys()
        parts = {"kept": kept, "starts anew": restarted, "left out": dropped}
        named = [f"{name}: {_named(tasks)}" for name, tasks in parts.items() if tasks]
        text = "; ".join(["The plan was corrected", *named])
        return plan_ready(self.plan, restarted), Notice(f"{text}.")

    def _judge(self) -> None:
        """Find out what is outdated: it counts as not begun."""
        self.outdated = {
            task
            for task, begun in self._begun.items()
            if task not in self.tasks or (begun and begun != self._definitions.of(task))
        }
        for task in self.outdated:
            del self._begun[task]


def _named(tasks: Collection[str]) -> str:
    more = len(tasks) - _MOST_NAMED
    return ", ".join(sorted(tasks)[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")

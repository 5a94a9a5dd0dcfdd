"""The task graph: where every task stands, and which may start next. Pure, without time or I/O."""

import heapq
from collections.abc import Callable, Collection, Iterable

from core.job import TaskState
from core.plan import Plan, remaining_path, topological_order


class TaskGraph:
    """Tasks of a plan. Every change is one method; a final state never changes.

    `unwritten` are contracts that do not exist yet: a task waits for those that it uses as it does
    for other tasks.
    """

    def __init__(
        self, plan: Plan, succeeded: Collection[str] = (), unwritten: Collection[str] = ()
    ) -> None:
        weight = remaining_path(plan)
        self._rank = {t.id: (-weight[t.id], n) for n, t in enumerate(plan.tasks)}
        awaited = _awaited(plan, succeeded)
        self._missing = {t.id: len(awaited[t.id]) for t in plan.tasks}
        self._dependents: dict[str, list[str]] = {t.id: [] for t in plan.tasks}
        self._users: dict[str, list[str]] = {path: [] for path in unwritten}
        for task in plan.tasks:
            for name in awaited[task.id]:
                self._dependents[name].append(task.id)
            for path in set(task.uses) & self._users.keys():
                self._users[path].append(task.id)
                self._missing[task.id] += 1
        self._ready: list[tuple[tuple[int, int], str]] = []  # and some that are not any more
        self.ready = 0
        """How many tasks may start."""
        self.states = {t.id: TaskState.PENDING for t in plan.tasks}
        self._unfinished = len(self.states)
        for task in plan.tasks:
            if task.id in succeeded:
                self._finish(task.id, TaskState.SUCCEEDED)
            elif not self._missing[task.id]:
                self._make_ready(task.id)

    @property
    def finished(self) -> bool:
        """Whether every task is in a final state."""
        return self._unfinished == 0

    def start(self, limit: int, admit: Callable[[str], bool] = lambda _: True) -> list[str]:
        """Make at most `limit` ready tasks active, the longest remaining path first.

        One that `admit` refuses keeps its place, and all behind it wait too, so that it is not
        overtaken for ever.
        """
        started: list[str] = []
        while self._ready and len(started) < limit:
            task = self._ready[0][1]
            if self.states[task] is TaskState.READY:
                if not admit(task):
                    break
                self._activate(task)
                started.append(task)
            heapq.heappop(self._ready)
        return started

    def start_any(self, admit: Callable[[str], bool]) -> list[str]:
        """Make the first ready task active that `admit` takes, whatever stands before it."""
        for _, task in sorted(self._ready):
            if self.states[task] is TaskState.READY and admit(task):
                self._activate(task)
                return [task]
        return []

    def unfinished(self) -> list[str]:
        """Tasks that are in no final state, in the plan's order."""
        return [task for task, state in self.states.items() if not state.final]

    def adopt(self, task: str) -> None:
        """A ready task turns out to be running already."""
        self._expect(task, TaskState.READY)
        self._activate(task)

    def wait(self, task: str) -> None:
        """An active task's attempt failed; `resume` makes it ready again."""
        self._expect(task, TaskState.ACTIVE)
        self.states[task] = TaskState.WAITING

    def resume(self, task: str) -> None:
        self._expect(task, TaskState.WAITING)
        self._make_ready(task)

    def succeed(self, task: str) -> None:
        self._expect(task, TaskState.ACTIVE)
        self._finish(task, TaskState.SUCCEEDED)
        self._release(self._dependents[task])

    def contract_written(self, path: str) -> None:
        self._release(self._users.pop(path, ()))

    def fail(self, task: str) -> list[str]:
        """The task failed for good. Returns its descendants, now blocked; all else goes on."""
        self._expect(task, TaskState.ACTIVE)
        self._finish(task, TaskState.FAILED)
        blocked, stack = [], [task]
        while stack:
            for name in self._dependents[stack.pop()]:
                if self.states[name] is TaskState.PENDING:
                    self._finish(name, TaskState.BLOCKED)
                    blocked.append(name)
                    stack.append(name)
        return blocked

    def carry_over(self, task: str, state: TaskState) -> list[str]:
        """A task stands as it did in the graph of an earlier plan, all that it needs being done.
        Returns its descendants that are blocked by that."""
        if state in (TaskState.ACTIVE, TaskState.WAITING, TaskState.FAILED):
            self.adopt(task)
        if state is TaskState.WAITING:
            self.wait(task)
        return self.fail(task) if state is TaskState.FAILED else []

    def cancel_rest(self) -> list[str]:
        """Everything not final is cancelled: the run stops here. Returns those tasks."""
        rest, self.ready = self.unfinished(), 0
        for name in rest:
            self._finish(name, TaskState.CANCELLED)
        return rest

    def _release(self, tasks: Iterable[str]) -> None:
        """One thing that these have waited for is there."""
        for name in tasks:
            self._missing[name] -= 1
            if not self._missing[name] and self.states[name] is TaskState.PENDING:
                self._make_ready(name)

    def _activate(self, task: str) -> None:
        self.states[task] = TaskState.ACTIVE
        self.ready -= 1

    def _make_ready(self, task: str) -> None:
        self.states[task] = TaskState.READY
        self.ready += 1
        heapq.heappush(self._ready, (self._rank[task], task))

    def _finish(self, task: str, state: TaskState) -> None:
        self.states[task] = state
        self._unfinished -= 1

    def _expect(self, task: str, state: TaskState) -> None:
        if self.states[task] is not state:
            raise ValueError(f"Task {task!r} is {self.states[task]}, not {state}.")


def _awaited(plan: Plan, succeeded: Collection[str]) -> dict[str, set[str]]:
    """The nearest unfinished ancestors of each task: a finished one may stand on a rerun."""
    depends_on = {t.id: t.depends_on for t in plan.tasks}
    awaited: dict[str, set[str]] = {}
    for task in topological_order(plan):
        found = awaited[task] = set()
        for name in depends_on[task]:
            found |= awaited[name] if name in succeeded else {name}
    return awaited

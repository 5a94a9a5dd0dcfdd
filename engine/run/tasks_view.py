"""The tasks of a run as a person sees them: a part of the RunView."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter

from core.events import PlanReady, TaskAdded
from engine.run.task_view import Pending, TaskPhase, TaskView


class TasksView(dict[str, TaskView]):
    """The tasks of the plan and those beside it, by id. Changed by the RunView alone, as it applies
    events; `at` is their time, and `now` that of who asks, both in Unix seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.added: dict[str, TaskAdded] = {}
        """Tasks that the run does besides its plan."""
        self.left_out: dict[str, TaskView] = {}
        """Tasks that the plan had, and has no longer."""
        self.counts: Counter[TaskPhase] = Counter()
        self._free_slots: set[int] = set()
        self._slots = 0
        self._path: dict[str, int] = {}
        """Tokens of the longest chain from each task to the plan's end, its own included."""

    def find(self, name: str) -> TaskView:
        """The task meant; one that the plan does not name is still counted."""
        if name in self.left_out:
            return self.left_out[name]
        if name not in self:
            self._put(TaskView(name, name))
        return self[name]

    def ever(self) -> Iterator[TaskView]:
        """All that there are, and those that the plan has no longer."""
        yield from self.values()
        yield from self.left_out.values()

    def plan(self, data: PlanReady, at: float) -> None:
        """These are the tasks now, besides those added."""
        for name in self.keys() - {task.id for task in data.tasks} - self.added.keys():
            self._leave_out(name, at)
        for name, title, depends_on, estimate in data.tasks:
            if name not in self:
                self._put(self.left_out.pop(name, TaskView(name)))
            task = self[name]
            task.title, task.depends_on, task.estimate = title, depends_on, estimate
            self._path[name] = task.weight
            if name in data.restarted:
                self._wait(task, at)
        for name in reversed(self._order()):
            for dependency in self[name].depends_on:
                behind = self._path[name] + self[dependency].weight
                self._path[dependency] = max(self._path[dependency], behind)

    def add(self, name: str, data: TaskAdded, at: float) -> None:
        self.added[name] = data
        if name not in self:
            self._put(TaskView(name))
        task = self[name]
        task.title, task.estimate = data.title, data.estimate
        self._path[name] = task.weight
        if data.is_anew:
            self._wait(task, at)

    def begin_session(self, at: float) -> None:
        """What was under way is not any more."""
        for task in self.values():
            if task.phase is not TaskPhase.SUCCEEDED:
                self._wait(task, at)

    def move(self, task: TaskView, phase: TaskPhase, at: float) -> None:
        """Change a task's phase, and take or give back its executor slot."""
        if task.id not in self:
            return
        self.counts[task.phase] -= 1
        self.counts[phase] += 1
        if phase is not task.phase:
            task.moved_at, task.retry_at = at, None
        task.phase = phase
        task.ask_anew()
        task.pending = task.pending if phase is TaskPhase.QUEUED else None
        if phase.active and task.slot is None:
            if not self._free_slots:
                self._slots += 1
                self._free_slots.add(self._slots)
            task.slot = min(self._free_slots)
            self._free_slots.remove(task.slot)
        elif not phase.active and task.slot is not None:
            self._free_slots.add(task.slot)
            task.slot = None

    def _put(self, task: TaskView) -> None:
        self[task.id] = task
        self._path[task.id] = task.weight
        self.counts[task.phase] += 1

    def _wait(self, task: TaskView, at: float) -> None:
        task.started_at, task.message = None, ""
        self.move(task, TaskPhase.WAITING, at)

    def _leave_out(self, name: str, at: float) -> None:
        """It is in the plan no more; what it spent stays."""
        task = self.left_out[name] = self[name]
        self._wait(task, at)
        self.counts[TaskPhase.WAITING] -= 1
        del self[name], self._path[name]

    def done_of_plan(self) -> tuple[int, int]:
        """How many tasks of the plan are done, and how many there are; added ones do not count."""
        planned = [task for name, task in self.items() if name not in self.added]
        return sum(task.phase is TaskPhase.SUCCEEDED for task in planned), len(planned)

    @property
    def is_whole(self) -> bool:
        """Whether all tasks of the plan are done."""
        done, planned = self.done_of_plan()
        return done == planned

    def waits(self) -> Counter[Pending]:
        """What queued jobs wait for, and how many."""
        return Counter(t.pending for t in self.values() if t.pending is not None)

    def work_s(self) -> float:
        """Seconds of all ended attempts together."""
        return sum(task.busy_s for task in self.ever())

    def critical_path(self) -> list[str]:
        """The longest chain of dependent tasks, as they really took, first to last."""
        longest: dict[str, float] = {}
        before: dict[str, str] = {}
        for name in self._order():
            known = [task for task in self[name].depends_on if task in longest]
            if known:
                before[name] = max(known, key=longest.__getitem__)
            longest[name] = longest.get(before.get(name, ""), 0.0) + self[name].busy_s
        chain = [max(longest, key=longest.__getitem__)] if longest else []
        while chain and chain[-1] in before:
            chain.append(before[chain[-1]])
        return chain[::-1]

    def critical_path_s(self) -> float:
        """Its seconds."""
        return sum(self[name].busy_s for name in self.critical_path())

    def progress(self, now: float) -> float:
        """Between 0 and 1, by estimate; a running task counts for what it should have done."""
        total = sum(t.weight for t in self.values())
        pace = self._seconds_per_token()
        done = 0.0
        for task in self.values():
            if task.phase.final:
                done += task.weight
            elif task.phase is TaskPhase.RUNNING and pace and task.started_at is not None:
                done += task.weight * min(0.9, (now - task.started_at) / (task.weight * pace))
        return done / total if total else 0.0

    def left_s(self, now: float, executors: int) -> float | None:
        """Seconds still to go, at the pace of the tasks done so far; None before there is one."""
        pace = self._seconds_per_token()
        if pace is None:
            return None
        longest = work = 0.0
        for task in self.values():
            if task.phase.final:
                continue
            elapsed = now - task.started_at if task.started_at is not None else 0.0
            longest = max(longest, self._path[task.id] * pace - elapsed)
            work += max(0.0, task.weight * pace - elapsed)
        return max(longest, work / max(1, executors), 0.0)

    def _seconds_per_token(self) -> float | None:
        planned = (task for name, task in self.items() if name not in self.added)
        done = [t for t in planned if t.phase is TaskPhase.SUCCEEDED and t.busy_s > 0]
        tokens = sum(t.weight for t in done)
        return sum(t.busy_s for t in done) / tokens if done else None

    def _order(self) -> list[str]:
        graph = {n: [d for d in t.depends_on if d in self] for n, t in self.items()}
        return list(TopologicalSorter(graph).static_order())

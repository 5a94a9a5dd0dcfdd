"""What is run on every system: tasks that sleep, or do nothing, in a graph."""

from __future__ import annotations

import heapq
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Workload:
    """`tasks` are seconds and the indices of the tasks before; each comes after those."""

    name: str
    executors: int
    tasks: tuple[tuple[float, tuple[int, ...]], ...]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        found = json.loads(path.read_text())
        tasks = tuple((seconds, tuple(earlier)) for seconds, earlier in found["tasks"])
        return cls(found["name"], found["executors"], tasks)

    @property
    def work_s(self) -> float:
        return sum(seconds for seconds, _ in self.tasks)

    def longest_paths_s(self) -> list[float]:
        """From the start of each task to the end of all."""
        paths = [seconds for seconds, _ in self.tasks]
        for task in reversed(range(len(self.tasks))):
            for before in self.tasks[task][1]:
                paths[before] = max(paths[before], self.tasks[before][0] + paths[task])
        return paths

    def lower_bound_s(self) -> float:
        """No schedule is shorter."""
        return max(max(self.longest_paths_s()), self.work_s / self.executors)

    def list_schedule_s(self) -> float:
        """How long the whole takes if nothing but the tasks takes time, and of those that could
        start the one with the longest path to the end does."""
        paths, left = self.longest_paths_s(), [len(before) for _, before in self.tasks]
        after: list[list[int]] = [[] for _ in self.tasks]
        for task, (_, earlier) in enumerate(self.tasks):
            for before in earlier:
                after[before].append(task)
        ready = [(-paths[task], task) for task, count in enumerate(left) if not count]
        heapq.heapify(ready)
        running: list[tuple[float, int]] = []
        now = 0.0
        while ready or running:
            while ready and len(running) < self.executors:
                task = heapq.heappop(ready)[1]
                heapq.heappush(running, (now + self.tasks[task][0], task))
            now, ended = heapq.heappop(running)
            for task in after[ended]:
                left[task] -= 1
                if not left[task]:
                    heapq.heappush(ready, (-paths[task], task))
        return now


def layered(count: int, layers: int, executors: int, *, sleeps: bool, seed: int = 1) -> Workload:
    """`count` tasks in `layers`, each after one to three of the layer before. They sleep for 0.1 s
    in the median, between 0.02 and 1 s (log-normal)."""
    dice = random.Random(seed)
    tasks: list[tuple[float, tuple[int, ...]]] = []
    earlier: range = range(0)
    for layer in range(layers):
        begin = len(tasks)
        for _ in range(begin, (layer + 1) * count // layers):
            before = dice.sample(earlier, min(len(earlier), dice.randint(1, 3)))
            seconds = min(1.0, max(0.02, dice.lognormvariate(-2.3, 0.8)))
            tasks.append((seconds if sleeps else 0.0, tuple(sorted(before))))
        earlier = range(begin, len(tasks))
    name = f"{count} {'sleeps' if sleeps else 'no-ops'} in {layers} layers"
    return Workload(name, executors, tuple(tasks))


def flat(count: int, executors: int) -> Workload:
    """Tasks that do nothing and do not depend on each other."""
    return Workload(f"{count} no-ops", executors, ((0.0, ()),) * count)


def chain(count: int) -> Workload:
    """Tasks that do nothing, one after the other."""
    tasks = tuple((0.0, (task - 1,) if task else ()) for task in range(count))
    return Workload(f"chain of {count} no-ops", 1, tasks)

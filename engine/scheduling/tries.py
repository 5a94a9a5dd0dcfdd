"""The attempts of tasks: their numbers, how many tries each task had, and when the next is due."""

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from core.job import JobKey


class Tries:
    """`numbers` are the last attempts of tasks, in all sessions; tries count in this one."""

    def __init__(self, run_id: str, numbers: Mapping[str, int]) -> None:
        self._run_id = run_id
        self._numbers = dict(numbers)
        self._tries: Counter[str] = Counter()
        self._retries: list[tuple[float, str]] = []

    def __getitem__(self, task: str) -> int:
        """How many tries the task had."""
        return self._tries[task]

    def last_key(self, task: str) -> JobKey:
        return JobKey(self._run_id, task, self._numbers.get(task, 0))

    def next_key(self, task: str) -> JobKey:
        return JobKey(self._run_id, task, self._numbers.get(task, 0) + 1)

    def begin(self, key: JobKey) -> None:
        self._numbers[key.task] = key.attempt
        self._tries[key.task] += 1

    def take_back(self, key: JobKey) -> None:
        """The attempt was never handed over: its key is the task's next one again."""
        self._numbers[key.task] = key.attempt - 1

    def forgive(self, task: str) -> None:
        """Its last try was not the task's fault."""
        self._tries[task] -= 1

    def restart(self, tasks: Collection[str]) -> None:
        """These have all their tries again, under new numbers."""
        for task in tasks:
            del self._tries[task]
        self._retries = [(at, task) for at, task in self._retries if task not in tasks]
        heapq.heapify(self._retries)

    @property
    def next_at(self) -> float | None:
        """When the next retry is due, in monotonic seconds; None where none waits."""
        return self._retries[0][0] if self._retries else None

    def retry_at(self, when: float, task: str) -> None:
        heapq.heappush(self._retries, (when, task))

    def due(self, now: float) -> Iterator[str]:
        """Takes out the tasks whose next try is due."""
        while self._retries and self._retries[0][0] <= now:
            yield heapq.heappop(self._retries)[1]

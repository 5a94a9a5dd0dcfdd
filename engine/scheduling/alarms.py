"""Alarms: which attempts are to be looked at when, whatever is heard of them. Pure."""

import heapq

from core.job import JobKey
from engine.scheduling.attempt import Attempt


class Alarms:
    """The next time at which something is due for each attempt."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Attempt]] = []
        self._count = 0

    def set(self, attempt: Attempt, when: float | None) -> None:
        """In place of the one that it had."""
        if when is not None and when != attempt.alarm_at:
            self._count += 1
            heapq.heappush(self._heap, (when, self._count, attempt))
        attempt.alarm_at = when

    def due(self, now: float) -> dict[JobKey, Attempt]:
        """Those whose time has come; they have none any longer."""
        found: dict[JobKey, Attempt] = {}
        while (when := self.next_at()) is not None and when <= now:
            attempt = heapq.heappop(self._heap)[2]
            attempt.alarm_at = None
            found[attempt.key] = attempt
        return found

    def next_at(self) -> float | None:
        while self._heap and self._heap[0][0] != self._heap[0][2].alarm_at:
            heapq.heappop(self._heap)  # it has another one by now
        return self._heap[0][0] if self._heap else None

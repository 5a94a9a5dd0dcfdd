"""Virtual time: the same scheduler runs a plan of days in a moment.

Time moves only when everybody waits, and then straight to the next thing that happens.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

from engine.scheduling.calls import Then


class VirtualClock:
    """A clock whose sleep takes no time. Starts at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.advance(self._now + max(0.0, seconds))

    def call_at(self, when: float, action: Callable[[], None]) -> None:
        """Run `action` when time gets to `when`."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, action))

    def next_timer(self) -> float | None:
        return self._timers[0][0] if self._timers else None

    def advance(self, when: float) -> None:
        """Go to `when`, running the timers that fall due, in order."""
        while self._timers and self._timers[0][0] <= when:
            due, _, action = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            action()
        self._now = max(self._now, when)


class VirtualCalls:
    """Calls made at once, answers handled in the next wait; waiting moves the virtual clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._inbox: deque[tuple[str, Then, Any]] = deque()
        self._woken = False

    def start(self, method: str, call: Callable[[], Any], then: Then) -> None:
        if self.busy(method):
            raise RuntimeError(f"A call of {method} is already under way.")
        try:
            value = call()
        except Exception as exc:  # noqa: BLE001 - as on a thread: handed to the scheduler
            value = exc
        self._inbox.append((method, then, value))

    def busy(self, method: str) -> bool:
        return any(name == method for name, _, _ in self._inbox)

    def overdue(self, deadline_s: float) -> dict[str, float]:
        return {}

    def wait(self, timeout_s: float | None) -> None:
        if not self._inbox and not self._woken:
            self._move(timeout_s)
        self._woken = False
        for _ in range(len(self._inbox)):
            _, then, value = self._inbox.popleft()
            then(value)

    def wake(self) -> None:
        self._woken = True

    def close(self) -> None:
        self._inbox.clear()

    def _move(self, timeout_s: float | None) -> None:
        due = self._clock.next_timer()
        limit = None if timeout_s is None else self._clock.monotonic() + timeout_s
        if due is None and limit is None:
            raise RuntimeError("Nothing will ever happen: no timer and no timeout.")
        self._clock.advance(min(t for t in (due, limit) if t is not None))

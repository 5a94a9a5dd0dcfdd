"""How the scheduler calls a backend without ever blocking on it: each method has at most one call
under way, on a thread of its own; answers are handled one by one in the scheduler's thread."""

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from core.clock import Clock

Then = Callable[[Any], None]
"""Gets what a call returned, or the exception it raised."""


def outcome_of(call: Callable[[], Any]) -> Any:
    """What it returned, or the exception it raised."""
    try:
        return call()
    except Exception as exc:  # noqa: BLE001 - the boundary of a backend: handed to the scheduler
        return exc


LONGEST_WAIT_S = 5.0
"""After which the scheduler looks around, whatever it waits for: the run may have been removed."""


class Calls(Protocol):
    def start(self, method: str, call: Callable[[], Any], then: Then) -> None:
        """Make the call elsewhere; `then` runs in a later `wait`. One call a method at a time."""

    def busy(self, method: str) -> bool: ...

    def overdue(self, deadline_s: float) -> dict[str, float]:
        """Methods whose call has been under way for that long, and for how many seconds."""

    def wait(self, timeout_s: float | None) -> None:
        """Handle all answers there are; if there are none, wait for one, a wake or the timeout, and
        no longer than LONGEST_WAIT_S."""

    def wake(self) -> None:
        """End the current or next wait; from any thread, or from a signal handler."""

    def close(self) -> None: ...


class ThreadedCalls:
    """Real calls on daemon threads, so that a call that hangs can't keep the process alive."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # SimpleQueue.put is reentrant, so that a signal handler may wake the loop
        self._inbox: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
        self._lines: dict[str, queue.SimpleQueue[Callable[[], Any] | None]] = {}
        self._under: dict[str, tuple[float, Then]] = {}
        """Since when each call is under way, and what gets its answer."""

    def start(self, method: str, call: Callable[[], Any], then: Then) -> None:
        if method in self._under:
            raise RuntimeError(f"A call of {method} is already under way.")
        if method not in self._lines:
            self._lines[method] = queue.SimpleQueue()
            line = threading.Thread(target=self._serve, args=(method,), daemon=True)
            line.name = f"backend-{method}"
            line.start()
        self._under[method] = self._clock.monotonic(), then
        self._lines[method].put(call)

    def busy(self, method: str) -> bool:
        return method in self._under

    def overdue(self, deadline_s: float) -> dict[str, float]:
        now = self._clock.monotonic()
        ages = {name: now - since for name, (since, _) in self._under.items()}
        return {name: age for name, age in ages.items() if age >= deadline_s}

    def wait(self, timeout_s: float | None) -> None:
        with suppress(queue.Empty):
            longest_s = LONGEST_WAIT_S if timeout_s is None else min(timeout_s, LONGEST_WAIT_S)
            self._handle(self._inbox.get(timeout=longest_s))
            while True:
                self._handle(self._inbox.get_nowait())

    def wake(self) -> None:
        self._inbox.put(None)

    def close(self) -> None:
        for line in self._lines.values():
            line.put(None)

    def _handle(self, answer: tuple[str, Any] | None) -> None:
        if answer is not None:
            method, value = answer
            _, then = self._under.pop(method)
            then(value)

    def _serve(self, method: str) -> None:
        while (call := self._lines[method].get()) is not None:
            self._inbox.put((method, outcome_of(call)))

"""Time as an injected thing, so that the same code runs in real and in virtual time."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from core.errors import Interrupted


class Clock(Protocol):
    """Seconds everywhere. `time` is Unix time, `monotonic` never goes back."""

    def time(self) -> float: ...

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`; a stoppable clock raises Interrupted instead."""


class SystemClock:
    """The machine's clock."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


class StoppableClock(SystemClock):
    """The machine's clock, whose sleep ends with Interrupted once `stop` is set."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def sleep(self, seconds: float) -> None:
        if self._stop.wait(max(0.0, seconds)):
            raise Interrupted("The worker was told to stop.")

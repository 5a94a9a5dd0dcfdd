"""One brake for all clients of a process: who meets a rate limit stops everybody for a while.

Every request asks `admit` first. The seam where an adaptive limit on requests in flight belongs.
"""

from __future__ import annotations

import threading

from core.clock import Clock


class Governor:
    """Shared by threads; without a pause it costs nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = float("-inf")

    def admit(self, clock: Clock) -> None:
        """Return once no pause is on. Raises Interrupted from a stopped clock."""
        while (wait_s := self._until - clock.monotonic()) > 0:
            clock.sleep(wait_s)

    def pause(self, clock: Clock, seconds: float) -> None:
        """Hold back requests for `seconds` from now; a longer pause that is on stays."""
        with self._lock:
            self._until = max(self._until, clock.monotonic() + seconds)

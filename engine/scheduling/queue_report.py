"""What queued jobs wait for, reported for all of them together: a cluster may hold hundreds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from core.events import QueueWait, QueueWaits
from engine.scheduling.attempt import Attempt

NEWS_S = 60.0
"""Between two pieces of news; some queues give each job its place."""


class QueueReport:
    """News is a reason that was not among those reported last. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._reported: frozenset[tuple[str, bool]] = frozenset()
        self._after = 0.0

    def news(self, attempts: Iterable[Attempt], now: float) -> QueueWaits | None:
        """Once a poll has been answered."""
        queued = [(a.status.message, a.is_stuck) for a in attempts if a.is_queued]
        waits = Counter((why, stuck) for why, stuck in queued if why or stuck)
        if now < self._after or waits.keys() <= self._reported:
            return None
        self._reported, self._after = frozenset(waits), now + NEWS_S
        return QueueWaits(
            tuple(QueueWait(why, jobs, stuck) for (why, stuck), jobs in waits.most_common())
        )

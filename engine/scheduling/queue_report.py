"""What queued jobs wait for, told for all of them together: a cluster may hold hundreds."""

from __future__ import annotations

from collections import Counter

from core.events import QueueWait, QueueWaits
from engine.scheduling.shared_state import Desk

NEWS_S = 60.0
"""Between two pieces of news; some queues tell each job its place."""


class QueueReport:
    """News is a reason that was not among those told last."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._told: frozenset[tuple[str, bool]] = frozenset()
        self._after = 0.0

    def tell(self) -> None:
        """Once a poll has been answered."""
        desk = self._desk
        queued = [(a.status.message, a.is_stuck) for a in desk.active.values() if a.is_queued]
        waits = Counter((why, stuck) for why, stuck in queued if why or stuck)
        if desk.now() < self._after or waits.keys() <= self._told:
            return
        self._told, self._after = frozenset(waits), desk.now() + NEWS_S
        told = (QueueWait(why, n, stuck) for (why, stuck), n in waits.most_common())
        desk.emit(QueueWaits(tuple(told)))

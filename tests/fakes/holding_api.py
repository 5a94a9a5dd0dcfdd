"""A simulated Claude that answers only when it is let: a worker can be looked at meanwhile."""

from __future__ import annotations

import threading

from claude.http.plain_http import Incoming, Outgoing
from claude.simulation.api import SimulatedApi
from core.bundle import SimulationSettings
from core.clock import SystemClock


class HoldingApi:
    """Answers nothing before it is `released`."""

    def __init__(self, faults: str = "") -> None:
        self._api = SimulatedApi(SimulationSettings(speed=0, faults=faults), SystemClock())
        self.asked: list[Incoming] = []
        self.released = threading.Event()

    def handle(self, incoming: Incoming) -> Outgoing:
        self.asked.append(incoming)
        assert self.released.wait(200)
        return self._api.handle(incoming)

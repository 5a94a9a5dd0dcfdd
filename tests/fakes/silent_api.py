"""A simulated Claude, served on loopback, that falls silent in the middle of an answer."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from claude.http.plain_http import Incoming, Outgoing
from claude.simulation.api import SimulatedApi
from claude.simulation.server import serve
from core.bundle import ModelSettings, SimulationSettings
from core.clock import SystemClock
from tests.fakes.simulated import MODELS

NO_WAITING = SimulationSettings(speed=0)
EMPTY_PIECE = (
    b"event: content_block_delta\n"
    b'data: {"type": "content_block_delta", "index": 0,'
    b' "delta": {"type": "text_delta", "text": ""}}\n\n'
)


class SilentApi:
    """Sends so many pieces of each answer, and the rest once `spoke` is set. Without any, it does
    not even begin to answer. `is_silent` is set when it has fallen silent; `empty` pieces keep the
    connection then."""

    def __init__(self, pieces: int, empty: bool = False) -> None:
        self._api = SimulatedApi(NO_WAITING, SystemClock())
        self._pieces, self._empty = pieces, empty
        self.is_silent, self.spoke = threading.Event(), threading.Event()

    def handle(self, incoming: Incoming) -> Outgoing:
        if not self._pieces:
            self._be_silent()
        answer = self._api.handle(incoming)
        return replace(answer, body=self._interrupted(answer.body))

    def _interrupted(self, body: Iterable[bytes]) -> Iterator[bytes]:
        for number, piece in enumerate(body, 1):
            yield piece
            if number == self._pieces:
                while self._empty and not self.spoke.wait(0.005):
                    yield EMPTY_PIECE
                self._be_silent()

    def _be_silent(self) -> None:
        self.is_silent.set()
        assert self.spoke.wait(200)


@contextmanager
def silent_server(
    pieces: int, provider: str = "anthropic", *, empty: bool = False
) -> Iterator[tuple[SilentApi, ModelSettings]]:
    """The API, and the settings of a client that asks it."""
    api = SilentApi(pieces, empty)
    with serve(0, NO_WAITING, SystemClock(), api=api) as server:
        try:
            yield api, ModelSettings(provider, MODELS[provider], base_url=server.base_url)
        finally:
            api.spoke.set()

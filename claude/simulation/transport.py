"""Carries the simulated API in process, as a transport below the real SDK's HTTP client."""

from collections.abc import Iterable, Iterator

import httpx2

from claude.http.plain_http import ConnectionCut, Incoming
from claude.simulation.api import SimulatedApi
from core.bundle import SimulationSettings
from core.clock import Clock


def _stream(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Gives pieces as they come, so that waiting and breaking are felt in mid-stream."""
    try:
        yield from pieces
    except ConnectionCut:
        cut = "peer closed connection without sending complete message body"
        raise httpx2.RemoteProtocolError(cut) from None


class SimulatedTransport(httpx2.BaseTransport):
    """Answers every request itself; nothing leaves the process, whatever the URL says."""

    def __init__(self, api: SimulatedApi) -> None:
        self._api = api

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        incoming = Incoming(
            request.method,
            request.url.raw_path.decode("ascii"),
            {name.lower(): value for name, value in request.headers.items()},
            request.read(),
        )
        outgoing = self._api.handle(incoming)
        headers, body = dict(outgoing.headers), _stream(outgoing.body)
        return httpx2.Response(outgoing.status, headers=headers, content=body)


def build_transport(settings: SimulationSettings, clock: Clock) -> SimulatedTransport:
    """A transport for the settings. Raises SettingsError when the faults cannot be read."""
    return SimulatedTransport(SimulatedApi(settings, clock))

"""Records one answer as it came, so that it can be passed on to another program unchanged."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2


class RecordedResponse:
    """The response's headers and its events. In the end it holds the try that succeeded. `cut`,
    from another thread, breaks the connection that a read may be waiting on."""

    def __init__(self) -> None:
        self.headers: Mapping[str, str] = {}
        self.events: list[dict[str, Any]] = []
        self._response: httpx2.Response | None = None

    def begin(self, response: httpx2.Response) -> None:
        self.headers, self.events, self._response = response.headers, [], response

    def cut(self) -> None:
        if self._response is None:
            return
        network = self._response.extensions.get("network_stream")
        if network is not None and (wire := network.get_extra_info("socket")) is not None:
            with suppress(OSError):
                # below TLS, whose state belongs to the thread that reads
                socket.socket.shutdown(wire, socket.SHUT_RDWR)

"""Ends what a client waits for at once: a read from a socket heeds no clock."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import httpx2
    from anthropic import Anthropic, AnthropicBedrock

_OPENED = ("connect_tcp.complete", "start_tls.complete")


class Connections:
    """Of one client, for one request at a time."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._is_cut = False

    def of(self, sdk: Anthropic | AnthropicBedrock) -> Self:
        """Follow those of `sdk`, by https://www.python-httpx.org/advanced/extensions/#trace"""
        sdk._client.event_hooks = {"request": [self._follow]}
        return self

    def cut(self) -> None:
        """From any thread: whoever reads, now or later, gets an end of the stream."""
        self._is_cut = True
        if self._socket is not None:
            with suppress(OSError):  # closed meanwhile
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # below TLS

    def _follow(self, request: httpx2.Request) -> None:
        request.extensions = {**request.extensions, "trace": self._traced}

    def _traced(self, name: str, info: Mapping[str, Any]) -> None:
        if name.endswith(_OPENED):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._is_cut:
                self.cut()

"""Serves the simulated API on this machine's loopback, for other programs and for real HTTP.

Streams are chunked. A client that goes away, or a clock that was stopped, ends its connection.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Protocol, Self

from claude.simulation.api import MAX_BODY_BYTES, ConnectionCut, Incoming, Outgoing, SimulatedApi
from core.bundle import SimulationSettings
from core.clock import Clock
from core.errors import Interrupted, SettingsError, UsageError

HOST = "127.0.0.1"
_IDLE_TIMEOUT_S = 120.0

_log = logging.getLogger(__name__)


def serve(
    port: int, settings: SimulationSettings, clock: Clock, *, api: Api | None = None
) -> SimulatedServer:
    """Serve on `port` (0: any free one) until closed.

    Raises SettingsError when the port cannot be had or the faults cannot be read.
    """
    handler = api or SimulatedApi(settings, clock)
    try:
        return SimulatedServer(port, handler)
    except (OSError, OverflowError) as exc:
        raise SettingsError(
            f"Port {port} of {HOST} cannot be used: {exc}.", "Choose another --port, or 0 for any."
        ) from exc


def serve_until_stopped(
    port: int, settings: SimulationSettings | None, clock: Clock, say: Callable[[str], None]
) -> int:
    """The command: serve, say where, and go on until Ctrl-C, which is how it ends well."""
    if settings is None:
        raise UsageError("The simulated API cannot be real.", "Leave out --real.")
    with contextlib.suppress(KeyboardInterrupt), serve(port, settings, clock) as server:
        say(f"The simulated Claude listens on {server.base_url}; Ctrl-C ends it.\n")
        while True:
            clock.sleep(3600)
    return 0


class Api(Protocol):
    """Answers plain HTTP requests: a SimulatedApi, or one around it."""

    def handle(self, incoming: Incoming) -> Outgoing: ...


class SimulatedServer:
    """A running server; a context manager that closes it."""

    def __init__(self, port: int, api: Api) -> None:
        self._http = _Server((HOST, port), _Handler)
        self._http.api = api
        self._thread = threading.Thread(
            target=self._http.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="simulated-api",
            daemon=True,
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def close(self) -> None:
        """Stop listening and cut the connections that are open."""
        self._http.shutdown()
        self._http.cut_connections()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    api: Api

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer would look up the host's name, which can take seconds without a network
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        """End what is open; its threads then come to their end by themselves."""
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        _log.debug("connection from %s ended early", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "SimulatedClaude"
    sys_version = ""
    timeout = _IDLE_TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_GET  # noqa: N815 - as above

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        _log.debug("%s " + format, self.client_address, *args)

    def _serve(self) -> None:
        body = self._read_body()
        if body is None:
            self.close_connection = True
            self.send_error(413 if self._length() else 400)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        outgoing = self.server.api.handle(Incoming(self.command, self.path, headers, body))
        try:
            self._send(outgoing)
        except (ConnectionCut, Interrupted):
            self.close_connection = True

    def _length(self) -> int | None:
        text = self.headers.get("content-length", "0")
        return int(text) if text.isascii() and text.isdigit() else None

    def _read_body(self) -> bytes | None:
        """The request's body; None when its length is missing, malformed or far too large."""
        length = self._length()
        if length is None or length > 2 * MAX_BODY_BYTES or "transfer-encoding" in self.headers:
            return None
        return self.rfile.read(length)

    def _send(self, outgoing: Outgoing) -> None:
        self.send_response(outgoing.status)
        self._send_headers(outgoing.headers, outgoing.length)
        if self.command == "HEAD":
            return
        for piece in outgoing.body:
            if piece:
                framed = (
                    piece if outgoing.length is not None else b"%x\r\n%b\r\n" % (len(piece), piece)
                )
                self.wfile.write(framed)
        if outgoing.length is None:
            self.wfile.write(b"0\r\n\r\n")

    def _send_headers(self, headers: Mapping[str, str], length: int | None) -> None:
        for name, value in headers.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(length))
        self.end_headers()

"""Serves an Api on this machine's loopback. Streams are chunked.

A client that goes away, or a stopped clock, ends its connection; closing the server ends all.
"""

import contextlib
import logging
import select
import socket
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from claude.http.plain_http import HOST, MAX_BODY_BYTES, Api, ConnectionCut, Incoming, Outgoing
from core.errors import Interrupted

_IDLE_TIMEOUT_S = 120.0

_log = logging.getLogger(__name__)


class LoopbackServer:
    """A running server called `name`; a context manager that closes it. Raises OSError
    or OverflowError when the port cannot be had; 0 is any free one."""

    def __init__(self, port: int, api: Api, name: str) -> None:
        self._http = _Server(port, api, name)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, name=name, daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def close(self, patience_s: float = 0.0) -> None:
        """Stop listening and cut the connections that are open; wait so long for their threads."""
        self._http.shutdown()
        self._http.cut_connections()
        self._http.server_close()
        self._thread.join()
        self._http.await_threads(patience_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, api: Api, name: str) -> None:
        self.api, self.name = api, name
        self._open: set[socket.socket] = set()
        self._working: set[threading.Thread] = set()
        super().__init__((HOST, port), _Handler)

    def server_bind(self) -> None:
        # HTTPServer would look up the host's name, which can take seconds without a network
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def process_request_thread(
        self, request: socket.socket | tuple[bytes, socket.socket], client_address: object
    ) -> None:
        threading.current_thread().name = f"{self.name} connection"
        self._working.add(threading.current_thread())
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._working.discard(threading.current_thread())

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        """End what is open; its threads then come to their end by themselves."""
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def await_threads(self, patience_s: float) -> None:
        ends_s = time.monotonic() + patience_s
        for thread in tuple(self._working):
            thread.join(max(0.0, ends_s - time.monotonic()))

    def handle_error(self, request: object, client_address: object) -> None:
        _log.debug("connection from %s ended early", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_TIMEOUT_S
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_GET  # noqa: N815 - as above

    def version_string(self) -> str:
        return self.server.name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        _log.debug("%s " + format, self.client_address, *args)

    def _serve(self) -> None:
        body = self._read_body()
        if isinstance(body, int):
            self.close_connection = True
            self.send_error(body)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        incoming = Incoming(self.command, self.path, headers, body, self._is_gone)
        try:
            self._send(self.server.api.handle(incoming))
        except (ConnectionCut, Interrupted):
            self.close_connection = True

    def _is_gone(self) -> bool:
        """A client that waits for an answer sends nothing: what can be read is the end."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def _read_body(self) -> bytes | int:
        """The request's body, or the status that refuses a malformed or far too large one."""
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or "transfer-encoding" in self.headers:
            return 400
        if int(length) > 2 * MAX_BODY_BYTES:
            return 413
        return self.rfile.read(int(length))

    def _send(self, outgoing: Outgoing) -> None:
        chunked = outgoing.length is None
        self.send_response(outgoing.status)
        for name, value in outgoing.headers.items():
            self.send_header(name, value)
        if chunked:
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("content-length", str(outgoing.length))
        self.end_headers()
        if self.command == "HEAD":
            return
        for piece in filter(None, outgoing.body):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

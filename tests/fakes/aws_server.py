"""Serves an AWS of the tests on loopback, for programs that reach it by AWS_ENDPOINT_URL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What is sent back."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


Answering = Callable[[str, str, Mapping[str, str], bytes], Answer]
"""Answers a method, a path with its query, headers and a body."""


@contextmanager
def served(answering: Answering) -> Iterator[str]:
    """The address where `answering` is asked meanwhile."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answering))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def _handler(answering: Answering) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = answering(self.command, self.path, dict(self.headers.items()), body)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_PUT = do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815 - the server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    return Handler

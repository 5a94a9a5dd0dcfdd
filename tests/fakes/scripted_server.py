"""A provider on loopback that answers as told, for the real SDKs over real HTTP."""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from claude.simulation.wire import render_exception_frame, render_sse
from tests.fakes.simulated import message_events, text_block

REQUEST_ID = "req_011CTestTest"


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass(frozen=True)
class Told:
    """An answer. `reset` cuts the connection instead."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False


Answering = Callable[[Asked], Told]


class ScriptedServer:
    def __init__(self, answer: Answering) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.url = ""


@contextmanager
def scripted_server(answer: Answering | Told) -> Iterator[ScriptedServer]:
    """Serves on loopback; its `asked` are the requests so far."""
    server = ScriptedServer((lambda _: answer) if isinstance(answer, Told) else answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, body)
            server.asked.append(asked)
            told = server.answer(asked)
            if told.reset:
                # no linger: the system sends RST
                option = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
                self.close_connection = True
                return
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        do_POST = do_PUT = do_GET  # noqa: N815 - the base's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    class Http(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def server_bind(self) -> None:
            # HTTPServer would look up the host's name
            socketserver.TCPServer.server_bind(self)
            self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # a client that breaks off

    http = Http(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def api_refusal(
    status: int, name: str, text: str, *, retry_after: str = "", error_code: str = ""
) -> Told:
    """A refusal as the Anthropic API words it.
    https://platform.claude.com/docs/en/api/errors"""
    error: dict[str, Any] = {"type": name, "message": text}
    if error_code:
        error["details"] = {"error_code": error_code}
    body = json.dumps({"type": "error", "error": error, "request_id": REQUEST_ID}).encode()
    headers = {"content-type": "application/json", "request-id": REQUEST_ID}
    return Told(status, body, headers | ({"retry-after": retry_after} if retry_after else {}))


def aws_refusal(status: int, name: str, text: str, *, key: str = "message") -> Told:
    """A refusal as Bedrock words it; its sign-in writes `Message`, and no name at all.
    https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html"""
    headers = {"content-type": "application/json", "x-amzn-requestid": REQUEST_ID}
    if name:
        headers["x-amzn-errortype"] = f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/"
    return Told(status, json.dumps({key: text}).encode(), headers)


def api_refusal_in_stream(name: str, text: str) -> Told:
    """A stream that has begun and ends in an error event."""
    events = [
        *message_events(text_block("x"))[:2],
        {"type": "error", "error": {"type": name, "message": text}},
    ]
    headers = {"content-type": "text/event-stream", "request-id": REQUEST_ID}
    return Told(200, b"".join(render_sse(dict(e)) for e in events), headers)


def aws_refusal_in_stream(name: str, text: str) -> Told:
    headers = {
        "content-type": "application/vnd.amazon.eventstream",
        "x-amzn-requestid": REQUEST_ID,
    }
    return Told(200, render_exception_frame(name, text), headers)


def web_page(status: int = 200) -> Told:
    return Told(status, b"<html><h1>Sign in</h1></html>", {"content-type": "text/html"})


def hello() -> Told:
    """The streamed answer to one token's request, of the Anthropic API."""
    usage = {"input_tokens": 14, "output_tokens": 1}
    events = message_events(text_block("Hi"), stop_reason="max_tokens", usage=usage)
    headers = {"content-type": "text/event-stream", "request-id": REQUEST_ID}
    return Told(200, b"".join(render_sse(dict(e)) for e in events), headers)

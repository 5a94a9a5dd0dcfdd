"""A small HTTP server: routes in, responses out. It does not know what the program is about."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from shop_app.contract import AppError, Invalid, NotFound

MAX_BODY_BYTES = 64 * 1024
_CONTENT_TYPES = {".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
_LOG = logging.getLogger(__name__)


class HttpError(AppError):
    """A request that is refused before any route sees it."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """What a route gets: the values of a form or JSON body, and of the query string."""

    record_id: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)

    def pick(self, *names: str) -> dict[str, Any]:
        """The values of these names; None for one that was not sent."""
        return {name: self.values.get(name) for name in names}


@dataclass(frozen=True)
class Response:
    body: bytes
    content_type: str
    status: int = HTTPStatus.OK
    location: str = ""


Handler = Callable[[Request], Response]


@dataclass(frozen=True)
class Route:
    """One method and path; {id} in the path stands for a number."""

    method: str
    path: str
    handle: Handler

    def match(self, path: str) -> re.Match[str] | None:
        return re.fullmatch(re.escape(self.path).replace(r"\{id\}", "([0-9]{1,15})"), path)


def json_response(value: Any, status: int = HTTPStatus.OK) -> Response:
    """Dataclasses, and lists of them, as JSON."""
    return Response(json.dumps(value, default=asdict).encode(), "application/json", status)


def html_response(document: str, status: int = HTTPStatus.OK) -> Response:
    return Response(document.encode(), "text/html; charset=utf-8", status)


def redirect(location: str) -> Response:
    """See other: the browser asks for the page anew, so that reloading does not post again."""
    return Response(b"", "text/plain", HTTPStatus.SEE_OTHER, location)


def static_routes(folder: Path) -> list[Route]:
    """One route for each file in the folder; nothing else in it or above can be asked for."""
    return [
        Route("GET", f"/static/{path.name}", partial(_send_file, path))
        for path in sorted(folder.iterdir())
        if path.suffix in _CONTENT_TYPES
    ]


def _send_file(path: Path, request: Request) -> Response:
    return Response(path.read_bytes(), _CONTENT_TYPES[path.suffix])


def make_server(
    routes: Sequence[Route], error_page: Callable[[int, str], str], host: str, port: int
) -> ThreadingHTTPServer:
    """A server that is bound but not yet serving; port 0 takes a free one.

    `error_page` makes the HTML for errors outside /api/, which answers errors in JSON.
    """
    try:
        return ThreadingHTTPServer((host, port), partial(_Connection, tuple(routes), error_page))
    except (OSError, OverflowError) as error:
        raise AppError(f"cannot listen on {host}:{port}: {error}") from error


class _Connection(BaseHTTPRequestHandler):
    timeout = 30  # seconds a client may be silent

    def __init__(
        self, routes: Sequence[Route], error_page: Callable[[int, str], str], *args: Any
    ) -> None:
        self._routes = routes
        self._error_page = error_page
        super().__init__(*args)

    def log_message(self, format: str, *args: Any) -> None:
        _LOG.info(format, *args)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        try:
            response = self._answer(path)
        except AppError as error:
            response = self._error(path, _status(error), str(error))
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        if response.location:
            self.send_header("Location", response.location)
        self.end_headers()
        self.wfile.write(response.body)

    do_POST = do_PATCH = do_DELETE = do_GET

    def _answer(self, path: str) -> Response:
        found = [(route, match) for route in self._routes if (match := route.match(path))]
        if not found:
            raise HttpError(HTTPStatus.NOT_FOUND, "there is nothing at this address")
        for route, match in found:
            if route.method == self.command:
                record_id = int(match[1]) if match.groups() else 0
                return route.handle(Request(record_id, self._values(), self._query()))
        raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, f"{self.command} does not work here")

    def _query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query))

    def _values(self) -> dict[str, Any]:
        if self.command == "GET":
            return {}
        origin = self.headers.get("Origin", "")
        if origin and urlsplit(origin).netloc != self.headers.get("Host"):
            raise HttpError(HTTPStatus.FORBIDDEN, "requests from other sites are refused")
        body = self._body()
        if not body:
            return {}
        if self.headers.get_content_type() == "application/x-www-form-urlencoded":
            return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        if self.headers.get_content_type() == "application/json":
            return _parse_object(body)
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send a form or application/json")

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not re.fullmatch(r"[0-9]{1,15}", length):
            raise Invalid("Content-Length is not a number")
        if int(length) > MAX_BODY_BYTES:
            raise HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too large")
        return self.rfile.read(int(length))

    def _error(self, path: str, status: HTTPStatus, message: str) -> Response:
        if path.startswith("/api/"):
            return json_response({"error": message}, status)
        return html_response(self._error_page(status, message), status)


def _status(error: AppError) -> HTTPStatus:
    if isinstance(error, HttpError):
        return error.status
    if isinstance(error, NotFound):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, Invalid):
        return HTTPStatus.BAD_REQUEST
    return HTTPStatus.INTERNAL_SERVER_ERROR


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid("the body is not JSON") from error
    if not isinstance(value, dict):
        raise Invalid("the body is not a JSON object")
    return value

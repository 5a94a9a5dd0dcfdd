from __future__ import annotations

import json
import threading
import unittest
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory

from todo_app.contract import Invalid, NotFound
from todo_app.server import (
    MAX_BODY_BYTES,
    Request,
    Response,
    Route,
    html_response,
    json_response,
    make_server,
    redirect,
    static_routes,
)


def _refuse(request: Request) -> Response:
    if request.record_id == 404:
        raise NotFound("gone")
    raise Invalid("<bad>")


ROUTES = [
    Route("GET", "/", lambda r: html_response(f"hello {r.query.get('q', '')}")),
    Route("POST", "/", lambda r: redirect("/next")),
    Route("POST", "/api/echo", lambda r: json_response(r.values)),
    Route("GET", "/api/{id}", lambda r: json_response(r.record_id)),
    Route("DELETE", "/api/{id}", _refuse),
    Route("DELETE", "/{id}", _refuse),
]


class ServerTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        (Path(folder.name) / "style.css").write_text("body {}", encoding="utf-8")
        (Path(folder.name) / "secret.txt").write_text("secret", encoding="utf-8")
        routes = [*ROUTES, *static_routes(Path(folder.name))]
        server = make_server(routes, lambda status, text: f"page {status:d}", "127.0.0.1", 0)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.port = server.server_port

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        self.addCleanup(connection.close)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()

    def test_a_route_answers_with_safe_headers(self) -> None:
        status, headers, body = self.ask("GET", "/?q=you")
        self.assertEqual((status, body), (200, b"hello you"))
        self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
        self.assertIn("default-src 'self'", headers["Content-Security-Policy"])

    def test_a_redirect_says_where(self) -> None:
        status, headers, _ = self.ask("POST", "/")
        self.assertEqual((status, headers["Location"]), (303, "/next"))

    def test_json_and_form_bodies_become_values(self) -> None:
        for kind, body in (
            ("application/json", b'{"title": "x"}'),
            ("application/x-www-form-urlencoded", b"title=x"),
        ):
            with self.subTest(kind=kind):
                status, _, answer = self.ask("POST", "/api/echo", body, Content_Type=kind)
                self.assertEqual((status, json.loads(answer)), (200, {"title": "x"}))

    def test_bodies_that_are_no_object_are_refused(self) -> None:
        for body in (b"{", b"[1]", b"\xff", b"[" * 20_000):
            with self.subTest(body=body[:4]):
                answer = self.ask("POST", "/api/echo", body, Content_Type="application/json")
                self.assertEqual(answer[0], 400)

    def test_refusals_have_their_own_status(self) -> None:
        for expected, method, path, headers in (
            (404, "GET", "/absent", {}),
            (404, "DELETE", "/api/404", {}),
            (400, "DELETE", "/api/1", {}),
            (405, "PATCH", "/api/1", {}),
            (403, "POST", "/", {"Origin": "http://elsewhere.example"}),
            (413, "POST", "/", {"Content_Length": str(MAX_BODY_BYTES + 1)}),
            (400, "POST", "/", {"Content_Length": "many"}),
        ):
            with self.subTest(path=path, method=method, headers=headers):
                self.assertEqual(self.ask(method, path, **headers)[0], expected)

    def test_a_body_of_another_type_is_refused(self) -> None:
        self.assertEqual(self.ask("POST", "/", b"title=x", Content_Type="text/plain")[0], 415)

    def test_errors_are_json_below_api_and_pages_elsewhere(self) -> None:
        self.assertEqual(json.loads(self.ask("DELETE", "/api/1")[2]), {"error": "<bad>"})
        self.assertEqual(self.ask("DELETE", "/1")[2], b"page 400")

    def test_only_known_files_of_the_folder_are_served(self) -> None:
        self.assertEqual(self.ask("GET", "/static/style.css")[2], b"body {}")
        for path in ("/static/secret.txt", "/static/../server.py", "/static/%2e%2e/server.py"):
            with self.subTest(path=path):
                self.assertEqual(self.ask("GET", path)[0], 404)

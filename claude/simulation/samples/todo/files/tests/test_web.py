from __future__ import annotations

import json
import tempfile
import unittest
from pathlib import Path
from typing import Any

from todo_app.contract import ROUTES, Invalid
from todo_app.server import Request, Response
from todo_app.storage import Database
from todo_app.web import STATIC, build_routes

NEW_TODO = {
    "title": "Buy milk",
}


class WebTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.routes = build_routes(Database(Path(folder.name) / "data.json"))

    def ask(self, method: str, path: str, query: str = "", **values: Any) -> Response:
        for route in self.routes:
            if route.method == method and (match := route.match(path)):
                record_id = int(match[1]) if match.groups() else 0
                return route.handle(Request(record_id, values, {"q": query} if query else {}))
        raise AssertionError(f"no route for {method} {path}")

    def json(self, method: str, path: str, query: str = "", **values: Any) -> Any:
        return json.loads(self.ask(method, path, query, **values).body)

    def test_exactly_the_routes_of_the_contract_are_served(self) -> None:
        served = {(route.method, route.path) for route in self.routes}
        files = {("GET", f"/static/{path.name}") for path in STATIC.iterdir()}
        self.assertEqual(served, {*ROUTES, *files})

    def test_todos_of_the_api_appear_on_the_page(self) -> None:
        response = self.ask("POST", "/api/todos", **NEW_TODO)
        self.assertEqual(response.status, 201)
        self.assertEqual(self.json("GET", "/api/todos/1"), json.loads(response.body))
        self.assertEqual(len(self.json("GET", "/api/todos")), 1)
        self.assertIn("Buy milk", self.ask("GET", "/").body.decode())

    def test_todos_of_the_form_appear_in_the_api(self) -> None:
        response = self.ask("POST", "/todos", **NEW_TODO)
        self.assertEqual((response.status, response.location), (303, "/"))
        self.assertEqual(self.json("GET", "/api/todos")[0]["title"], "Buy milk")

    def test_a_bad_todo_is_refused_and_not_stored(self) -> None:
        with self.assertRaises(Invalid):
            self.ask("POST", "/api/todos")
        self.assertEqual(self.json("GET", "/api/todos"), [])

    def test_delete_of_todos_works_on_page_and_api(self) -> None:
        self.ask("POST", "/api/todos", **NEW_TODO)
        self.ask("POST", "/api/todos", **NEW_TODO)
        self.ask("POST", "/todos/1/delete")
        self.assertEqual(self.json("DELETE", "/api/todos/2")["id"], 2)
        self.assertEqual(self.json("GET", "/api/todos"), [])

    def test_complete_of_todos_works_on_page_and_api(self) -> None:
        self.ask("POST", "/api/todos", **NEW_TODO)
        changed = self.json("POST", "/api/todos/1/complete")
        self.assertIs(changed["completed"], True)
        self.ask("POST", "/todos/1/complete")
        self.assertIs(self.json("GET", "/api/todos/1")["completed"], True)

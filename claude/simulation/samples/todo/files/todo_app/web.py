"""The web side of Todo List: pages for people, and a JSON API under /api/."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from todo_app import pages
from todo_app.contract import TITLE
from todo_app.server import (
    Handler,
    Request,
    Response,
    Route,
    html_response,
    json_response,
    make_server,
    redirect,
    static_routes,
)
from todo_app.storage import Database
from todo_app.todos import Todos

STATIC = Path(__file__).parent / "static"


def build_routes(database: Database) -> list[Route]:
    """Everything the server answers."""
    return [
        *_todo_pages(Todos(database)),
        *_todo_api(Todos(database)),
        *static_routes(STATIC),
    ]


def serve(database: Database, host: str, port: int) -> None:
    """Answer requests until Ctrl-C; prints the address first. Port 0 takes a free one."""
    with make_server(build_routes(database), pages.render_error, host, port) as server:
        print(f"Serving {TITLE} on http://{host}:{server.server_port}/", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("Stopped.")


def _form(page: str, act: Callable[[Request], object]) -> Handler:
    """A handler that acts and sends the browser back to the page."""

    def handle(request: Request) -> Response:
        act(request)
        return redirect(page)

    return handle


def _todo_pages(todos: Todos) -> list[Route]:
    def page(request: Request) -> Response:
        return html_response(pages.render_todos(todos.all()))

    return [
        Route("GET", "/", page),
        Route("POST", "/todos", _form("/", lambda r: todos.add(**r.pick("title")))),
        Route("POST", "/todos/{id}/delete", _form("/", lambda r: todos.delete(r.record_id))),
        Route("POST", "/todos/{id}/complete", _form("/", lambda r: todos.complete(r.record_id))),
    ]


def _todo_api(todos: Todos) -> list[Route]:
    return [
        Route("GET", "/api/todos", lambda r: json_response(todos.all())),
        Route(
            "POST",
            "/api/todos",
            lambda r: json_response(todos.add(**r.pick("title")), HTTPStatus.CREATED),
        ),
        Route("GET", "/api/todos/{id}", lambda r: json_response(todos.get(r.record_id))),
        Route("DELETE", "/api/todos/{id}", lambda r: json_response(todos.delete(r.record_id))),
        Route(
            "POST",
            "/api/todos/{id}/complete",
            lambda r: json_response(todos.complete(r.record_id)),
        ),
    ]

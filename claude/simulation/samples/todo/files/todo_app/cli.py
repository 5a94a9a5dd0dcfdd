"""The command line of Todo List: arguments in, one answer out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from todo_app.contract import (
    DATA_VARIABLE,
    DEFAULT_DATA_FILE,
    DEFAULT_HOST,
    DEFAULT_PORT,
    TITLE,
    AppError,
    Todo,
)
from todo_app.storage import Database
from todo_app.todos import Todos

Serve = Callable[[Database, str, int], None]


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; each command knows the function that runs it."""
    parser = argparse.ArgumentParser(prog="python3 -m todo_app", description=TITLE)
    parser.add_argument(
        "--data",
        metavar="FILE",
        default=os.environ.get(DATA_VARIABLE) or DEFAULT_DATA_FILE,
        help=f"the data file (default: ${DATA_VARIABLE}, else {DEFAULT_DATA_FILE})",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_todo_commands(commands)
    _add_serve_command(commands)
    return parser


def main(arguments: Sequence[str], serve: Serve) -> int:
    """Run one command; the exit code is 1 when it cannot be carried out."""
    args = build_parser().parse_args(arguments)
    database = Database(Path(args.data))
    try:
        if args.command == "serve":
            serve(database, args.host, args.port)
        else:
            print(args.run(database, args))
    except AppError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _add_serve_command(commands: Any) -> None:
    parser = commands.add_parser("serve", help="open the web page and the JSON API")
    parser.add_argument("--host", default=DEFAULT_HOST, help=f"default: {DEFAULT_HOST}")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"default: {DEFAULT_PORT}")


def _printable(text: str) -> str:
    """One line without control characters, so that no text controls the terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _add_todo_commands(commands: Any) -> None:
    parser = commands.add_parser("add", help="store a new todo")
    parser.add_argument("title")
    parser.set_defaults(
        run=lambda database, args: "Added " + _show_todo(Todos(database).add(title=args.title))
    )

    parser = commands.add_parser("list", help="show all todos")
    parser.set_defaults(run=lambda database, args: _list_todos(Todos(database).all()))

    parser = commands.add_parser("delete", help="remove a todo")
    parser.add_argument("id", type=int)
    parser.set_defaults(
        run=lambda database, args: "Deleted " + _show_todo(Todos(database).delete(args.id))
    )

    parser = commands.add_parser("complete", help="mark a todo as completed")
    parser.add_argument("id", type=int)
    parser.set_defaults(
        run=lambda database, args: "Completed " + _show_todo(Todos(database).complete(args.id))
    )


def _show_todo(record: Todo) -> str:
    parts = [f"{record.id}. {record.title}"]
    if record.completed:
        parts.append("[completed]")
    return _printable("  ".join(parts))


def _list_todos(records: Sequence[Todo]) -> str:
    return "\n".join(map(_show_todo, records)) or "No todos."

"""The rules for todos. Command line and web both come through here."""

from __future__ import annotations

from todo_app import fields
from todo_app.contract import Todo
from todo_app.storage import Database

CHECKS = {
    "title": fields.text,
}


class Todos:
    """All todos of one database."""

    def __init__(self, database: Database) -> None:
        self._table = database.table("todos", Todo)

    def all(self) -> list[Todo]:
        """Every todo, oldest first."""
        return self._table.all()

    def get(self, record_id: int) -> Todo:
        """The todo with this id; raises NotFound."""
        return self._table.get(record_id)

    def add(self, title: str) -> Todo:
        """Store a new todo; raises Invalid when a value does not fit."""
        values = {"title": title}
        return self._table.insert(**fields.check(CHECKS, values))

    def delete(self, record_id: int) -> Todo:
        """Remove and return the todo; raises NotFound."""
        return self._table.delete(record_id)

    def complete(self, record_id: int) -> Todo:
        """Mark the todo as completed; raises NotFound."""
        return self._table.update(record_id, completed=True)

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from todo_app.contract import Invalid, NotFound, Todo
from todo_app.storage import Database
from todo_app.todos import Todos

NEW_TODO = {
    "title": "Buy milk",
}


class TodosTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        database = Database(Path(folder.name) / "data.json")
        self.todos = Todos(database)

    def make(self) -> Todo:
        return self.todos.add(**NEW_TODO)

    def test_a_new_todo_is_listed(self) -> None:
        record = self.make()
        self.assertEqual(self.todos.all(), [record])
        self.assertEqual(self.todos.get(record.id), record)
        self.assertEqual(record.title, "Buy milk")

    def test_an_empty_title_is_refused(self) -> None:
        with self.assertRaises(Invalid):
            self.todos.add(**{**NEW_TODO, "title": ""})
        self.assertEqual(self.todos.all(), [])

    def test_delete_leaves_the_others(self) -> None:
        first, second = self.make(), self.make()
        self.assertEqual(self.todos.delete(first.id), first)
        self.assertEqual(self.todos.all(), [second])

    def test_complete_sets_completed(self) -> None:
        record = self.make()
        other = self.make()
        self.assertIs(self.todos.complete(record.id).completed, True)
        self.assertIs(self.todos.get(record.id).completed, True)
        self.assertIs(self.todos.get(other.id).completed, False)

    def test_an_unknown_id_is_not_found(self) -> None:
        self.make()
        for act in (
            self.todos.get,
            self.todos.delete,
            self.todos.complete,
        ):
            with self.subTest(act=act), self.assertRaises(NotFound):
                act(99)

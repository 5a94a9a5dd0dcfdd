from __future__ import annotations

import tempfile
import threading
import unittest
from pathlib import Path

from todo_app import fields
from todo_app.contract import MAX_TEXT_CHARS, AppError, Invalid, NotFound, Todo
from todo_app.storage import Database

NEW_TODO = {
    "title": "Buy milk",
}


class StorageTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "data.json"
        self.table = Database(self.path).table("todos", Todo)

    def insert(self) -> Todo:
        return self.table.insert(**NEW_TODO)

    def test_records_survive_the_program(self) -> None:
        record = self.insert()
        self.assertEqual(Database(self.path).table("todos", Todo).all(), [record])

    def test_ids_are_never_used_twice(self) -> None:
        self.table.delete(self.insert().id)
        self.assertEqual(self.insert().id, 2)

    def test_an_unknown_id_is_not_found(self) -> None:
        for act in (self.table.get, self.table.update, self.table.delete):
            with self.subTest(act=act), self.assertRaises(NotFound):
                act(99)

    def test_an_error_inside_a_transaction_saves_nothing(self) -> None:
        database = Database(self.path)
        table = database.table("todos", Todo)
        with self.assertRaises(ZeroDivisionError), database.transaction():
            table.insert(**NEW_TODO)
            raise ZeroDivisionError
        self.assertEqual(table.all(), [])

    def test_a_damaged_file_is_reported_and_left_alone(self) -> None:
        for text in (
            "{",
            "[]",
            '{"todos": 3}',
            '{"todos": {"next_id": 1, "rows": [{}]}}',
            '{"todos": {"next_id": 1, "rows": [{"id": 1, "unknown": 2}]}}',
        ):
            self.path.write_text(text, encoding="utf-8")
            with self.subTest(text=text), self.assertRaises(AppError):
                self.table.all()
            self.assertEqual(self.path.read_text(encoding="utf-8"), text)

    def test_threads_do_not_lose_each_others_changes(self) -> None:
        threads = [threading.Thread(target=self.insert) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([record.id for record in self.table.all()], list(range(1, 9)))

    def test_a_folder_that_does_not_exist_is_an_error(self) -> None:
        table = Database(self.path / "absent" / "data.json").table("todos", Todo)
        with self.assertRaises(AppError):
            table.insert(**NEW_TODO)


class FieldsTest(unittest.TestCase):
    def refuse(self, check: fields.Check, *values: object) -> None:
        for value in values:
            with self.subTest(value=value), self.assertRaises(Invalid):
                check("field", value)

    def test_text_is_trimmed_and_must_not_be_empty(self) -> None:
        self.assertEqual(fields.text("field", "  so  "), "so")
        self.refuse(fields.text, None, "", "  ", 7, ["x"], "x" * (MAX_TEXT_CHARS + 1), "\ud800")

    def test_a_note_may_be_left_out(self) -> None:
        self.assertEqual(fields.note("field", None), "")

    def test_nothing_to_check_is_refused(self) -> None:
        with self.assertRaises(Invalid):
            fields.check({"title": fields.text}, {})

from __future__ import annotations

import tempfile
import threading
import unittest
from pathlib import Path

from shop_app import fields
from shop_app.contract import MAX_TEXT_CHARS, AppError, CartItem, Invalid, NotFound, Product
from shop_app.storage import Database

NEW_PRODUCT = {
    "name": "Blue mug",
    "price_cents": 1250,
}

NEW_CART_ITEM = {
    "product_id": 1,
    "quantity": 2,
}


class StorageTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "data.json"
        self.table = Database(self.path).table("products", Product, "product_id")

    def insert(self) -> Product:
        return self.table.insert(**NEW_PRODUCT)

    def test_records_survive_the_program(self) -> None:
        record = self.insert()
        self.assertEqual(Database(self.path).table("products", Product).all(), [record])

    def test_ids_are_never_used_twice(self) -> None:
        self.table.delete(self.insert().id)
        self.assertEqual(self.insert().id, 2)

    def test_an_unknown_id_is_not_found(self) -> None:
        for act in (self.table.get, self.table.update, self.table.delete):
            with self.subTest(act=act), self.assertRaises(NotFound):
                act(99)

    def test_an_error_inside_a_transaction_saves_nothing(self) -> None:
        database = Database(self.path)
        table = database.table("products", Product)
        with self.assertRaises(ZeroDivisionError), database.transaction():
            table.insert(**NEW_PRODUCT)
            raise ZeroDivisionError
        self.assertEqual(table.all(), [])

    def test_a_damaged_file_is_reported_and_left_alone(self) -> None:
        for text in (
            "{",
            "[]",
            '{"products": 3}',
            '{"products": {"next_id": 1, "rows": [{}]}}',
            '{"products": {"next_id": 1, "rows": [{"id": 1, "unknown": 2}]}}',
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
        table = Database(self.path / "absent" / "data.json").table("products", Product)
        with self.assertRaises(AppError):
            table.insert(**NEW_PRODUCT)

    def test_a_record_that_others_refer_to_stays(self) -> None:
        Database(self.path).table("cart_items", CartItem).insert(**NEW_CART_ITEM)
        record = self.insert()
        with self.assertRaises(Invalid):
            self.table.delete(record.id)
        self.assertEqual(self.table.all(), [record])


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

    def test_an_email_needs_name_and_host(self) -> None:
        self.assertEqual(fields.email("field", "ada@example.org"), "ada@example.org")
        self.refuse(fields.email, "ada", "ada@", "@example.org", "a da@example.org", "ada@example")

    def test_a_number_may_come_as_digits(self) -> None:
        self.assertEqual(fields.number("field", " 12 "), 12)
        self.refuse(fields.number, None, "", "twelve", -1, "-1", 1.5, True, 10**15, "9" * 5000)

    def test_a_count_starts_at_one(self) -> None:
        self.assertEqual(fields.count("field", 1), 1)
        self.refuse(fields.count, 0, "0")

    def test_nothing_to_check_is_refused(self) -> None:
        with self.assertRaises(Invalid):
            fields.check({"title": fields.text}, {})

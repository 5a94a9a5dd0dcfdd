from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from shop_app.contract import Customer, Invalid, NotFound
from shop_app.customers import Customers
from shop_app.storage import Database

NEW_CUSTOMER = {
    "name": "Grace Hopper",
    "email": "grace@example.org",
}


class CustomersTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        database = Database(Path(folder.name) / "data.json")
        self.customers = Customers(database)

    def make(self) -> Customer:
        return self.customers.add(**NEW_CUSTOMER)

    def test_a_new_customer_is_listed(self) -> None:
        record = self.make()
        self.assertEqual(self.customers.all(), [record])
        self.assertEqual(self.customers.get(record.id), record)
        self.assertEqual(record.name, "Grace Hopper")

    def test_an_empty_name_is_refused(self) -> None:
        with self.assertRaises(Invalid):
            self.customers.add(**{**NEW_CUSTOMER, "name": ""})
        self.assertEqual(self.customers.all(), [])

    def test_delete_leaves_the_others(self) -> None:
        first, second = self.make(), self.make()
        self.assertEqual(self.customers.delete(first.id), first)
        self.assertEqual(self.customers.all(), [second])

    def test_an_unknown_id_is_not_found(self) -> None:
        self.make()
        for act in (
            self.customers.get,
            self.customers.delete,
        ):
            with self.subTest(act=act), self.assertRaises(NotFound):
                act(99)

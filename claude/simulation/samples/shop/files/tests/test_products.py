from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from shop_app.contract import Invalid, NotFound, Product
from shop_app.products import Products
from shop_app.storage import Database

NEW_PRODUCT = {
    "name": "Blue mug",
    "price_cents": 1250,
}


class ProductsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        database = Database(Path(folder.name) / "data.json")
        self.products = Products(database)

    def make(self) -> Product:
        return self.products.add(**NEW_PRODUCT)

    def test_a_new_product_is_listed(self) -> None:
        record = self.make()
        self.assertEqual(self.products.all(), [record])
        self.assertEqual(self.products.get(record.id), record)
        self.assertEqual(record.name, "Blue mug")

    def test_an_empty_name_is_refused(self) -> None:
        with self.assertRaises(Invalid):
            self.products.add(**{**NEW_PRODUCT, "name": ""})
        self.assertEqual(self.products.all(), [])

    def test_delete_leaves_the_others(self) -> None:
        first, second = self.make(), self.make()
        self.assertEqual(self.products.delete(first.id), first)
        self.assertEqual(self.products.all(), [second])

    def test_an_unknown_id_is_not_found(self) -> None:
        self.make()
        for act in (
            self.products.get,
            self.products.delete,
        ):
            with self.subTest(act=act), self.assertRaises(NotFound):
                act(99)

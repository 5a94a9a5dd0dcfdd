from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from shop_app.cart_items import CartItems
from shop_app.contract import CartItem, Invalid, NotFound
from shop_app.products import Products
from shop_app.storage import Database

NEW_PRODUCT = {
    "name": "Blue mug",
    "price_cents": 1250,
}

NEW_CART_ITEM = {
    "product_id": 1,
    "quantity": 2,
}


class CartItemsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        database = Database(Path(folder.name) / "data.json")
        Products(database).add(**NEW_PRODUCT)
        self.cart_items = CartItems(database)

    def make(self) -> CartItem:
        return self.cart_items.add(**NEW_CART_ITEM)

    def test_a_new_cart_item_is_listed(self) -> None:
        record = self.make()
        self.assertEqual(self.cart_items.all(), [record])
        self.assertEqual(self.cart_items.get(record.id), record)
        self.assertEqual(record.product_id, 1)

    def test_an_empty_product_id_is_refused(self) -> None:
        with self.assertRaises(Invalid):
            self.cart_items.add(**{**NEW_CART_ITEM, "product_id": ""})
        self.assertEqual(self.cart_items.all(), [])

    def test_delete_leaves_the_others(self) -> None:
        first, second = self.make(), self.make()
        self.assertEqual(self.cart_items.delete(first.id), first)
        self.assertEqual(self.cart_items.all(), [second])

    def test_an_unknown_product_is_refused(self) -> None:
        with self.assertRaises(NotFound):
            self.cart_items.add(**{**NEW_CART_ITEM, "product_id": 99})

    def test_an_unknown_id_is_not_found(self) -> None:
        self.make()
        for act in (
            self.cart_items.get,
            self.cart_items.delete,
        ):
            with self.subTest(act=act), self.assertRaises(NotFound):
                act(99)

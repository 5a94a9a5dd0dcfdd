from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

from shop_app.cart_items import CartItems
from shop_app.contract import Invalid, NotFound, Order
from shop_app.orders import Orders
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

NEW_ORDER = {
    "customer": "Ada Lovelace",
}


class OrdersTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        database = Database(Path(folder.name) / "data.json")
        Products(database).add(**NEW_PRODUCT)
        self.cart_items = CartItems(database)
        self.orders = Orders(database)

    def make(self) -> Order:
        self.cart_items.add(**NEW_CART_ITEM)
        return self.orders.checkout(**NEW_ORDER)

    def test_a_new_order_is_listed(self) -> None:
        record = self.make()
        self.assertEqual(self.orders.all(), [record])
        self.assertEqual(self.orders.get(record.id), record)
        self.assertEqual(record.customer, "Ada Lovelace")

    def test_an_empty_customer_is_refused(self) -> None:
        self.cart_items.add(**NEW_CART_ITEM)
        with self.assertRaises(Invalid):
            self.orders.checkout(**{**NEW_ORDER, "customer": ""})
        self.assertEqual(self.orders.all(), [])

    def test_pay_sets_paid(self) -> None:
        record = self.make()
        other = self.make()
        self.assertIs(self.orders.pay(record.id).paid, True)
        self.assertIs(self.orders.get(record.id).paid, True)
        self.assertIs(self.orders.get(other.id).paid, False)

    def test_delete_leaves_the_others(self) -> None:
        first, second = self.make(), self.make()
        self.assertEqual(self.orders.delete(first.id), first)
        self.assertEqual(self.orders.all(), [second])

    def test_checkout_adds_up_and_empties_the_cart(self) -> None:
        order = self.make()
        self.assertEqual(order.total_cents, 2500)
        self.assertEqual(self.cart_items.all(), [])

    def test_checkout_needs_something_in_the_cart(self) -> None:
        with self.assertRaises(Invalid):
            self.orders.checkout(**NEW_ORDER)

    def test_an_unknown_id_is_not_found(self) -> None:
        self.make()
        for act in (
            self.orders.get,
            self.orders.pay,
            self.orders.delete,
        ):
            with self.subTest(act=act), self.assertRaises(NotFound):
                act(99)

from __future__ import annotations

import unittest
from html.parser import HTMLParser

from shop_app import pages
from shop_app.contract import CartItem, Customer, Order, Product

HOSTILE = '<script>alert("x")</script>'
VOID = {"input", "link", "meta"}

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

NEW_CUSTOMER = {
    "name": "Grace Hopper",
    "email": "grace@example.org",
}


class _Outline(HTMLParser):
    """Notes elements that are left open, controls without a label, and labels."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.controls: list[str] = []
        self.labels: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("input", "textarea"):
            self.controls.append(dict(attrs)["id"] or "")
        if tag == "label":
            self.labels.append(dict(attrs)["for"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> does not match"


class PagesTest(unittest.TestCase):
    def check(self, document: str) -> None:
        """Elements nest, ids are unique, every control has a label, and no text became markup."""
        outline = _Outline()
        outline.feed(document)
        self.assertEqual(outline.open, [])
        self.assertEqual(len(set(outline.controls)), len(outline.controls))
        self.assertEqual(sorted(outline.labels), sorted(outline.controls))
        self.assertNotIn("<script", document)

    def test_an_error_page_escapes_the_message(self) -> None:
        self.check(document := pages.render_error(400, HOSTILE))
        self.assertIn("&lt;script&gt;", document)

    def test_products_are_shown(self) -> None:
        record = Product(1, **NEW_PRODUCT)
        self.check(document := pages.render_products([record]))
        self.assertIn("Blue mug", document)

    def test_no_products_is_said_so(self) -> None:
        self.check(document := pages.render_products([]))
        self.assertIn("No products yet.", document)

    def test_texts_of_products_are_escaped(self) -> None:
        hostile = Product(1, **{**NEW_PRODUCT, "name": HOSTILE})
        self.check(document := pages.render_products([hostile]))
        self.assertIn("&lt;script&gt;", document)

    def test_cart_items_are_shown(self) -> None:
        record = CartItem(1, **NEW_CART_ITEM)
        self.check(document := pages.render_cart_items([record]))
        self.assertIn("Product 1", document)

    def test_no_cart_items_is_said_so(self) -> None:
        self.check(document := pages.render_cart_items([]))
        self.assertIn("No cart items yet.", document)

    def test_orders_are_shown(self) -> None:
        record = Order(1, **NEW_ORDER, total_cents=2500)
        self.check(document := pages.render_orders([record]))
        self.assertIn("Ada Lovelace", document)

    def test_no_orders_is_said_so(self) -> None:
        self.check(document := pages.render_orders([]))
        self.assertIn("No orders yet.", document)

    def test_texts_of_orders_are_escaped(self) -> None:
        hostile = Order(1, **{**NEW_ORDER, "customer": HOSTILE}, total_cents=2500)
        self.check(document := pages.render_orders([hostile]))
        self.assertIn("&lt;script&gt;", document)

    def test_orders_that_are_paid_say_so(self) -> None:
        before = Order(1, **NEW_ORDER, total_cents=2500)
        after = Order(1, **NEW_ORDER, total_cents=2500, paid=True)
        badge = '<span class="badge">Paid</span>'
        action = 'action="/orders/1/pay"'
        self.assertNotIn(badge, pages.render_orders([before]))
        self.assertIn(badge, pages.render_orders([after]))
        self.assertIn(action, pages.render_orders([before]))
        self.assertNotIn(action, pages.render_orders([after]))

    def test_customers_are_shown(self) -> None:
        record = Customer(1, **NEW_CUSTOMER)
        self.check(document := pages.render_customers([record]))
        self.assertIn("Grace Hopper", document)

    def test_no_customers_is_said_so(self) -> None:
        self.check(document := pages.render_customers([]))
        self.assertIn("No customers yet.", document)

    def test_texts_of_customers_are_escaped(self) -> None:
        hostile = Customer(1, **{**NEW_CUSTOMER, "name": HOSTILE})
        self.check(document := pages.render_customers([hostile]))
        self.assertIn("&lt;script&gt;", document)

    def test_the_first_page_counts(self) -> None:
        self.check(document := pages.render_home({"products": 3}))
        self.assertIn('<a href="/products">', document)
        self.assertIn(">3<", document)

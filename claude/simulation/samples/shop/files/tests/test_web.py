from __future__ import annotations

import json
import tempfile
import unittest
from pathlib import Path
from typing import Any

from shop_app.contract import ROUTES, Invalid
from shop_app.server import Request, Response
from shop_app.storage import Database
from shop_app.web import STATIC, build_routes

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


class WebTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.routes = build_routes(Database(Path(folder.name) / "data.json"))

    def ask(self, method: str, path: str, query: str = "", **values: Any) -> Response:
        for route in self.routes:
            if route.method == method and (match := route.match(path)):
                record_id = int(match[1]) if match.groups() else 0
                return route.handle(Request(record_id, values, {"q": query} if query else {}))
        raise AssertionError(f"no route for {method} {path}")

    def json(self, method: str, path: str, query: str = "", **values: Any) -> Any:
        return json.loads(self.ask(method, path, query, **values).body)

    def test_exactly_the_routes_of_the_contract_are_served(self) -> None:
        served = {(route.method, route.path) for route in self.routes}
        files = {("GET", f"/static/{path.name}") for path in STATIC.iterdir()}
        self.assertEqual(served, {*ROUTES, *files})

    def test_products_of_the_api_appear_on_the_page(self) -> None:
        response = self.ask("POST", "/api/products", **NEW_PRODUCT)
        self.assertEqual(response.status, 201)
        self.assertEqual(self.json("GET", "/api/products/1"), json.loads(response.body))
        self.assertEqual(len(self.json("GET", "/api/products")), 1)
        self.assertIn("Blue mug", self.ask("GET", "/products").body.decode())

    def test_products_of_the_form_appear_in_the_api(self) -> None:
        response = self.ask("POST", "/products", **NEW_PRODUCT)
        self.assertEqual((response.status, response.location), (303, "/products"))
        self.assertEqual(self.json("GET", "/api/products")[0]["name"], "Blue mug")

    def test_a_bad_product_is_refused_and_not_stored(self) -> None:
        with self.assertRaises(Invalid):
            self.ask("POST", "/api/products")
        self.assertEqual(self.json("GET", "/api/products"), [])

    def test_delete_of_products_works_on_page_and_api(self) -> None:
        self.ask("POST", "/api/products", **NEW_PRODUCT)
        self.ask("POST", "/api/products", **NEW_PRODUCT)
        self.ask("POST", "/products/1/delete")
        self.assertEqual(self.json("DELETE", "/api/products/2")["id"], 2)
        self.assertEqual(self.json("GET", "/api/products"), [])

    def test_cart_items_of_the_api_appear_on_the_page(self) -> None:
        self.ask("POST", "/api/products", **NEW_PRODUCT)
        response = self.ask("POST", "/api/cart-items", **NEW_CART_ITEM)
        self.assertEqual(response.status, 201)
        self.assertEqual(self.json("GET", "/api/cart-items/1"), json.loads(response.body))
        self.assertEqual(len(self.json("GET", "/api/cart-items")), 1)
        self.assertIn("Product 1", self.ask("GET", "/cart-items").body.decode())

    def test_cart_items_of_the_form_appear_in_the_api(self) -> None:
        self.ask("POST", "/api/products", **NEW_PRODUCT)
        response = self.ask("POST", "/cart-items", **NEW_CART_ITEM)
        self.assertEqual((response.status, response.location), (303, "/cart-items"))
        self.assertEqual(self.json("GET", "/api/cart-items")[0]["product_id"], 1)

    def test_a_bad_cart_item_is_refused_and_not_stored(self) -> None:
        with self.assertRaises(Invalid):
            self.ask("POST", "/api/cart-items")
        self.assertEqual(self.json("GET", "/api/cart-items"), [])

    def test_delete_of_cart_items_works_on_page_and_api(self) -> None:
        self.ask("POST", "/api/products", **NEW_PRODUCT)
        self.ask("POST", "/api/cart-items", **NEW_CART_ITEM)
        self.ask("POST", "/api/cart-items", **NEW_CART_ITEM)
        self.ask("POST", "/cart-items/1/delete")
        self.assertEqual(self.json("DELETE", "/api/cart-items/2")["id"], 2)
        self.assertEqual(self.json("GET", "/api/cart-items"), [])

    def test_orders_of_the_api_appear_on_the_page(self) -> None:
        self.ask("POST", "/api/products", **NEW_PRODUCT)
        self.ask("POST", "/api/cart-items", **NEW_CART_ITEM)
        response = self.ask("POST", "/api/orders", **NEW_ORDER)
        self.assertEqual(response.status, 201)
        self.assertEqual(self.json("GET", "/api/orders/1"), json.loads(response.body))
        self.assertEqual(len(self.json("GET", "/api/orders")), 1)
        self.assertIn("Ada Lovelace", self.ask("GET", "/orders").body.decode())

    def test_orders_of_the_form_appear_in_the_api(self) -> None:
        self.ask("POST", "/api/products", **NEW_PRODUCT)
        self.ask("POST", "/api/cart-items", **NEW_CART_ITEM)
        response = self.ask("POST", "/orders", **NEW_ORDER)
        self.assertEqual((response.status, response.location), (303, "/orders"))
        self.assertEqual(self.json("GET", "/api/orders")[0]["customer"], "Ada Lovelace")

    def test_a_bad_order_is_refused_and_not_stored(self) -> None:
        with self.assertRaises(Invalid):
            self.ask("POST", "/api/orders")
        self.assertEqual(self.json("GET", "/api/orders"), [])

    def test_pay_of_orders_works_on_page_and_api(self) -> None:
        self.ask("POST", "/api/products", **NEW_PRODUCT)
        self.ask("POST", "/api/cart-items", **NEW_CART_ITEM)
        self.ask("POST", "/api/orders", **NEW_ORDER)
        changed = self.json("POST", "/api/orders/1/pay")
        self.assertIs(changed["paid"], True)
        self.ask("POST", "/orders/1/pay")
        self.assertIs(self.json("GET", "/api/orders/1")["paid"], True)

    def test_delete_of_orders_works_on_page_and_api(self) -> None:
        self.ask("POST", "/api/products", **NEW_PRODUCT)
        self.ask("POST", "/api/cart-items", **NEW_CART_ITEM)
        self.ask("POST", "/api/orders", **NEW_ORDER)
        self.ask("POST", "/api/cart-items", **NEW_CART_ITEM)
        self.ask("POST", "/api/orders", **NEW_ORDER)
        self.ask("POST", "/orders/1/delete")
        self.assertEqual(self.json("DELETE", "/api/orders/2")["id"], 2)
        self.assertEqual(self.json("GET", "/api/orders"), [])

    def test_customers_of_the_api_appear_on_the_page(self) -> None:
        response = self.ask("POST", "/api/customers", **NEW_CUSTOMER)
        self.assertEqual(response.status, 201)
        self.assertEqual(self.json("GET", "/api/customers/1"), json.loads(response.body))
        self.assertEqual(len(self.json("GET", "/api/customers")), 1)
        self.assertIn("Grace Hopper", self.ask("GET", "/customers").body.decode())

    def test_customers_of_the_form_appear_in_the_api(self) -> None:
        response = self.ask("POST", "/customers", **NEW_CUSTOMER)
        self.assertEqual((response.status, response.location), (303, "/customers"))
        self.assertEqual(self.json("GET", "/api/customers")[0]["name"], "Grace Hopper")

    def test_a_bad_customer_is_refused_and_not_stored(self) -> None:
        with self.assertRaises(Invalid):
            self.ask("POST", "/api/customers")
        self.assertEqual(self.json("GET", "/api/customers"), [])

    def test_delete_of_customers_works_on_page_and_api(self) -> None:
        self.ask("POST", "/api/customers", **NEW_CUSTOMER)
        self.ask("POST", "/api/customers", **NEW_CUSTOMER)
        self.ask("POST", "/customers/1/delete")
        self.assertEqual(self.json("DELETE", "/api/customers/2")["id"], 2)
        self.assertEqual(self.json("GET", "/api/customers"), [])

    def test_the_first_page_links_to_all_others(self) -> None:
        document = self.ask("GET", "/").body.decode()
        for path in ("/products", "/cart-items", "/orders", "/customers"):
            self.assertIn(f'href="{path}"', document)
            self.assertEqual(self.ask("GET", path).status, 200)

from __future__ import annotations

import contextlib
import io
import tempfile
import unittest
from pathlib import Path

from shop_app.cli import build_parser, main
from shop_app.contract import COMMANDS
from shop_app.storage import Database

NEW_PRODUCT = (
    "product",
    "add",
    "Blue mug",
    "--price-cents",
    "1250",
)

NEW_CART_ITEM = (
    "cart-item",
    "add",
    "1",
    "--quantity",
    "2",
)

NEW_ORDER = (
    "order",
    "checkout",
    "Ada Lovelace",
)

NEW_CUSTOMER = (
    "customer",
    "add",
    "Grace Hopper",
    "--email",
    "grace@example.org",
)


class CliTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.data = str(Path(folder.name) / "data.json")
        self.served: list[tuple[Path, str, int]] = []

    def serve(self, database: Database, host: str, port: int) -> None:
        self.served.append((database.path, host, port))

    def run_cli(self, *arguments: str, code: int = 0) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self.assertEqual(main(["--data", self.data, *arguments], self.serve), code)
        return (err if code else out).getvalue()

    def test_every_command_of_the_contract_exists(self) -> None:
        for command in COMMANDS:
            with (
                self.subTest(command=command),
                contextlib.redirect_stdout(io.StringIO()),
                self.assertRaises(SystemExit) as ended,
            ):
                build_parser().parse_args([*command.split(), "--help"])
            self.assertEqual(ended.exception.code, 0)

    def test_an_unknown_command_is_a_usage_error(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as ended:
            main(["frob"], self.serve)
        self.assertEqual(ended.exception.code, 2)

    def test_serve_hands_over_data_host_and_port(self) -> None:
        self.run_cli("serve", "--port", "0")
        self.assertEqual(self.served, [(Path(self.data), "127.0.0.1", 0)])

    def test_products_come_and_are_listed(self) -> None:
        self.assertEqual(self.run_cli("product", "list"), "No products.\n")
        self.assertIn("Blue mug", self.run_cli(*NEW_PRODUCT))
        self.assertIn("Blue mug", self.run_cli("product", "list"))

    def test_an_empty_product_is_an_error(self) -> None:
        self.assertIn("error: ", self.run_cli(*NEW_PRODUCT[:2], "", *NEW_PRODUCT[3:], code=1))

    def test_delete_of_products(self) -> None:
        self.assertIn("error: ", self.run_cli("product", "delete", "99", code=1))
        self.run_cli(*NEW_PRODUCT)
        self.run_cli("product", "delete", "1")
        self.assertEqual(self.run_cli("product", "list"), "No products.\n")

    def test_cart_items_come_and_are_listed(self) -> None:
        self.assertEqual(self.run_cli("cart-item", "list"), "No cart items.\n")
        self.run_cli(*NEW_PRODUCT)
        self.assertIn("Product 1", self.run_cli(*NEW_CART_ITEM))
        self.assertIn("Product 1", self.run_cli("cart-item", "list"))

    def test_an_empty_cart_item_is_an_error(self) -> None:
        self.assertIn("error: ", self.run_cli(*NEW_CART_ITEM[:2], "", *NEW_CART_ITEM[3:], code=1))

    def test_delete_of_cart_items(self) -> None:
        self.assertIn("error: ", self.run_cli("cart-item", "delete", "99", code=1))
        self.run_cli(*NEW_PRODUCT)
        self.run_cli(*NEW_CART_ITEM)
        self.run_cli("cart-item", "delete", "1")
        self.assertEqual(self.run_cli("cart-item", "list"), "No cart items.\n")

    def test_orders_come_and_are_listed(self) -> None:
        self.assertEqual(self.run_cli("order", "list"), "No orders.\n")
        self.run_cli(*NEW_PRODUCT)
        self.run_cli(*NEW_CART_ITEM)
        self.assertIn("Ada Lovelace", self.run_cli(*NEW_ORDER))
        self.assertIn("Ada Lovelace", self.run_cli("order", "list"))

    def test_an_empty_order_is_an_error(self) -> None:
        self.assertIn("error: ", self.run_cli(*NEW_ORDER[:2], "", *NEW_ORDER[3:], code=1))

    def test_pay_of_orders(self) -> None:
        self.assertIn("error: ", self.run_cli("order", "pay", "99", code=1))
        self.run_cli(*NEW_PRODUCT)
        self.run_cli(*NEW_CART_ITEM)
        self.run_cli(*NEW_ORDER)
        self.run_cli("order", "pay", "1")
        self.assertIn("[paid]", self.run_cli("order", "list"))

    def test_delete_of_orders(self) -> None:
        self.assertIn("error: ", self.run_cli("order", "delete", "99", code=1))
        self.run_cli(*NEW_PRODUCT)
        self.run_cli(*NEW_CART_ITEM)
        self.run_cli(*NEW_ORDER)
        self.run_cli("order", "delete", "1")
        self.assertEqual(self.run_cli("order", "list"), "No orders.\n")

    def test_customers_come_and_are_listed(self) -> None:
        self.assertEqual(self.run_cli("customer", "list"), "No customers.\n")
        self.assertIn("Grace Hopper", self.run_cli(*NEW_CUSTOMER))
        self.assertIn("Grace Hopper", self.run_cli("customer", "list"))

    def test_an_empty_customer_is_an_error(self) -> None:
        self.assertIn("error: ", self.run_cli(*NEW_CUSTOMER[:2], "", *NEW_CUSTOMER[3:], code=1))

    def test_delete_of_customers(self) -> None:
        self.assertIn("error: ", self.run_cli("customer", "delete", "99", code=1))
        self.run_cli(*NEW_CUSTOMER)
        self.run_cli("customer", "delete", "1")
        self.assertEqual(self.run_cli("customer", "list"), "No customers.\n")

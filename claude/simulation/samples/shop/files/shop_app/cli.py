"""The command line of Shop: arguments in, one answer out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shop_app.cart_items import CartItems
from shop_app.contract import (
    DATA_VARIABLE,
    DEFAULT_DATA_FILE,
    DEFAULT_HOST,
    DEFAULT_PORT,
    TITLE,
    AppError,
    CartItem,
    Customer,
    Order,
    Product,
)
from shop_app.customers import Customers
from shop_app.orders import Orders
from shop_app.products import Products
from shop_app.storage import Database

Serve = Callable[[Database, str, int], None]


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; each command knows the function that runs it."""
    parser = argparse.ArgumentParser(prog="python3 -m shop_app", description=TITLE)
    parser.add_argument(
        "--data",
        metavar="FILE",
        default=os.environ.get(DATA_VARIABLE) or DEFAULT_DATA_FILE,
        help=f"the data file (default: ${DATA_VARIABLE}, else {DEFAULT_DATA_FILE})",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    group = commands.add_parser("product", help="products")
    _add_product_commands(group.add_subparsers(metavar="ACTION", required=True))
    group = commands.add_parser("cart-item", help="cart items")
    _add_cart_item_commands(group.add_subparsers(metavar="ACTION", required=True))
    group = commands.add_parser("order", help="orders")
    _add_order_commands(group.add_subparsers(metavar="ACTION", required=True))
    group = commands.add_parser("customer", help="customers")
    _add_customer_commands(group.add_subparsers(metavar="ACTION", required=True))
    _add_serve_command(commands)
    return parser


def main(arguments: Sequence[str], serve: Serve) -> int:
    """Run one command; the exit code is 1 when it cannot be carried out."""
    args = build_parser().parse_args(arguments)
    database = Database(Path(args.data))
    try:
        if args.command == "serve":
            serve(database, args.host, args.port)
        else:
            print(args.run(database, args))
    except AppError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _add_serve_command(commands: Any) -> None:
    parser = commands.add_parser("serve", help="open the web page and the JSON API")
    parser.add_argument("--host", default=DEFAULT_HOST, help=f"default: {DEFAULT_HOST}")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"default: {DEFAULT_PORT}")


def _printable(text: str) -> str:
    """One line without control characters, so that no text controls the terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _add_product_commands(commands: Any) -> None:
    parser = commands.add_parser("add", help="store a new product")
    parser.add_argument("name")
    parser.add_argument("--price-cents", required=True)
    parser.set_defaults(
        run=lambda database, args: (
            "Added "
            + _show_product(Products(database).add(name=args.name, price_cents=args.price_cents))
        )
    )

    parser = commands.add_parser("list", help="show all products")
    parser.set_defaults(run=lambda database, args: _list_products(Products(database).all()))

    parser = commands.add_parser("delete", help="remove a product")
    parser.add_argument("id", type=int)
    parser.set_defaults(
        run=lambda database, args: "Deleted " + _show_product(Products(database).delete(args.id))
    )


def _show_product(record: Product) -> str:
    parts = [f"{record.id}. {record.name}", f"price in cents: {record.price_cents}"]
    return _printable("  ".join(parts))


def _list_products(records: Sequence[Product]) -> str:
    return "\n".join(map(_show_product, records)) or "No products."


def _add_cart_item_commands(commands: Any) -> None:
    parser = commands.add_parser("add", help="store a new cart item")
    parser.add_argument("product_id")
    parser.add_argument("--quantity", required=True)
    parser.set_defaults(
        run=lambda database, args: (
            "Added "
            + _show_cart_item(
                CartItems(database).add(product_id=args.product_id, quantity=args.quantity)
            )
        )
    )

    parser = commands.add_parser("list", help="show all cart items")
    parser.set_defaults(run=lambda database, args: _list_cart_items(CartItems(database).all()))

    parser = commands.add_parser("delete", help="remove a cart item")
    parser.add_argument("id", type=int)
    parser.set_defaults(
        run=lambda database, args: "Deleted " + _show_cart_item(CartItems(database).delete(args.id))
    )


def _show_cart_item(record: CartItem) -> str:
    parts = [f"{record.id}. Product {record.product_id}", f"quantity: {record.quantity}"]
    return _printable("  ".join(parts))


def _list_cart_items(records: Sequence[CartItem]) -> str:
    return "\n".join(map(_show_cart_item, records)) or "No cart items."


def _add_order_commands(commands: Any) -> None:
    parser = commands.add_parser("checkout", help="turn the cart into an order")
    parser.add_argument("customer")
    parser.set_defaults(
        run=lambda database, args: (
            "Ordered " + _show_order(Orders(database).checkout(customer=args.customer))
        )
    )

    parser = commands.add_parser("list", help="show all orders")
    parser.set_defaults(run=lambda database, args: _list_orders(Orders(database).all()))

    parser = commands.add_parser("pay", help="mark an order as paid")
    parser.add_argument("id", type=int)
    parser.set_defaults(
        run=lambda database, args: "Paid " + _show_order(Orders(database).pay(args.id))
    )

    parser = commands.add_parser("delete", help="remove an order")
    parser.add_argument("id", type=int)
    parser.set_defaults(
        run=lambda database, args: "Deleted " + _show_order(Orders(database).delete(args.id))
    )


def _show_order(record: Order) -> str:
    parts = [f"{record.id}. {record.customer}", f"total in cents: {record.total_cents}"]
    if record.paid:
        parts.append("[paid]")
    return _printable("  ".join(parts))


def _list_orders(records: Sequence[Order]) -> str:
    return "\n".join(map(_show_order, records)) or "No orders."


def _add_customer_commands(commands: Any) -> None:
    parser = commands.add_parser("add", help="store a new customer")
    parser.add_argument("name")
    parser.add_argument("--email", required=True)
    parser.set_defaults(
        run=lambda database, args: (
            "Added " + _show_customer(Customers(database).add(name=args.name, email=args.email))
        )
    )

    parser = commands.add_parser("list", help="show all customers")
    parser.set_defaults(run=lambda database, args: _list_customers(Customers(database).all()))

    parser = commands.add_parser("delete", help="remove a customer")
    parser.add_argument("id", type=int)
    parser.set_defaults(
        run=lambda database, args: "Deleted " + _show_customer(Customers(database).delete(args.id))
    )


def _show_customer(record: Customer) -> str:
    parts = [f"{record.id}. {record.name}", f"email: {record.email}"]
    return _printable("  ".join(parts))


def _list_customers(records: Sequence[Customer]) -> str:
    return "\n".join(map(_show_customer, records)) or "No customers."

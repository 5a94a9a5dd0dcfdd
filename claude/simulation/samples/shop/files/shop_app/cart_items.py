"""The rules for cart items. Command line and web both come through here."""

from __future__ import annotations

from typing import Any

from shop_app import fields
from shop_app.contract import CartItem
from shop_app.products import Products
from shop_app.storage import Database

CHECKS = {
    "product_id": fields.count,
    "quantity": fields.count,
}


class CartItems:
    """All cart items of one database."""

    def __init__(self, database: Database) -> None:
        self._table = database.table("cart_items", CartItem)
        self._products = Products(database)

    def all(self) -> list[CartItem]:
        """Every cart item, oldest first."""
        return self._table.all()

    def get(self, record_id: int) -> CartItem:
        """The cart item with this id; raises NotFound."""
        return self._table.get(record_id)

    def add(self, product_id: int, quantity: int) -> CartItem:
        """Store a new cart item; raises Invalid when a value does not fit."""
        values = {"product_id": product_id, "quantity": quantity}
        return self._table.insert(**self._checked(values))

    def delete(self, record_id: int) -> CartItem:
        """Remove and return the cart item; raises NotFound."""
        return self._table.delete(record_id)

    def _checked(self, values: dict[str, Any]) -> dict[str, Any]:
        checked = fields.check(CHECKS, values)
        if "product_id" in checked:
            self._products.get(checked["product_id"])
        return checked

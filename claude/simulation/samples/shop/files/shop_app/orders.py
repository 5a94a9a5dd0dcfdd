"""The rules for orders. Command line and web both come through here."""

from __future__ import annotations

from shop_app import fields
from shop_app.cart_items import CartItems
from shop_app.contract import Invalid, Order
from shop_app.products import Products
from shop_app.storage import Database

CHECKS = {
    "customer": fields.text,
}


class Orders:
    """All orders of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = database.table("orders", Order)
        self._cart_items = CartItems(database)
        self._products = Products(database)

    def all(self) -> list[Order]:
        """Every order, oldest first."""
        return self._table.all()

    def get(self, record_id: int) -> Order:
        """The order with this id; raises NotFound."""
        return self._table.get(record_id)

    def checkout(self, customer: str) -> Order:
        """Turn the cart into an order and empty it; raises Invalid when it is empty."""
        values = fields.check(CHECKS, {"customer": customer})
        with self._database.transaction():
            lines = self._cart_items.all()
            if not lines:
                raise Invalid("the cart is empty")
            total_cents = 0
            for line in lines:
                product = self._products.get(line.product_id)
                total_cents += product.price_cents * line.quantity
                self._cart_items.delete(line.id)
            return self._table.insert(**values, total_cents=total_cents)

    def pay(self, record_id: int) -> Order:
        """Mark the order as paid; raises NotFound."""
        return self._table.update(record_id, paid=True)

    def delete(self, record_id: int) -> Order:
        """Remove and return the order; raises NotFound."""
        return self._table.delete(record_id)

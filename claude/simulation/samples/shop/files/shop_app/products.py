"""The rules for products. Command line and web both come through here."""

from __future__ import annotations

from shop_app import fields
from shop_app.contract import Product
from shop_app.storage import Database

CHECKS = {
    "name": fields.text,
    "price_cents": fields.number,
}


class Products:
    """All products of one database."""

    def __init__(self, database: Database) -> None:
        self._table = database.table("products", Product, "product_id")

    def all(self) -> list[Product]:
        """Every product, oldest first."""
        return self._table.all()

    def get(self, record_id: int) -> Product:
        """The product with this id; raises NotFound."""
        return self._table.get(record_id)

    def add(self, name: str, price_cents: int) -> Product:
        """Store a new product; raises Invalid when a value does not fit."""
        values = {"name": name, "price_cents": price_cents}
        return self._table.insert(**fields.check(CHECKS, values))

    def delete(self, record_id: int) -> Product:
        """Remove and return the product; raises NotFound, or Invalid while it is used."""
        return self._table.delete(record_id)

"""The rules for customers. Command line and web both come through here."""

from __future__ import annotations

from shop_app import fields
from shop_app.contract import Customer
from shop_app.storage import Database

CHECKS = {
    "name": fields.text,
    "email": fields.email,
}


class Customers:
    """All customers of one database."""

    def __init__(self, database: Database) -> None:
        self._table = database.table("customers", Customer)

    def all(self) -> list[Customer]:
        """Every customer, oldest first."""
        return self._table.all()

    def get(self, record_id: int) -> Customer:
        """The customer with this id; raises NotFound."""
        return self._table.get(record_id)

    def add(self, name: str, email: str) -> Customer:
        """Store a new customer; raises Invalid when a value does not fit."""
        values = {"name": name, "email": email}
        return self._table.insert(**fields.check(CHECKS, values))

    def delete(self, record_id: int) -> Customer:
        """Remove and return the customer; raises NotFound."""
        return self._table.delete(record_id)

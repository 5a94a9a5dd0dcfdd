"""Drives the product of the request `ledger`: its command line and its server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.outcome.product import PYTHON, Finished, Product, Running, free_port
from bench.outcome.suite import same
from bench.outcome.web import Client

BANK, FOOD, RENT = "Assets:Bank", "Expenses:Food", "Expenses:Rent"
SALES, DOLLARS = "Income:Sales", "Assets:Dollars"


@dataclass(frozen=True, slots=True)
class Books:
    """The command line of the product on one database."""

    product: Product
    file: Path

    def __call__(self, *arguments: str) -> Finished:
        return self.product.run([PYTHON, "-m", "books", "--db", str(self.file), *arguments])

    def prints(self, *arguments: str) -> list[str]:
        """The lines of a command that must succeed."""
        done = self(*arguments)
        assert done.code == 0, f"{arguments}: exit {done.code}: {done.err.strip()[-300:]}"
        return done.lines

    def refuses(self, text: str, *arguments: str) -> None:
        done = self(*arguments)
        same((done.code, done.out, done.err.strip()), (1, "", f"error: {text}"))

    def serve(self) -> tuple[Client, Running]:
        port = free_port()
        command = [PYTHON, "-m", "books", "--db", str(self.file), "serve", "--port", str(port)]
        return Client(port), self.product.start(command, port=port)

    def client(self) -> Client:
        return self.serve()[0]


def empty(product: Product) -> Books:
    return Books(product, product.work / "books.db")


def opened(product: Product) -> Books:
    """Books with a few accounts in EUR and one in USD."""
    books = empty(product)
    product.prepare("opened", lambda: open_accounts(books))
    return books


def filled(product: Product) -> Books:
    """Books with four transactions in January and February of 2026."""
    books = empty(product)
    product.prepare("filled", lambda: fill(books))
    return books


def open_accounts(books: Books) -> None:
    for name in (BANK, FOOD, RENT, SALES, "Equity:Opening"):
        books.prints("account", "add", name, "EUR")
    books.prints("account", "add", DOLLARS, "USD")


def fill(books: Books) -> None:
    open_accounts(books)
    books.prints("account", "add", "Expenses:Food:Out", "EUR")
    books.prints("add", "2026-01-05", "Invoice 1", f"{BANK}=1000", SALES, "--tag", "acme")
    books.prints("add", "2026-01-10", "Groceries", f"{FOOD}=80.50", BANK)
    books.prints("add", "2026-02-01", "Rent", f"{RENT}=400", f"{BANK}=-400.00", "--tag", "home")
    books.prints("add", "2026-01-20", "Dinner", "Expenses:Food:Out=29.5", BANK)


def imported(books: Books, text: str) -> Finished:
    file = books.product.work / "import.csv"
    file.write_text(text, encoding="utf-8")
    return books("import", str(file))

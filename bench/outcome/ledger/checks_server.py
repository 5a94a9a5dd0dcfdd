"""Black-box checks of the request `ledger`: its server, and many that write at once."""

from __future__ import annotations

import subprocess

from bench.outcome.ledger.books import (
    BANK,
    DOLLARS,
    FOOD,
    RENT,
    SALES,
    empty,
    filled,
    imported,
    opened,
)  # fmt: skip
from bench.outcome.page import Element, read_page
from bench.outcome.product import PYTHON, Product
from bench.outcome.suite import same


def rows(page: Element, table: str) -> list[Element]:
    return [row for row in page.one("table", id=table).all("tr") if len(row.attributes)]


def check_server_starts_and_stops(product: Product) -> None:
    """`serve` says where it listens, and SIGTERM ends it with 0."""
    client, running = opened(product).serve()
    client.get("/api/accounts")
    same(running.output().splitlines()[:1], [f"listening on http://127.0.0.1:{client.port}"])
    same(running.stop(), 0)


def check_api_accounts(product: Product) -> None:
    """Accounts are added, listed and closed over the API."""
    client = empty(product).client()
    made = client.post("/api/accounts", {"name": BANK, "currency": "EUR"})
    account = {"name": BANK, "currency": "EUR", "closed": False}
    same((made.status, made.json()), (201, account))
    same(client.get("/api/accounts").json(), [account])
    again = client.post("/api/accounts", {"name": BANK, "currency": "EUR"})
    same((again.status, again.json()), (409, {"error": f"account exists: {BANK}"}))
    bad = client.post("/api/accounts", {"name": "Bank", "currency": "EUR"})
    same((bad.status, bad.json()), (422, {"error": "bad account: Bank"}))
    closed = client.send("POST", f"/api/accounts/{BANK}/close")
    same((closed.status, closed.json()), (200, {**account, "closed": True}))


def check_api_transactions(product: Product) -> None:
    """A transaction is made, found at its Location, and voided once."""
    client = opened(product).client()
    postings = [{"account": DOLLARS, "amount": "10", "rate": "0.9", "rate_currency": "EUR"}]
    document = {"date": "2026-01-02", "description": "Ä <x>", "tags": ["a"], "ref": "R"}
    made = client.post(
        "/api/transactions", {**document, "postings": [*postings, {"account": BANK}]}
    )
    same((made.status, made.header("location")), (201, "/api/transactions/1"))
    rest = {"account": BANK, "amount": "-9.00", "currency": "EUR"}
    expected = {
        **document,
        "id": 1,
        "void_of": None,
        "postings": [
            {**postings[0], "amount": "10.00", "currency": "USD"},
            {**rest, "rate": None, "rate_currency": None},
        ],
    }
    same(made.json(), expected)
    same(client.get("/api/transactions/1").json(), expected)
    void = client.send("POST", "/api/transactions/1/void")
    same((void.status, void.json()["void_of"], void.json()["id"]), (201, 1, 2))
    again = client.send("POST", "/api/transactions/1/void")
    same((again.status, again.json()), (409, {"error": "already void: 1"}))


def check_api_pages_and_filters(product: Product) -> None:
    """The list of transactions comes in pages of 50, or as limit, offset and filters say."""
    books = opened(product)
    rows = [
        f"{n},2026-01-{1 + n // 3:02d},T{n},{account},{sign}1,EUR\n"
        for n in range(1, 71)
        for account, sign in ((BANK, ""), (SALES, "-"))
    ]
    imported(books, "id,date,description,account,amount,currency\n" + "".join(rows))
    client = books.client()
    first = client.get("/api/transactions").json()
    same((first["total"], len(first["items"])), (70, 50))
    page = client.get("/api/transactions?limit=5&offset=67").json()
    same([item["description"] for item in page["items"]], ["T68", "T69", "T70"])
    some = client.get(f"/api/transactions?account={BANK}&from=2026-01-02&to=2026-01-02").json()
    same([item["description"] for item in some["items"]], ["T3", "T4", "T5"])
    same((some["total"], client.get(f"/api/transactions?account={FOOD}").json()["total"]), (3, 0))


def check_api_refusals(product: Product) -> None:
    """What cannot be is answered by its status and text, and the server lives on."""
    client = opened(product).client()
    post = "/api/transactions"
    unbalanced = {"date": "2026-01-01", "description": "x", "postings": [
        {"account": BANK, "amount": "1"}, {"account": SALES, "amount": "-2"}]}  # fmt: skip
    for answer, status, text in (
        (client.get("/api/nothing"), 404, "not found"),
        (client.get("/api/transactions/9"), 404, "unknown transaction: 9"),
        (client.send("POST", post, b"{oops"), 400, "bad JSON"),
        (client.post(post, [1]), 400, "bad JSON"),
        (client.post("/api/accounts", {"name": "Assets:X"}), 400, "missing field: currency"),
        (client.post(post, unbalanced), 422, "unbalanced: -1.00 EUR"),
        (client.get("/api/balances?at=2026-02-31"), 422, "bad date: 2026-02-31"),
    ):
        same((answer.status, answer.json()), (status, {"error": text}))


def check_api_methods(product: Product) -> None:
    """A method that a path does not have is 405, with the methods that it has."""
    client = opened(product).client()
    answer = client.send("DELETE", "/api/accounts")
    same((answer.status, answer.json()), (405, {"error": "method not allowed"}))
    allowed = {method.strip() for method in answer.header("allow").split(",")}
    assert {"GET", "POST"} <= allowed, allowed
    assert "DELETE" not in allowed, allowed
    same(client.send("PUT", "/api/balances", b"{}").status, 405)


def check_api_bounds_bodies(product: Product) -> None:
    """A body above 1 MiB is refused, and the next request is answered."""
    client = opened(product).client()
    big = {"name": "Assets:" + "A" * 1_100_000, "currency": "EUR"}
    answer = client.post("/api/accounts", big)
    same((answer.status, answer.json()), (413, {"error": "body too large"}))
    same(client.get("/api/accounts").status, 200)


def check_api_balances_and_budgets(product: Product) -> None:
    """Balances and budgets over the API are those of the command line."""
    books = filled(product)
    client = books.client()
    same(
        client.get("/api/balances?depth=1&at=2026-01-31").json()[0],
        {"name": "Assets", "amount": "890.00", "currency": "EUR"},
    )
    put = client.send_json("PUT", f"/api/budgets/2026-01/{FOOD}", {"amount": "137.50"})
    spent = {"budget": "137.50", "spent": "110.00", "left": "27.50", "percent": 80, "over": False}
    entry = {"account": FOOD, "currency": "EUR", **spent}
    same((put.status, put.json()), (200, entry))
    same(client.get("/api/budgets/2026-01").json(), [entry])
    same(books.prints("budget", "show", "2026-01"), [f"{FOOD} 137.50 110.00 27.50 80%"])


def check_server_and_commands_share_a_database(product: Product) -> None:
    """The running server shows what a command has just changed, and the other way round."""
    books = opened(product)
    client = books.client()
    books.prints("add", "2026-01-01", "x", f"{BANK}=7", SALES)
    same(client.get("/api/balances").json()[0]["amount"], "7.00")
    client.send("POST", "/api/transactions/1/void")
    same(books.prints("balance"), [])


def check_concurrent_writers_lose_nothing(product: Product) -> None:
    """Ten commands at once and the server's own writes all succeed, each with an id of its own."""
    books = opened(product)
    client = books.client()
    command = [PYTHON, "-m", "books", "--db", str(books.file), "add", "2026-01-01", "c"]
    running = [
        subprocess.Popen(
            [*command, f"{BANK}=1", SALES],
            cwd=product.root, env=product.environment(), stdout=subprocess.PIPE,
        )
        for _ in range(10)
    ]  # fmt: skip
    sale = [{"account": BANK, "amount": "1"}, {"account": SALES}]
    document = {"date": "2026-01-01", "description": "s", "postings": sale}
    posted = [client.post("/api/transactions", document) for _ in range(10)]
    printed = [process.communicate(timeout=15)[0].decode() for process in running]
    same([process.returncode for process in running], [0] * 10)
    same({answer.status for answer in posted}, {201})
    same(len({*printed, *(f"transaction {a.json()['id']}\n" for a in posted)}), 20)
    assert f"{BANK} 20.00 EUR" in books.prints("balance")


def check_pages_of_balances_and_register(product: Product) -> None:
    """The pages show balances with links to registers, which run a balance."""
    books = filled(product)
    client = books.client()
    home = client.get("/")
    same((home.status, "charset=utf-8" in home.header("content-type").lower()), (200, True))
    table = rows(read_page(home.text), "balances")
    named = {row.get("data-account"): row for row in table if row.get("data-account")}
    same(list(named), [BANK, FOOD, "Expenses:Food:Out", RENT, SALES])
    assert "490.00" in named[BANK].one("td", class_="amount").text()
    register = client.get(named[BANK].one("a").get("href"))
    lines = [row for row in rows(read_page(register.text), "register") if row.get("data-id")]
    same([row.get("data-id") for row in lines], ["1", "2", "4", "3"])
    for part in ("2026-01-20", "Dinner", "-29.50", "890.00"):
        assert part in lines[2].text(), part
    same(client.get("/accounts/Assets:No").status, 404)


def check_pages_escape_what_was_entered(product: Product) -> None:
    """A description with markup is shown as text."""
    books = opened(product)
    books.prints("add", "2026-01-01", "<script>alert(1)</script> & co", f"{BANK}=1", SALES)
    page = books.client().get(f"/accounts/{BANK}")
    assert "<script>alert(1)" not in page.text
    [row] = [row for row in rows(read_page(page.text), "register") if row.get("data-id")]
    assert "<script>alert(1)</script> & co" in row.text(), row.text()


def check_pages_of_income_and_budgets(product: Product) -> None:
    """The income page has a bar for each month, and the budget page marks what is over."""
    books = filled(product)
    books.prints("budget", "set", FOOD, "2026-01", "100")
    books.prints("budget", "set", RENT, "2026-01", "400")
    client = books.client()
    income = read_page(client.get("/income?from=2025-12-15&to=2026-02-15").text)
    bars = [bar.get("data-month") for bar in income.all("rect") if bar.get("data-month")]
    same(bars, ["2025-12", "2026-01", "2026-02"])
    accounts = [row.get("data-account") for row in rows(income, "income")]
    same(sorted(filter(None, accounts)), [FOOD, "Expenses:Food:Out", RENT, SALES])
    budgets = read_page(client.get("/budgets/2026-01").text)
    over = {
        row.get("data-account"): "over" in row.classes()
        for row in rows(budgets, "budgets")
        if row.get("data-account")
    }
    same(over, {FOOD: True, RENT: False})

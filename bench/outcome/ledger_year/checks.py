"""Black-box checks of the request `ledger_year`, a change of what `ledger` delivered."""

from __future__ import annotations

import subprocess

from bench.outcome.handover import own_tests_pass, readme
from bench.outcome.ledger.books import (
    BANK,
    DOLLARS,
    FOOD,
    RENT,
    SALES,
    Books,
    filled,
    imported,
    opened,
)  # fmt: skip
from bench.outcome.page import read_page
from bench.outcome.product import PYTHON, Product
from bench.outcome.suite import same

CLOSED = "Equity:Result"
RENT_DUE = ("recur", "add", "rent", "month", "2026-01-31", "Flat rent", f"{RENT}=400", BANK)


def heads(books: Books) -> list[str]:
    """The first lines of all transactions."""
    return [line for line in books.prints("list") if not line.startswith("  ")]


def check_recurrences_are_kept(product: Product) -> None:
    """Templates are added, listed by name with their next day, and removed."""
    books = opened(product)
    same(books.prints(*RENT_DUE, "--tag", "home"), ["added recurrence rent"])
    books.prints("recur", "add", "box", "week", "2026-03-02", "Box", f"{FOOD}=9", BANK)
    same(
        books.prints("recur", "list"),
        ["box week 2026-03-02 Box", "rent month 2026-01-31 Flat rent"],
    )
    same(books.prints("recur", "remove", "box"), ["removed recurrence box"])
    books.refuses("unknown recurrence: box", "recur", "remove", "box")
    books.refuses("recurrence exists: rent", *RENT_DUE)


def check_recurrences_are_checked(product: Product) -> None:
    """Names, intervals, dates and postings of templates are checked."""
    books, rest = opened(product), ("2026-01-01", "x", f"{FOOD}=1", BANK)
    books.refuses("bad name: A b", "recur", "add", "A b", "week", *rest)
    books.refuses(f"bad name: {'x' * 33}", "recur", "add", "x" * 33, "week", *rest)
    books.refuses("bad interval: day", "recur", "add", "x", "day", *rest)
    books.refuses("bad date: 2026-02-30", "recur", "add", "x", "week", "2026-02-30", *rest[1:])
    books.refuses(
        "unbalanced: 1.00 EUR",
        "recur", "add", "x", "week", "2026-01-01", "x", f"{FOOD}=2", f"{BANK}=-1",
    )  # fmt: skip
    books.refuses(
        "unknown account: Assets:No",
        "recur", "add", "x", "week", "2026-01-01", "x", f"{FOOD}=2", "Assets:No",
    )  # fmt: skip
    same(books.prints("recur", "list"), [])


def check_recurrences_run_by_date_then_name(product: Product) -> None:
    """All days up to --to are booked once, by date, then name."""
    books = opened(product)
    books.prints("recur", "add", "zoo", "week", "2026-01-24", "Zoo", f"{FOOD}=5", BANK)
    books.prints(*RENT_DUE, "--tag", "home")
    same(
        books.prints("recur", "run", "--to", "2026-01-31"),
        ["transaction 1", "transaction 2", "transaction 3"],
    )
    same(heads(books), ["1 2026-01-24 Zoo", "2 2026-01-31 Flat rent #home", "3 2026-01-31 Zoo"])
    same(books.prints("recur", "run", "--to", "2026-01-31"), [])
    assert f"  {BANK} -400.00 EUR" in books.prints("list")
    same(books.prints("recur", "list")[1], "zoo week 2026-02-07 Zoo")


def check_short_months_keep_the_day(product: Product) -> None:
    """The 31st becomes the last day of a short month, and the 31st again after it."""
    books = opened(product)
    books.prints(*RENT_DUE)
    books.prints("recur", "add", "leap", "year", "2024-02-29", "Leap", f"{FOOD}=1", BANK)
    books.prints("recur", "run", "--to", "2026-04-30")
    days = [line.split()[1] for line in heads(books)]
    rent = ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]
    same(days, sorted([*rent, "2024-02-29", "2025-02-28", "2026-02-28"]))
    same(
        books.prints("recur", "list"),
        ["leap year 2027-02-28 Leap", "rent month 2026-05-31 Flat rent"],
    )
    books.prints("recur", "run", "--to", "2028-02-29")
    assert "2028-02-29 Leap" in "\n".join(heads(books))


def check_a_run_books_all_or_nothing(product: Product) -> None:
    """Where one day cannot be booked, none is, and nothing moves on."""
    books = opened(product)
    books.prints("recur", "add", "a", "week", "2026-01-01", "A", f"{FOOD}=1", BANK)
    books.prints("account", "add", "Assets:Gone", "EUR")
    books.prints("recur", "add", "b", "week", "2026-01-02", "B", f"{FOOD}=1", "Assets:Gone")
    books.prints("account", "close", "Assets:Gone")
    books.refuses("account closed: Assets:Gone", "recur", "run", "--to", "2026-01-31")
    same(heads(books), [])
    same(books.prints("recur", "list")[0], "a week 2026-01-01 A")


def check_two_runs_book_nothing_twice(product: Product) -> None:
    """Runs at the same time share the days between them."""
    books = opened(product)
    books.prints("recur", "add", "a", "week", "2026-01-01", "A", f"{FOOD}=1", BANK)
    command = [PYTHON, "-m", "books", "--db", str(books.file), "recur", "run", "--to", "2026-12-31"]
    runs = [
        subprocess.Popen(
            command, cwd=product.root, stdout=subprocess.PIPE, env=product.environment()
        )
        for _ in range(4)
    ]
    for run in runs:
        run.communicate(timeout=15)
        same(run.returncode, 0)
    days = [line.split()[1] for line in heads(books)]
    same((len(days), len(set(days))), (53, 53))


def check_api_recurrences(product: Product) -> None:
    """Templates over the API: made, listed, run, removed."""
    client = opened(product).client()
    body = {"name": "rent", "every": "month", "date": "2026-01-31", "description": "R"}
    postings = [{"account": RENT, "amount": "400"}, {"account": BANK}]
    made = client.post("/api/recurrences", {**body, "postings": postings, "tags": ["t"]})
    none = {"currency": "EUR", "rate": None, "rate_currency": None}
    entry = {
        "name": "rent",
        "every": "month",
        "next": "2026-01-31",
        "description": "R",
        "tags": ["t"],
        "postings": [
            {"account": RENT, "amount": "400.00", **none},
            {"account": BANK, "amount": "-400.00", **none},
        ],
    }
    same((made.status, made.json()), (201, entry))
    same(client.get("/api/recurrences").json(), [entry])
    again = client.post("/api/recurrences", {**body, "postings": postings})
    same((again.status, again.json()), (409, {"error": "recurrence exists: rent"}))
    ran = client.post("/api/recurrences/run", {"to": "2026-02-28"})
    same((ran.status, ran.json()), (200, {"transactions": [1, 2]}))
    same(client.send("DELETE", "/api/recurrences/rent").status, 204)
    gone = client.send("DELETE", "/api/recurrences/rent")
    same((gone.status, gone.json()), (404, {"error": "unknown recurrence: rent"}))
    missing = client.post("/api/recurrences", {"name": "x"})
    same(missing.status, 400)


def check_statements_and_reconcile(product: Product) -> None:
    """A difference lists the postings since the statement before, with exit code 3."""
    books = filled(product)
    same(
        books.prints("statement", BANK, "2026-01-10", "919.5"),
        [f"statement {BANK} 2026-01-10 919.50 EUR"],
    )
    same(
        books.prints("reconcile", BANK),
        ["2026-01-10 bank 919.50 books 919.50 difference 0.00"],
    )
    books.prints("statement", BANK, "2026-01-31", "900")
    off = books("reconcile", BANK)
    same(
        (off.code, off.lines),
        (3, ["2026-01-31 bank 900.00 books 890.00 difference 10.00", "2026-01-20 4 -29.50"]),
    )
    same(books("reconcile", BANK, "--at", "2026-01-30").code, 0)
    books.refuses(f"no statement: {BANK}", "reconcile", BANK, "--at", "2026-01-09")
    same(
        books.prints("statements"),
        [f"{BANK} 2026-01-10 919.50 EUR ok", f"{BANK} 2026-01-31 900.00 EUR off 10.00"],
    )


def check_statements_are_replaced_and_checked(product: Product) -> None:
    """One statement for an account and day; accounts, days and amounts are checked."""
    books = filled(product)
    books.prints("statement", BANK, "2026-01-31", "900")
    books.prints("statement", BANK, "2026-01-31", "890.00")
    same(books.prints("statements", BANK), [f"{BANK} 2026-01-31 890.00 EUR ok"])
    same(books.prints("statements", FOOD), [])
    books.refuses("unknown account: Assets:No", "statement", "Assets:No", "2026-01-31", "1")
    books.refuses("bad date: 2026-13-01", "statement", BANK, "2026-13-01", "1")
    books.refuses("bad amount: 1.005", "statement", BANK, "2026-01-31", "1.005")


def check_statements_see_the_account_alone(product: Product) -> None:
    """What lies below an account is not the bank's."""
    books = filled(product)
    books.prints("statement", FOOD, "2026-01-31", "80.5")
    same(books.prints("statements"), [f"{FOOD} 2026-01-31 80.50 EUR ok"])


def check_api_statements(product: Product) -> None:
    """Statements over the API, with their differences."""
    client = filled(product).client()
    made = client.send_json("PUT", f"/api/statements/{BANK}/2026-01-31", {"amount": "900"})
    entry = {
        "account": BANK,
        "date": "2026-01-31",
        "amount": "900.00",
        "currency": "EUR",
        "difference": "10.00",
    }
    same((made.status, made.json()), (200, entry))
    same(client.get("/api/statements").json(), [entry])
    same(client.get(f"/api/statements?account={FOOD}").json(), [])
    bad = client.send_json("PUT", f"/api/statements/{BANK}/2026-01-32", {"amount": "1"})
    same((bad.status, bad.json()), (422, {"error": "bad date: 2026-01-32"}))


def check_locks(product: Product) -> None:
    """Locks move forward, are shown, and are taken away."""
    books = filled(product)
    same(books.prints("lock"), ["not locked"])
    books.refuses("not locked", "unlock")
    same(books.prints("lock", "2026-01-10"), ["locked 2026-01-10"])
    books.refuses("locked: 2026-01-10", "lock", "2026-01-10")
    books.refuses("locked: 2026-01-10", "lock", "2026-01-01")
    same(books.prints("lock", "2026-01-20"), ["locked 2026-01-20"])
    same(books.prints("lock"), ["locked 2026-01-20"])
    same(books.prints("unlock"), ["unlocked 2026-01-20"])
    books.prints("add", "2026-01-02", "ok", f"{FOOD}=1", BANK)


def check_nothing_is_dated_in_a_lock(product: Product) -> None:
    """add, void, import and recur run respect the lock; the day after is free."""
    books = filled(product)
    books.prints("recur", "add", "a", "month", "2026-01-15", "A", f"{FOOD}=1", BANK)
    exported = "\n".join(books.prints("export")) + "\n"
    books.prints("lock", "2026-01-20")
    before = heads(books)
    books.refuses("locked: 2026-01-20", "add", "2026-01-20", "x", f"{FOOD}=1", BANK)
    books.refuses("locked: 2026-01-20", "void", "1")
    books.refuses("locked: 2026-01-20", "recur", "run", "--to", "2026-02-28")
    done = imported(books, exported)
    same(done.code, 1)
    assert "locked: 2026-01-20" in done.err, done.err
    same(heads(books), before)
    books.prints("add", "2026-01-21", "x", f"{FOOD}=1", BANK)
    books.prints("statement", BANK, "2026-01-10", "1")
    books.prints("price", "2026-01-10", "EUR", "USD", "1.1")


def check_a_year_is_closed(product: Product) -> None:
    """Income and expenses go to the equity account, and the year is locked."""
    books = filled(product)
    books.prints("account", "add", CLOSED, "EUR")
    books.prints("add", "2025-05-01", "Old", f"{FOOD}=10", BANK)
    same(books.prints("close-year", "2026", CLOSED), ["transaction 6"])
    listed = books.prints("list", "--tag", "close")
    same(
        listed,
        [
            "6 2026-12-31 Close of 2026 #close",
            f"  {FOOD} -90.50 EUR",
            "  Expenses:Food:Out -29.50 EUR",
            f"  {RENT} -400.00 EUR",
            f"  {SALES} 1000.00 EUR",
            f"  {CLOSED} -480.00 EUR",
        ],
    )
    same(books.prints("lock"), ["locked 2026-12-31"])
    same(books.prints("balance"), [f"{BANK} 480.00 EUR", f"{CLOSED} -480.00 EUR"])
    same(books("close-year", "2026", CLOSED).code, 1)
    books.refuses("nothing to close: 2027", "close-year", "2027", CLOSED)


def check_a_year_closes_in_each_currency(product: Product) -> None:
    """Other currencies go to an account below, which is made."""
    books = filled(product)
    books.prints("account", "add", CLOSED, "EUR")
    books.prints("account", "add", "Expenses:Trip", "USD")
    books.prints("add", "2026-03-01", "Taxi", "Expenses:Trip=20", DOLLARS)
    same(books.prints("close-year", "2026", CLOSED), ["transaction 6", "transaction 7"])
    assert f"{CLOSED}:USD USD open" in books.prints("account", "list")
    assert f"{CLOSED}:USD 20.00 USD" in books.prints("balance")


def check_closes_are_refused(product: Product) -> None:
    """Bad years, other accounts and closed ones: nothing happens."""
    books = filled(product)
    books.refuses(f"not an equity account: {BANK}", "close-year", "2026", BANK)
    books.refuses("bad year: 26", "close-year", "26", "Equity:Opening")
    books.refuses("unknown account: Equity:No", "close-year", "2026", "Equity:No")
    books.refuses("nothing to close: 2020", "close-year", "2020", "Equity:Opening")
    same(books.prints("lock"), ["not locked"])
    same(len(heads(books)), 4)


def check_income_report_leaves_closes_out(product: Product) -> None:
    """After the close the report of the year is what it was."""
    books = filled(product)
    books.prints("account", "add", CLOSED, "EUR")
    report = ("report", "income", "--from", "2026-01-01", "--to", "2026-12-31")
    before = books.prints(*report)
    books.prints("close-year", "2026", CLOSED)
    same(books.prints(*report), before)
    books.prints("unlock")
    books.prints("add", "2026-06-01", "Mine", f"{FOOD}=1", BANK, "--tag", "close")
    assert books.prints(*report) != before, "a transaction that merely has the tag is left out"


def check_api_lock_and_close(product: Product) -> None:
    """The lock and the close of a year over the API."""
    books = filled(product)
    books.prints("account", "add", CLOSED, "EUR")
    client = books.client()
    same(client.get("/api/lock").json(), {"until": None})
    none = client.send("DELETE", "/api/lock")
    same((none.status, none.json()), (409, {"error": "not locked"}))
    put = client.send_json("PUT", "/api/lock", {"until": "2026-01-10"})
    same((put.status, put.json()), (200, {"until": "2026-01-10"}))
    body = {"date": "2026-01-01", "description": "x"}
    postings = [{"account": FOOD, "amount": "1"}, {"account": BANK}]
    kept = client.post("/api/transactions", {**body, "postings": postings})
    same((kept.status, kept.json()), (409, {"error": "locked: 2026-01-10"}))
    closed = client.post("/api/years/2026/close", {"into": CLOSED})
    same((closed.status, closed.json()), (201, {"transactions": [5]}))
    same(client.get("/api/lock").json(), {"until": "2026-12-31"})
    same(client.send("DELETE", "/api/lock").status, 204)


def check_pages(product: Product) -> None:
    """The new pages have their tables, and `/` tells of the lock and links to them."""
    books = filled(product)
    books.prints("recur", "add", "a", "week", "2026-03-02", "A <b>", f"{FOOD}=1", BANK)
    books.prints("statement", BANK, "2026-01-31", "900")
    books.prints("statement", FOOD, "2026-01-31", "80.50")
    client = books.client()
    assert not read_page(client.get("/").text).all("p", id="lock")
    books.prints("lock", "2026-01-31")
    home = read_page(client.get("/").text)
    same(home.one("p", id="lock").text(), "Locked until 2026-01-31")
    links = {link.get("href") for link in home.all("a")}
    assert {"/recurrences", "/statements"} <= links, links
    row = read_page(client.get("/recurrences").text).one("table", id="recurrences")
    text = row.one("tr", data_name="a").text()
    assert all(part in text for part in ("week", "2026-03-02", "A <b>")), text
    table = read_page(client.get("/statements").text).one("table", id="statements")
    off = table.one("tr", data_account=BANK, data_date="2026-01-31")
    assert "off" in off.classes(), off.classes()
    assert "off" not in table.one("tr", data_account=FOOD).classes()


def check_bad_dates_are_refused(product: Product) -> None:
    """Days that do not exist are named wherever one is given."""
    books = filled(product)
    for command in (("lock",), ("recur", "run", "--to"), ("reconcile", BANK, "--at")):
        books.refuses("bad date: 2026-02-30", *command, "2026-02-30")


def check_wrong_usage(product: Product) -> None:
    """Commands without what they need are wrong usage."""
    books = filled(product)
    for command in ("recur", "recur run", "recur add", "statement", "reconcile", "close-year"):
        same((command, books(*command.split()).code), (command, 2))


def check_a_close_takes_the_years_before(product: Product) -> None:
    """What earlier years left in Income and Expenses is closed, later days are not."""
    books = opened(product)
    books.prints("account", "add", CLOSED, "EUR")
    books.prints("add", "2024-05-01", "Old", f"{FOOD}=10", BANK)
    books.prints("add", "2026-05-01", "Later", f"{FOOD}=3", BANK)
    books.prints("close-year", "2025", CLOSED)
    listed = books.prints("list", "--tag", "close")
    same(listed[1:], [f"  {FOOD} -10.00 EUR", f"  {CLOSED} 10.00 EUR"])
    assert f"{FOOD} 3.00 EUR" in books.prints("balance")


def check_api_refusals(product: Product) -> None:
    """What is not allowed has its status and text."""
    client = filled(product).client()
    closed = client.post("/api/years/2026/close", {"into": BANK})
    same((closed.status, closed.json()), (422, {"error": f"not an equity account: {BANK}"}))
    same(client.post("/api/years/2026/close", {}).json(), {"error": "missing field: into"})
    same(client.send_json("PUT", "/api/lock", {}).json(), {"error": "missing field: until"})
    ran = client.post("/api/recurrences/run", {"to": "2026-02-30"})
    same((ran.status, ran.json()), (422, {"error": "bad date: 2026-02-30"}))
    client.send_json("PUT", "/api/lock", {"until": "2026-12-31"})
    locked = client.post("/api/years/2026/close", {"into": "Equity:Opening"})
    same((locked.status, locked.json()), (409, {"error": "locked: 2026-12-31"}))
    back = client.send_json("PUT", "/api/lock", {"until": "2026-01-01"})
    same((back.status, back.json()), (409, {"error": "locked: 2026-12-31"}))


def check_pages_are_there_when_empty(product: Product) -> None:
    """Without any data the new tables are there and empty."""
    client = filled(product).client()
    for name in ("recurrences", "statements"):
        answer = client.get(f"/{name}")
        same(answer.status, 200)
        table = read_page(answer.text).one("table", id=name)
        assert not [row for row in table.all("tr") if row.attributes]


def check_readme_tells_of_it(product: Product) -> None:
    """README names the new commands."""
    text = readme(product.root)
    missing = [word for word in ("recur", "reconcile", "close-year", "lock") if word not in text]
    assert not missing, missing


def check_own_tests_pass(product: Product) -> None:
    """The project has tests, and they pass."""
    own_tests_pass(product)

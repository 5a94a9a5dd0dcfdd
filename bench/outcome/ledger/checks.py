"""Black-box checks of the request `ledger`: its command line."""

from __future__ import annotations

import csv
import io

from bench.outcome.handover import foreign_imports, own_tests_pass, readme
from bench.outcome.ledger.books import (
    BANK,
    DOLLARS,
    FOOD,
    RENT,
    SALES,
    Books,
    empty,
    filled,
    imported,
    opened,
)  # fmt: skip
from bench.outcome.product import PYTHON, Product
from bench.outcome.suite import same


def check_accounts_are_added_and_listed(product: Product) -> None:
    """Accounts are confirmed, and listed by name with their currency and state."""
    books = empty(product)
    same(books.prints("account", "add", "Income:Sales", "USD"), ["added Income:Sales USD"])
    books.prints("account", "add", "Assets:Bank-2:Main", "EUR")
    same(books.prints("account", "list"), ["Assets:Bank-2:Main EUR open", "Income:Sales USD open"])


def check_account_names_and_currencies_are_checked(product: Product) -> None:
    """Bad names, bad currencies and a second account of the name are refused."""
    books = opened(product)
    for name in ("Bank", "assets:Bank", "Assets:", "Assets:bank", "Other:Bank", "Assets:A b"):
        books.refuses(f"bad account: {name}", "account", "add", name, "EUR")
    books.refuses("bad currency: eur", "account", "add", "Assets:New", "eur")
    books.refuses(f"account exists: {BANK}", "account", "add", BANK, "USD")
    books.refuses("unknown account: Assets:New", "account", "close", "Assets:New")


def check_accounts_close_only_when_empty(product: Product) -> None:
    """An account that holds something stays open; a closed one takes no postings."""
    books = filled(product)
    books.refuses(f"balance of {RENT} is 400.00 EUR", "account", "close", RENT)
    same(books.prints("account", "close", DOLLARS), [f"closed {DOLLARS}"])
    assert f"{DOLLARS} USD closed" in books.prints("account", "list")
    books.refuses(f"account closed: {DOLLARS}", "account", "close", DOLLARS)
    books.refuses(f"account closed: {DOLLARS}", "add", "2026-01-01", "x", f"{DOLLARS}=1", BANK)


def check_transactions_are_listed(product: Product) -> None:
    """`list` shows transactions by date, then id, with tags and postings."""
    books = filled(product)
    same(
        books.prints("list", "--to", "2026-01-10"),
        [
            "1 2026-01-05 Invoice 1 #acme",
            "  Assets:Bank 1000.00 EUR",
            "  Income:Sales -1000.00 EUR",
            "2 2026-01-10 Groceries",
            "  Expenses:Food 80.50 EUR",
            "  Assets:Bank -80.50 EUR",
        ],
    )
    heads = [line.split()[0] for line in books.prints("list") if not line.startswith(" ")]
    same(heads, ["1", "2", "4", "3"])


def check_list_filters(product: Product) -> None:
    """`list` filters by account with those below it, by dates and by tag."""
    books = filled(product)
    books.prints("account", "add", "Expenses:Foodstuff", "EUR")
    books.prints("add", "2026-01-11", "Other", "Expenses:Foodstuff=1", BANK)

    def ids(*options: str) -> list[str]:
        lines = books.prints("list", *options)
        return [line.split()[0] for line in lines if not line.startswith(" ")]

    same(ids("--account", FOOD), ["2", "4"])
    same(ids("--from", "2026-01-10", "--to", "2026-01-20"), ["2", "5", "4"])
    same(ids("--tag", "home"), ["3"])
    books.refuses("unknown account: Expenses:Fo", "list", "--account", "Expenses:Fo")


def check_unbalanced_is_refused(product: Product) -> None:
    """Weights that do not sum to zero are named, and nothing is stored."""
    books = opened(product)
    books.refuses("unbalanced: 5.00 EUR", "add", "2026-01-01", "x", f"{BANK}=10", f"{SALES}=-5")
    books.refuses(
        "unbalanced: -3.00 EUR, 5.00 USD",
        *("add", "2026-01-01", "x", f"{DOLLARS}=5", f"{BANK}=-3"),
    )
    same(books.prints("list"), [])
    same(books.prints("add", "2026-01-01", "x", f"{BANK}=10", SALES), ["transaction 1"])


def check_postings_are_checked(product: Product) -> None:
    """Too few postings, two without an amount, unknown accounts and used refs are refused."""
    books = opened(product)
    books.refuses("too few postings", "add", "2026-01-01", "x", f"{BANK}=0")
    books.refuses("two postings without an amount", "add", "2026-01-01", "x", BANK, SALES)
    books.refuses("unknown account: Assets:No", "add", "2026-01-01", "x", "Assets:No=1", BANK)
    add = ("add", "2026-01-01", "x", f"{BANK}=1", SALES, "--ref", "B-1")
    same(books.prints(*add), ["transaction 1"])
    books.refuses("ref exists: B-1", *add)


def check_amounts_and_decimals(product: Product) -> None:
    """Amounts have the decimals of their currency, and no more are accepted."""
    books = opened(product)
    for text in ("1.005", "1,5", "abc", "1e3", "--1", "NaN"):
        books.refuses(f"bad amount: {text}", "add", "2026-01-01", "x", f"{BANK}={text}", SALES)
    books.prints("account", "add", "Assets:Yen", "JPY")
    books.prints("account", "add", "Equity:Yen", "JPY")
    books.refuses("bad amount: 1.5", "add", "2026-01-01", "x", "Assets:Yen=1.5", "Equity:Yen")
    books.prints("add", "2026-01-01", "x", "Assets:Yen=300", "Equity:Yen")
    assert "Assets:Yen 300 JPY" in books.prints("balance")


def check_amounts_are_exact(product: Product) -> None:
    """Fifteen digits and many cents sum exactly."""
    books = opened(product)
    books.prints("add", "2026-01-01", "x", f"{BANK}=9007199254740.93", SALES)
    for _ in range(3):
        books.prints("add", "2026-01-02", "x", f"{BANK}=0.1", SALES)
    assert f"{BANK} 9007199254741.23 EUR" in books.prints("balance")
    assert f"{SALES} -9007199254741.23 EUR" in books.prints("balance")


def check_dates_are_checked(product: Product) -> None:
    """Days that do not exist are refused wherever a date is taken."""
    books = opened(product)
    for date in ("2026-02-30", "2026-1-05", "today"):
        books.refuses(f"bad date: {date}", "add", date, "x", f"{BANK}=1", SALES)
    books.refuses("bad date: 2025-02-29", "balance", "--at", "2025-02-29")
    books.refuses("bad month: 2026-13", "budget", "show", "2026-13")


def check_foreign_currency_has_a_rate(product: Product) -> None:
    """A posting with a rate weighs in the other currency, and is listed with the rate as typed."""
    books = opened(product)
    books.prints("add", "2026-01-01", "Change", f"{DOLLARS}=100@0.920:EUR", BANK)
    same(
        books.prints("list")[1:],
        [f"  {DOLLARS} 100.00 USD @ 0.920 EUR", f"  {BANK} -92.00 EUR"],
    )
    books.refuses("bad rate: 0", "add", "2026-01-01", "x", f"{DOLLARS}=1@0:EUR", BANK)


def check_weights_are_rounded_half_even(product: Product) -> None:
    """Half a cent goes to the even cent."""
    books = opened(product)
    books.prints("add", "2026-01-01", "a", f"{DOLLARS}=0.25@0.5:EUR", BANK)
    same(books.prints("report", "register", BANK), ["2026-01-01 1 -0.12 -0.12"])
    books.prints("add", "2026-01-02", "b", f"{DOLLARS}=0.75@0.5:EUR", BANK)
    same(books.prints("report", "register", BANK)[1:], ["2026-01-02 2 -0.38 -0.50"])


def check_void_reverses(product: Product) -> None:
    """A void negates a transaction on its own date, once."""
    books = filled(product)
    same(books.prints("void", "2"), ["transaction 5"])
    lines = books.prints("list", "--from", "2026-01-10", "--to", "2026-01-10")
    same(
        lines[3:],
        [
            "5 2026-01-10 Void of 2: Groceries",
            "  Expenses:Food -80.50 EUR",
            "  Assets:Bank 80.50 EUR",
        ],
    )
    books.refuses("already void: 2", "void", "2")
    books.refuses("already void: 5", "void", "5")
    books.refuses("unknown transaction: 77", "void", "77")


def check_balance_lists_what_is_not_zero(product: Product) -> None:
    """`balance` lists accounts that hold something, at a day if one is given."""
    books = filled(product)
    same(
        books.prints("balance"),
        [
            "Assets:Bank 490.00 EUR",
            "Expenses:Food 80.50 EUR",
            "Expenses:Food:Out 29.50 EUR",
            "Expenses:Rent 400.00 EUR",
            "Income:Sales -1000.00 EUR",
        ],
    )
    same(
        books.prints("balance", "--at", "2026-01-05"),
        ["Assets:Bank 1000.00 EUR", "Income:Sales -1000.00 EUR"],
    )


def check_balance_by_depth(product: Product) -> None:
    """`--depth` sums accounts into their first parts, by currency."""
    books = filled(product)
    books.prints("add", "2026-01-30", "Change", f"{DOLLARS}=10@0.9:EUR", BANK)
    same(
        books.prints("balance", "--depth", "1"),
        [
            "Assets 481.00 EUR",
            "Assets 10.00 USD",
            "Expenses 510.00 EUR",
            "Income -1000.00 EUR",
        ],
    )
    assert f"{FOOD} 110.00 EUR" in books.prints("balance", "--depth", "2")


def check_balance_in_a_currency(product: Product) -> None:
    """`--in` converts by the latest price up to the day or its inverse; one that lacks is named."""
    books = filled(product)
    books.prints("add", "2026-01-30", "Change", f"{DOLLARS}=10@0.9:EUR", BANK)
    books.refuses("no price: USD EUR", "balance", "--in", "EUR")
    same(
        books.prints("price", "2026-01-30", "EUR", "USD", "1.25"),
        ["price 2026-01-30 EUR USD 1.25"],
    )
    assert f"{DOLLARS} 8.00 EUR" in books.prints("balance", "--in", "EUR")
    books.prints("price", "2026-01-31", "USD", "EUR", "0.9")
    books.prints("price", "2026-02-10", "USD", "EUR", "0.7")
    books.prints("price", "2026-02-10", "USD", "EUR", "0.5")
    assert f"{DOLLARS} 5.00 EUR" in books.prints("balance", "--in", "EUR")
    assert f"{DOLLARS} 9.00 EUR" in books.prints("balance", "--in", "EUR", "--at", "2026-02-09")
    assert "Assets 486.00 EUR" in books.prints("balance", "--in", "EUR", "--depth", "1")
    books.refuses("bad rate: abc", "price", "2026-01-30", "EUR", "USD", "abc")


def check_income_report(product: Product) -> None:
    """Earned and spent are positive, and the net follows for each currency."""
    books = filled(product)
    same(
        books.prints("report", "income", "--from", "2026-01-06", "--to", "2026-02-28"),
        [
            "Expenses:Food 80.50 EUR",
            "Expenses:Food:Out 29.50 EUR",
            "Expenses:Rent 400.00 EUR",
            "Net -510.00 EUR",
        ],
    )
    january = books.prints("report", "income", "--from", "2026-01-01", "--to", "2026-01-31")
    same(january[2:], ["Income:Sales 1000.00 EUR", "Net 890.00 EUR"])


def check_register_runs_a_balance(product: Product) -> None:
    """The register shows each posting by date with the balance up to there."""
    books = filled(product)
    same(
        books.prints("report", "register", BANK),
        [
            "2026-01-05 1 1000.00 1000.00",
            "2026-01-10 2 -80.50 919.50",
            "2026-01-20 4 -29.50 890.00",
            "2026-02-01 3 -400.00 490.00",
        ],
    )


def check_budgets(product: Product) -> None:
    """A budget counts the accounts below it, can be replaced, and tells what is over."""
    books = filled(product)
    books.prints("budget", "set", FOOD, "2026-01", "50")
    same(
        books.prints("budget", "set", FOOD, "2026-01", "100"),
        [f"budget {FOOD} 2026-01 100.00 EUR"],
    )
    books.prints("budget", "set", RENT, "2026-01", "400")
    same(
        books.prints("budget", "show", "2026-01"),
        [
            "Expenses:Food 100.00 110.00 -10.00 110% OVER",
            "Expenses:Rent 400.00 0.00 400.00 0%",
        ],
    )
    same(books.prints("budget", "show", "2026-03"), [])


def check_budgets_are_for_expenses(product: Product) -> None:
    """Budgets are for expenses and above zero."""
    books = filled(product)
    books.refuses(f"not an expense: {BANK}", "budget", "set", BANK, "2026-01", "1")
    books.refuses("bad amount: 0", "budget", "set", FOOD, "2026-01", "0")
    books.refuses("bad month: 2026-1", "budget", "set", FOOD, "2026-1", "10")


def check_export(product: Product) -> None:
    """`export` writes the header and a row for each posting, with quotes where needed."""
    books = opened(product)
    books.prints(
        *("add", "2026-01-02", 'Bolts, 3/8"', f"{DOLLARS}=10@0.9:EUR", BANK),
        *("--tag", "a", "--tag", "b", "--ref", "R1"),
    )
    done = books("export")
    same(
        done.out,
        "id,date,description,tags,ref,account,amount,currency,rate,rate_currency\n"
        '1,2026-01-02,"Bolts, 3/8""",a b,R1,Assets:Dollars,10.00,USD,0.9,EUR\n'
        '1,2026-01-02,"Bolts, 3/8""",a b,R1,Assets:Bank,-9.00,EUR,,\n',
    )


def check_import_takes_an_export(product: Product) -> None:
    """What was exported can be imported into other books, with columns in any order."""
    text = filled(product)("export").out
    other = Books(product, product.work / "other.db")
    for name in (BANK, FOOD, RENT, SALES, "Expenses:Food:Out"):
        other.prints("account", "add", name, "EUR")
    table = [row[::-1] for row in csv.reader(io.StringIO(text))]
    turned = io.StringIO()
    csv.writer(turned).writerows(table)
    done = imported(other, turned.getvalue())
    same((done.code, done.out), (0, "imported 4, skipped 0\n"))
    same(other.prints("balance"), Books(product, product.work / "books.db").prints("balance"))


def check_import_skips_known_refs(product: Product) -> None:
    """The same bank statement imported twice counts once."""
    books = opened(product)
    text = (
        "id,date,description,ref,account,amount,currency\n"
        "1,2026-01-01,One,S-1,Assets:Bank,5,EUR\n1,2026-01-01,One,S-1,Income:Sales,-5,EUR\n"
        "2,2026-01-02,Two,S-2,Assets:Bank,6,EUR\n2,2026-01-02,Two,S-2,Income:Sales,-6,EUR\n"
    )
    same(imported(books, text).out, "imported 2, skipped 0\n")
    more = text + "3,2026-01-03,Three,,Assets:Bank,1,EUR\n3,2026-01-03,Three,,Income:Sales,-1,EUR\n"
    same(imported(books, more).out, "imported 1, skipped 2\n")
    assert f"{BANK} 12.00 EUR" in books.prints("balance")


def check_import_is_all_or_nothing(product: Product) -> None:
    """The first error is named with its line, and nothing is imported."""
    books = opened(product)
    head = "id,date,description,account,amount,currency\n"
    good = "1,2026-01-01,One,Assets:Bank,5,EUR\n1,2026-01-01,One,Income:Sales,-5,EUR\n"
    bad = "2,2026-01-02,Two,Assets:Bank,6,EUR\n2,2026-01-02,Two,Assets:No,-6,EUR\n"
    done = imported(books, head + good + bad)
    same(
        (done.code, done.out, done.err.strip()),
        (1, "", "error: line 4: unknown account: Assets:No"),
    )
    lame = "2,2026-01-02,Two,Assets:Bank,6,EUR\n2,2026-01-02,Two,Income:Sales,-5,EUR\n"
    same(imported(books, head + good + lame).err.strip(), "error: line 4: unbalanced: 1.00 EUR")
    same(books.prints("list"), [])


def check_wrong_usage_is_two(product: Product) -> None:
    """Unknown commands and options and missing arguments end with 2 and print nothing."""
    books = empty(product)
    for wrong in (["fly"], [], ["account", "add", "Assets:A"], ["list", "--colour", "red"]):
        done = books(*wrong)
        same((done.code, done.out), (2, ""))


def check_database_by_variable(product: Product) -> None:
    """BOOKS_DB names the database, and --db goes before it."""
    file = product.work / "by-variable.db"
    add = [PYTHON, "-m", "books", "account", "add", "Assets:Here", "EUR"]
    same(product.run(add, env={"BOOKS_DB": str(file)}).code, 0)
    same(Books(product, file).prints("account", "list"), ["Assets:Here EUR open"])
    listing = [PYTHON, "-m", "books", "--db", str(product.work / "o.db"), "account", "list"]
    same(product.run(listing, env={"BOOKS_DB": str(file)}).out, "")


def check_readme_and_own_tests(product: Product) -> None:
    """A README tells the commands, its own tests pass, and it imports nothing foreign."""
    assert "python -m books" in readme(product.root)
    same(foreign_imports(product.root), set())
    own_tests_pass(product)

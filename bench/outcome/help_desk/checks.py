"""Black-box checks of the request `help_desk`: what it says."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime

from bench.outcome.handover import foreign_imports, own_tests_pass, readme
from bench.outcome.help_desk.desk import (
    ANNA,
    BEN,
    CUSTOMER,
    MAX,
    NEW_TICKET,
    add_user,
    customer_form,
    fill,
    links,
    reply,
    set_on_page,
    show,
    sign_in,
    staffed,
    start,
    submit,
    ticket_page,
)  # fmt: skip
from bench.outcome.product import Product
from bench.outcome.suite import same


def check_starts_as_configured(product: Product) -> None:
    """One command starts it on PORT, with its data in HELPDESK_DATA and nowhere else."""
    before = set(product.root.rglob("*"))
    desk = start(product)
    same(desk.visitor().get("/").status, 200)
    desk.ticket()
    assert any((product.work / "data").iterdir())
    added = {path for path in set(product.root.rglob("*")) - before if "pyc" not in path.name}
    same({path.name for path in added} - {"__pycache__"}, set())


def check_customers_write_tickets(product: Product) -> None:
    """The form makes a ticket, and leads the customer to the page that shows it."""
    desk = staffed(product)
    customer = desk.visitor()
    path, form = customer_form(customer)
    done = customer.follow(submit(customer, path, form, fill(form, NEW_TICKET)))
    same(done.status, 200)
    [item] = desk.signed_in().get("/api/tickets").json()["items"]
    same((item["subject"], item["status"], item["assignee"]), ("Keyboard", "open", None))
    page = show(customer, done.path)
    pages = [page.text(), *(customer.follow(customer.get(p)).text for p in links(page)[:10])]
    assert any("A key is missing" in text for text in pages), page.text()[:300]


def check_tickets_come_over_the_api(product: Product) -> None:
    """A script writes a ticket, and its fields are those that were promised."""
    desk = staffed(product)
    made = desk.ticket("Screen", "It is dark")
    ticket = desk.read(desk.signed_in(), made)
    same([ticket[k] for k in ("subject", "status", "assignee")], ["Screen", "open", None])
    [message] = ticket["messages"]
    same((message["text"], message["internal"]), ("It is dark", False))
    assert any(word in message["author"] for word in CUSTOMER.values()), message
    created = datetime.fromisoformat(ticket["created"].replace("Z", "+00:00"))
    assert created.tzinfo is not None, ticket["created"]


def check_customers_follow_their_ticket(product: Product) -> None:
    """At the ticket's address its customer reads it without an account, and writes more."""
    desk = staffed(product)
    made = desk.ticket("Screen", "It is dark")
    customer = desk.visitor()
    page = show(customer, made["url"]).text()
    assert "Screen" in page, page[:300]
    assert "It is dark" in page, page[:300]
    reply(customer, made["url"], "Still dark today")
    same(desk.texts(desk.signed_in(), made), ["It is dark", "Still dark today"])
    assert "Still dark today" in show(customer, made["url"]).text()


def check_agents_sign_in_on_the_page(product: Product) -> None:
    """The form at /login leads to the tickets, and a wrong password does not."""
    desk = staffed(product)
    desk.ticket("Screen")
    agent = desk.visitor()
    [form, *_] = [form for form in show(agent, "/login").all("form") if form.all("input")]
    wrong = {"mail|user|text": ANNA, "password": "something else"}
    agent.follow(submit(agent, "/login", form, fill(form, wrong)))
    assert "Screen" not in agent.follow(agent.get("/tickets")).text
    [form, *_] = [form for form in show(agent, "/login").all("form") if form.all("input")]
    right = {"mail|user|text": ANNA, "password": "correct horse battery 7"}
    done = submit(agent, "/login", form, fill(form, right))
    assert done.status in (302, 303), done.status
    assert "Screen" in show(agent, done.header("location")).text()


def check_agents_answer_on_the_page(product: Product) -> None:
    """An agent finds the ticket, sees who asked what, and answers; the customer reads it."""
    desk = staffed(product)
    made = desk.ticket("Screen", "It is dark")
    agent = desk.signed_in()
    path = ticket_page(agent, "Screen")
    page = show(agent, path).text()
    for part in ("Screen", "It is dark", CUSTOMER["name"], CUSTOMER["email"]):
        assert part in page, (part, page[:300])
    reply(agent, path, "Have you tried the switch?")
    assert "Have you tried the switch?" in show(desk.visitor(), made["url"]).text()


def check_agents_answer_over_the_api(product: Product) -> None:
    """An answer over the API is in the ticket with its author."""
    desk = staffed(product)
    made = desk.ticket()
    agent = desk.signed_in()
    answer = agent.post(f"/api/tickets/{made['id']}/messages", {"text": "Off", "internal": False})
    assert answer.status in (200, 201), answer.status
    last = desk.read(agent, made)["messages"][-1]
    same((last["text"], last["internal"]), ("Off", False))
    assert re.search("anna", last["author"], re.IGNORECASE), last
    assert "Off" in show(desk.visitor(), made["url"]).text()


def check_notes_stay_inside(product: Product) -> None:
    """Agents see an internal note, the customer does not."""
    desk = staffed(product)
    made = desk.ticket("Screen")
    agent = desk.signed_in()
    agent.post(f"/api/tickets/{made['id']}/messages", {"text": "Difficult man", "internal": True})
    same(desk.read(desk.signed_in(BEN), made)["messages"][-1]["internal"], True)
    assert "Difficult man" in show(agent, ticket_page(agent, "Screen")).text()
    assert "Difficult man" not in desk.visitor().get(made["url"]).text


def check_status_and_assignee_over_the_api(product: Product) -> None:
    """PATCH sets what it is given and leaves the rest."""
    desk = staffed(product)
    made = desk.ticket()
    agent, path = desk.signed_in(), f"/api/tickets/{made['id']}"
    for change in ({"assignee": BEN}, {"status": "pending"}):
        answer = agent.send_json("PATCH", path, change)
        assert answer.status in (200, 204), f"{answer.status} {answer.text[:200]}"
    ticket = desk.read(agent, made)
    same((ticket["status"], ticket["assignee"]), ("pending", BEN))
    agent.send_json("PATCH", path, {"assignee": None})
    same(desk.read(agent, made)["assignee"], None)


def check_status_and_assignee_on_the_page(product: Product) -> None:
    """An agent solves a ticket and takes it over on its page."""
    desk = staffed(product)
    made = desk.ticket("Screen")
    agent = desk.signed_in()
    path = ticket_page(agent, "Screen")
    set_on_page(agent, path, "status|solve|state", "solve")
    same(desk.read(agent, made)["status"], "solved")
    with suppress(AssertionError):
        set_on_page(agent, path, "assign|take|claim|owner", "anna")
    if desk.read(agent, made)["assignee"] is None:
        set_on_page(agent, path, "assign|take|claim|owner", "")
    assert desk.read(agent, made)["assignee"] is not None


def check_the_list_filters_by_status(product: Product) -> None:
    """`?status=` narrows the list and its total."""
    desk = staffed(product)
    first, second = desk.ticket("One"), desk.ticket("Two")
    agent = desk.signed_in()
    agent.send_json("PATCH", f"/api/tickets/{first['id']}", {"status": "solved"})
    listed = agent.get("/api/tickets?status=open").json()
    same(([item["id"] for item in listed["items"]], listed["total"]), ([second["id"]], 1))
    same(agent.get("/api/tickets").json()["total"], 2)


def check_managers_see_numbers(product: Product) -> None:
    """The numbers count tickets by status, over the API and on the page."""
    desk = staffed(product)
    tickets = [desk.ticket(f"Case {n}") for n in range(17)]
    manager = desk.signed_in(MAX)
    for ticket in tickets[:4]:
        manager.send_json("PATCH", f"/api/tickets/{ticket['id']}", {"status": "solved"})
    stats = manager.get("/api/stats").json()
    same([stats[status] for status in ("open", "pending", "solved")], [13, 0, 4])
    shown = re.findall(r"\d+", show(manager, "/stats").text())
    assert {"13", "4"} <= set(shown), shown


def check_numbers_are_for_managers(product: Product) -> None:
    """Agents and strangers are refused the numbers."""
    desk = staffed(product)
    same(desk.signed_in(ANNA).get("/api/stats").status, 403)
    assert desk.signed_in(ANNA).get("/stats").status in (302, 303, 403, 404)
    same(desk.visitor().get("/api/stats").status, 401)


def check_accounts_are_changed_while_it_runs(product: Product) -> None:
    """`add-user` on an account that exists gives it the new password at once."""
    desk = staffed(product)
    same(add_user(product, ANNA, password="a new horse altogether 8").code, 0)
    same(sign_in(desk.visitor(), ANNA).status, 401)
    assert sign_in(desk.visitor(), ANNA, "a new horse altogether 8").status in (200, 204)
    assert sign_in(desk.visitor(), BEN).status in (200, 204)


def check_restart_keeps_everything(product: Product) -> None:
    """After SIGTERM and a new start all is there, and the customer's address still works."""
    desk = staffed(product)
    made = desk.ticket("Screen", "It is dark")
    reply(desk.visitor(), made["url"], "Still dark")
    desk.running.stop()
    desk = start(product)
    same(desk.texts(desk.signed_in(), made), ["It is dark", "Still dark"])
    assert "Still dark" in show(desk.visitor(), made["url"]).text()


def check_own_tests_pass(product: Product) -> None:
    """`python -m unittest` finds tests, and they pass."""
    own_tests_pass(product)


def check_standard_library_alone(product: Product) -> None:
    """Nothing is imported that Python does not bring."""
    same(foreign_imports(product.root), set())


def check_readme_tells_how_to_run_it(product: Product) -> None:
    """The README names the command, the configuration and how accounts are made."""
    text = readme(product.root)
    for part in ("python -m helpdesk", "PORT", "HELPDESK_DATA", "add-user"):
        assert part in text, part

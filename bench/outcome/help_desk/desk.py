"""Drives the product of the request `help_desk`; finds forms and links as a person would."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from bench.outcome.page import Element, form_fields, read_page
from bench.outcome.product import PYTHON, Finished, Product, Running, free_port
from bench.outcome.web import Answer, Client

ANNA, BEN, MAX = "anna@desk.example", "ben@desk.example", "max@desk.example"
PASSWORD = "correct horse battery 7"
CUSTOMER = {"name": "Carla Customer", "email": "carla@customer.example"}
COMMAND = [PYTHON, "-m", "helpdesk"]
INTERNAL = re.compile(r"internal|\bnote", re.IGNORECASE)
FORGERY = re.compile(r"csrf|xsrf|token|nonce", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Desk:
    """A help desk that runs."""

    product: Product
    running: Running

    @property
    def port(self) -> int:
        return self.running.port

    def visitor(self) -> Client:
        """Somebody without a session, in a browser or a script of the site's own origin."""
        return Client(self.port, {"Origin": f"http://127.0.0.1:{self.port}"})

    def signed_in(self, email: str = ANNA) -> Client:
        client = self.visitor()
        answer = sign_in(client, email)
        assert answer.status in (200, 201, 204), f"login: {answer.status} {answer.text[:200]}"
        return client

    def ticket(self, subject: str = "Printer", message: str = "It is on fire") -> dict[str, Any]:
        """A new ticket: its `id`, and as `url` the path of the customer's page."""
        document = {**CUSTOMER, "subject": subject, "message": message}
        answer = self.visitor().post("/api/tickets", document)
        assert answer.status == 201, f"new ticket: {answer.status} {answer.text[:200]}"
        made: dict[str, Any] = answer.json()
        return {**made, "url": path_of(made["url"])}

    def read(self, client: Client, ticket: Mapping[str, Any]) -> dict[str, Any]:
        """The ticket as an agent gets it over the API."""
        answer = client.get(f"/api/tickets/{ticket['id']}")
        assert answer.status == 200, f"ticket: {answer.status} {answer.text[:200]}"
        document: dict[str, Any] = answer.json()
        return document

    def texts(self, client: Client, ticket: Mapping[str, Any]) -> list[str]:
        return [message["text"] for message in self.read(client, ticket)["messages"]]

    def restarted(self) -> Desk:
        return start(self.product)


def environment(product: Product, port: int) -> dict[str, str]:
    return {"PORT": str(port), "HELPDESK_DATA": str(product.work / "data")}


def start(product: Product) -> Desk:
    port = free_port()
    return Desk(product, product.start(COMMAND, port=port, env=environment(product, port)))


def add_user(
    product: Product, email: str, role: str = "agent", password: str = PASSWORD
) -> Finished:
    name = email.partition("@")[0].title()
    return product.run(
        [*COMMAND, "add-user", email, "--name", name, "--role", role],
        env=environment(product, 0),
        stdin=password + "\n",
    )


def add_staff(product: Product) -> None:
    """Makes the agents Anna and Ben and the manager Max."""
    for email, role in ((ANNA, "agent"), (BEN, "agent"), (MAX, "manager")):
        done = add_user(product, email, role)
        assert done.code == 0, f"add-user: exit {done.code}: {done.err.strip()[-300:]}"


def staffed(product: Product) -> Desk:
    """A running desk with agents and a manager."""
    product.prepare("staff", lambda: add_staff(product))
    return start(product)


def busy(product: Product) -> Desk:
    """A staffed desk with 110 tickets, `Case 1` to `Case 110`."""

    def write_tickets() -> None:
        add_staff(product)
        desk = start(product)
        for number in range(1, 111):
            desk.ticket(f"Case {number}", f"The story of case {number}")
        desk.running.stop()

    product.prepare("busy", write_tickets)
    return start(product)


def sign_in(client: Client, email: str, password: str = PASSWORD) -> Answer:
    return client.post("/api/login", {"email": email, "password": password})


def session_cookie(desk: Desk, client: Client) -> str:
    """The name of the cookie that is the session."""
    for name, value in client.cookies.items():
        alone = Client(desk.port, cookies={name: value})
        if alone.get("/api/tickets").status == 200:
            return name
    raise AssertionError(f"no cookie is a session: {sorted(client.cookies)}")


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def show(client: Client, path: str) -> Element:
    """The page there, after redirects; AssertionError if it is none."""
    answer = client.follow(client.get(path))
    assert answer.status == 200, f"{path}: {answer.status}"
    return read_page(answer.text)


def links(page: Element) -> list[str]:
    """Paths on this site that the page links to."""
    targets = [link.get("href") for link in page.all("a") if link.get("href")]
    return [path_of(target) for target in targets if not urlsplit(target).scheme.startswith("mail")]


def customer_form(client: Client) -> tuple[str, Element]:
    """The form for a new ticket, on `/` or linked from there, and the path of its page."""
    home = show(client, "/")
    for path in ["/", *links(home)[:10]]:
        answer = client.follow(client.get(path))
        for form in read_page(answer.text).all("form"):
            if form.all("textarea"):
                return answer.path, form
    raise AssertionError("no form with a textarea on / or one link from it")


def fill(form: Element, values: Mapping[str, str]) -> dict[str, str]:
    """The form's fields, with each value in the first visible field whose name or type fits."""
    fields = form_fields(form)
    for pattern, value in values.items():
        fits = [e for e in visible(form) if re.search(pattern, describe(e), re.IGNORECASE)]
        assert fits, f"no field for {pattern} among {list(fields)}"
        fields[fits[0].get("name")] = value
    return fields


def visible(form: Element) -> list[Element]:
    kinds = ("hidden", "submit", "button", "checkbox", "radio", "image", "reset")
    return [e for e in form.all("input", "textarea", "select") if e.get("type") not in kinds]


def describe(field: Element) -> str:
    return f"{field.tag} {field.get('type')} {field.get('name')} {field.get('id')}"


NEW_TICKET = {
    "name": CUSTOMER["name"], "mail": CUSTOMER["email"], "subject|title": "Keyboard",
    "textarea": "A key is missing",
}  # fmt: skip


def submit(
    client: Client,
    path: str,
    form: Element,
    fields: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Sends a form of the page at `path`, by its first button that is not for notes."""
    target = path_of(urljoin(path, form.get("action")))
    method = form.get("method", "get").upper()
    return client.send_form(target, {**pressed(form), **fields}, headers, method)


def pressed(form: Element) -> dict[str, str]:
    buttons = [
        button
        for button in form.all("button", "input")
        if button.get("type", "submit" if button.tag == "button" else "text") == "submit"
        and button.get("name")
        and not INTERNAL.search(f"{button.get('value')} {button.text()}")
    ]
    return {button.get("name"): button.get("value") for button in buttons[:1]}


def reply_form(page: Element) -> Element:
    """The form that sends a message, not the one for internal notes."""
    forms = [form for form in page.all("form") if form.all("textarea")]
    assert forms, f"no form with a textarea: {page.text()[:200]}"
    public = [form for form in forms if not INTERNAL.search(form.get("action") + hidden(form))]
    return (public or forms)[0]


def hidden(form: Element) -> str:
    fields = form.all("input", type="hidden")
    return " ".join(f"{field.get('name')}={field.get('value')}" for field in fields)


def ticket_page(client: Client, subject: str) -> str:
    """The path of the agents' page of a ticket, linked from its line on /tickets."""
    page = show(client, "/tickets")
    for line in [*page.all("a"), *page.all("tr"), *page.all("li"), *page.all("article")]:
        if subject in line.text():
            [*targets] = [line.get("href"), *(a.get("href") for a in line.all("a"))]
            if any(targets):
                return path_of(next(filter(None, targets)))
    raise AssertionError(f"/tickets has no link to {subject!r}: {page.text()[:200]}")


def reply(client: Client, path: str, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Writes a message by the form on the ticket's page."""
    form = reply_form(show(client, path))
    return submit(client, path, form, fill(form, {"textarea": text}), headers)


def set_on_page(client: Client, path: str, field: str, value: str) -> Answer:
    """Sets a field of the ticket (by a select, radio or button) on its page."""
    return choose(show(client, path), field, value)(client, path)


def choose(page: Element, field: str, value: str) -> Callable[[Client, str], Answer]:
    """The first form by which `field` can be set to `value`, filled in but not sent yet."""
    for form in page.all("form"):
        for element in form.all("select"):
            options = [o for o in element.all("option") if has(o, value)]
            if re.search(field, element.get("name"), re.IGNORECASE) and options:
                chosen = options[0].get("value", options[0].text())
                return sender(form, {element.get("name"): chosen})
        for element in form.all("button", "input"):
            purpose = f"{element.get('name')} {form.get('action')} {hidden(form)}"
            fits = re.search(field, purpose, re.IGNORECASE)
            if fits and element.get("type") not in ("hidden", "text") and has(element, value):
                named = {element.get("name"): element.get("value")}
                return sender(form, named if element.get("name") else {})
    raise AssertionError(f"no form sets {field} to {value}")


def has(element: Element, value: str) -> bool:
    return value.lower() in f"{element.get('value')} {element.text()}".lower()


def sender(form: Element, values: dict[str, str]) -> Callable[[Client, str], Answer]:
    fields = {**form_fields(form), **values}
    return lambda client, path: submit(client, path, form, fields)

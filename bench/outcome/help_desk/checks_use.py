"""Black-box checks of the request `help_desk`: what users expect when they work with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bench.outcome.help_desk.desk import (
    ANNA,
    BEN,
    CUSTOMER,
    MAX,
    NEW_TICKET,
    Desk,
    busy,
    choose,
    customer_form,
    fill,
    links,
    path_of,
    reply,
    show,
    staffed,
    submit,
    ticket_page,
    visible,
)  # fmt: skip
from bench.outcome.page import Element, form_fields, read_page
from bench.outcome.product import Product
from bench.outcome.suite import same
from bench.outcome.web import Answer, Client

CONFLICT = (409, 412, 428)
VERSIONS = ("version", "revision", "rev", "etag", "updated", "updated_at", "modified")


def check_long_lists_come_in_pages_over_the_api(product: Product) -> None:
    """Of 110 tickets at most 100 come at once, and the next page has others."""
    agent = busy(product).signed_in()
    first = agent.get("/api/tickets").json()
    size = len(first["items"])
    same((first["total"], 0 < size <= 100), (110, True))
    seen = {item["id"] for item in first["items"]}
    for query in following(first, size):
        answer = agent.get(query)
        if answer.status == 200:
            items = {item["id"] for item in answer.json()["items"]}
            if items and not items & seen:
                return
    raise AssertionError("no way to the next page: page, offset, next, cursor")


def following(listed: dict[str, object], size: int) -> Iterator[str]:
    """Addresses of the second page, by the ways in which APIs have pages."""
    for name in ("next", "next_url", "next_page", "next_cursor", "cursor", "next_offset"):
        value = str(listed.get(name) or "")
        if "/" in value or "?" in value:
            yield path_of(value)
        elif value:
            yield f"/api/tickets?{name.removeprefix('next_')}={value}"
    yield from (f"/api/tickets?page=2&{p}={size}" for p in ("per_page", "page_size", "limit"))
    yield "/api/tickets?page=2"
    yield f"/api/tickets?offset={size}"
    yield f"/api/tickets?limit={size}&offset={size}"


def check_long_lists_come_in_pages_on_the_page(product: Product) -> None:
    """/tickets shows at most 100 of 110 tickets, and a link to the others."""
    agent = busy(product).signed_in()
    page = show(agent, "/tickets")
    first = set(re.findall(r"Case \d+", page.text()))
    assert 0 < len(first) <= 100, len(first)
    more = re.compile(r"next|older|more|[›»→>]|^2$", re.IGNORECASE)
    targets = [a.get("href") for a in page.all("a") if more.search(f"{a.text()} {a.get('rel')}")]
    assert targets, "no link to the next page"
    shown = [set(re.findall(r"Case \d+", show(agent, at(target)).text())) for target in targets[:5]]
    assert any(cases and not cases & first for cases in shown), targets


def at(target: str) -> str:
    return f"/tickets{target}" if target.startswith("?") else path_of(target)


def check_tickets_can_be_searched(product: Product) -> None:
    """A field on /tickets finds tickets by a word of their subject."""
    desk = staffed(product)
    desk.ticket("Projector"), desk.ticket("Keyboard")
    agent = desk.signed_in()
    for form in show(agent, "/tickets").all("form"):
        if form.get("method", "get").lower() == "get" and form.all("input"):
            fields = [e for e in visible(form) if e.tag == "input"]
            if fields:
                query = {**form_fields(form), fields[0].get("name"): "projector"}
                found = agent.follow(submit(agent, "/tickets", form, query))
                assert "Projector" in found.text
                assert "Keyboard" not in found.text
                return
    raise AssertionError("no search on /tickets")


def check_the_page_narrows_by_status(product: Product) -> None:
    """On /tickets a link or a select leaves only the tickets of a status."""
    desk = staffed(product)
    made = desk.ticket("Projector")
    desk.ticket("Keyboard")
    agent = desk.signed_in()
    agent.send_json("PATCH", f"/api/tickets/{made['id']}", {"status": "solved"})
    shown = [page.text() for page in narrowed(agent)]
    assert any("Projector" in text and "Keyboard" not in text for text in shown), len(shown)


def narrowed(agent: Client) -> Iterator[Element]:
    page = show(agent, "/tickets")
    for link in page.all("a"):
        if re.search("solved", link.get("href") + link.text(), re.IGNORECASE):
            yield show(agent, at(link.get("href")))
    if page.all("select"):
        yield read_page(agent.follow(choose(page, "stat", "solved")(agent, "/tickets")).text)


def check_an_empty_desk_says_so(product: Product) -> None:
    """Where there are no tickets yet, the page and the API say that."""
    desk = staffed(product)
    agent = desk.signed_in()
    listed = agent.get("/api/tickets").json()
    same((listed["items"], listed["total"]), ([], 0))
    text = show(agent, "/tickets").text()
    assert re.search(r"\bno\b|nothing|empty|none|\byet\b|all done", text, re.IGNORECASE), text[:300]
    same(desk.signed_in(MAX).get("/api/stats").json()["open"], 0)
    show(desk.signed_in(MAX), "/stats")


def check_an_agents_change_is_not_lost(product: Product) -> None:
    """Who changes a ticket that somebody else has changed meanwhile is told, by API or page."""
    desk = staffed(product)
    assert any(told_over_the_api(desk)) or told_on_the_page(desk)


def told_over_the_api(desk: Desk) -> Iterator[bool]:
    """Whether a change that refers to an older state is refused, for each way of referring."""
    anna, ben = desk.signed_in(ANNA), desk.signed_in(BEN)
    for use_etag, use_fields in ((True, False), (False, True), (True, True)):
        made = desk.ticket()
        path = f"/api/tickets/{made['id']}"
        old = anna.get(path)
        fields = {name: old.json()[name] for name in VERSIONS if use_fields and name in old.json()}
        tag = str(old.header("etag") or next(iter(fields.values()), ""))
        headers = {"If-Match": tag} if use_etag and tag else {}
        if fields or headers:
            anna.send_json("PATCH", path, {"assignee": ANNA, **fields}, headers)
            stale = ben.send_json("PATCH", path, {"assignee": BEN, **fields}, headers)
            yield stale.status in CONFLICT and desk.read(ben, made)["assignee"] == ANNA


def told_on_the_page(desk: Desk) -> bool:
    """Whether a form is refused that was opened before somebody else sent it."""
    anna, ben = desk.signed_in(ANNA), desk.signed_in(BEN)
    made = desk.ticket("Screen")
    path = ticket_page(anna, "Screen")
    first = choose(show(anna, path), "status|solve|state", "solve")
    second = choose(show(ben, path), "status|state|pend", "pend")
    first(anna, path)
    answer = ben.follow(second(ben, path))
    words = r"conflict|meanwhile|in the meantime|(some|any)(one|body) else|has been changed"
    said = answer.status in CONFLICT or re.search(words, answer.text, re.IGNORECASE)
    return bool(said) and desk.read(ben, made)["status"] == "solved"


def check_answers_at_once_are_all_kept(product: Product) -> None:
    """Twelve answers that come at the same time are all in the ticket."""
    desk = staffed(product)
    made = desk.ticket()
    agent = desk.signed_in()

    def answer(number: int) -> int:
        text = {"text": f"Answer {number}", "internal": False}
        return agent.post(f"/api/tickets/{made['id']}/messages", text).status

    with ThreadPoolExecutor(12) as threads:
        statuses = set(threads.map(answer, range(12)))
    assert statuses <= {200, 201}, statuses
    same(sorted(desk.texts(agent, made)[1:]), sorted(f"Answer {n}" for n in range(12)))


def check_tickets_at_once_are_all_kept(product: Product) -> None:
    """Twenty tickets that come at the same time have ids and addresses of their own."""
    desk = staffed(product)
    with ThreadPoolExecutor(10) as threads:
        made = list(threads.map(lambda n: desk.ticket(f"Case {n}"), range(20)))
    same((len({m["id"] for m in made}), len({m["url"] for m in made})), (20, 20))
    same(desk.signed_in().get("/api/tickets").json()["total"], 20)


def check_an_answer_opens_a_solved_ticket(product: Product) -> None:
    """When the customer writes to a solved ticket, it is open again."""
    desk = staffed(product)
    made = desk.ticket()
    agent = desk.signed_in()
    agent.send_json("PATCH", f"/api/tickets/{made['id']}", {"status": "solved"})
    reply(desk.visitor(), made["url"], "It is broken again")
    same(desk.read(agent, made)["status"], "open")


def check_numbers_tell_more_than_counts(product: Product) -> None:
    """Managers also see how long answers or solutions take."""
    desk = staffed(product)
    made = desk.ticket()
    manager = desk.signed_in(MAX)
    manager.post(f"/api/tickets/{made['id']}/messages", {"text": "Off", "internal": False})
    manager.send_json("PATCH", f"/api/tickets/{made['id']}", {"status": "solved"})
    text = manager.get("/api/stats").text + show(manager, "/stats").text()
    words = r"response|resol\w+ time|resolution|average|median|seconds|minutes|hours|time to"
    assert re.search(words, text, re.IGNORECASE), text[:300]


def check_forms_are_not_sent_twice(product: Product) -> None:
    """After a form comes a redirect, so that a reload sends nothing again."""
    desk = staffed(product)
    customer = desk.visitor()
    path, form = customer_form(customer)
    sent = submit(customer, path, form, fill(form, NEW_TICKET))
    assert sent.status in (302, 303), sent.status
    made = desk.ticket("Screen")
    assert reply(customer, made["url"], "Still dark").status in (302, 303)


def check_a_faulty_form_keeps_what_was_typed(product: Product) -> None:
    """A form without a subject comes back with the message in it, and makes no ticket."""
    desk = staffed(product)
    customer = desk.visitor()
    path, form = customer_form(customer)
    fields = fill(form, {**NEW_TICKET, "subject|title": "", "textarea": "My long story"})
    page = read_page(customer.follow(submit(customer, path, form, fields)).text)
    kept = ["".join(map(str, area.pieces)).strip() for area in page.all("textarea")]
    assert "My long story" in kept, page.text()[:300]
    same(desk.signed_in().get("/api/tickets").json()["total"], 0)


def check_any_script_and_lines_are_kept(product: Product) -> None:
    """Text of any language comes back as written, with its lines apart."""
    desk = staffed(product)
    message = "Grüße aus Łódź 🖨️\n日本語の二行目\n\nThird"
    made = desk.ticket("Défaut d’imprimante 🖨️", message)
    ticket = desk.read(desk.signed_in(), made)
    same(ticket["subject"], "Défaut d’imprimante 🖨️")
    same(ticket["messages"][0]["text"].replace("\r", ""), message)
    visitor = desk.visitor()
    answer = visitor.get(made["url"])
    assert "日本語の二行目" in read_page(answer.text).text()
    [between] = re.findall("Łódź.*?日本語", answer.text, re.DOTALL)[:1]
    assert "<" in between or keeps_lines(visitor, answer), "the lines run together"


def keeps_lines(client: Client, answer: Answer) -> bool:
    """Whether the page's styles, its own or linked ones, keep line breaks."""
    sheets = [link.get("href") for link in read_page(answer.text).all("link", rel="stylesheet")]
    styles = answer.text + "".join(client.get(path_of(sheet)).text for sheet in sheets)
    return bool(re.search(r"<pre|pre-wrap|pre-line|break-spaces", styles))


def public_pages(desk: Desk) -> dict[str, Element]:
    made = desk.ticket("Screen")
    visitor, agent = desk.visitor(), desk.signed_in()
    path, _ = customer_form(visitor)
    shown = {at: show(visitor, at) for at in ("/", path, "/login", made["url"])}
    return {**shown, "/tickets": show(agent, "/tickets")}


def check_pages_fit_a_phone(product: Product) -> None:
    """All pages tell phones to use their own width."""
    for path, page in public_pages(staffed(product)).items():
        views = page.all("meta", name="viewport")
        assert views, f"{path} has no viewport"
        assert "width=device-width" in views[0].get("content"), path


def check_pages_have_a_language_and_titles(product: Product) -> None:
    """All pages name their language, and titles tell them apart."""
    found = public_pages(staffed(product))
    for path, page in found.items():
        assert page.one("html").get("lang"), f"{path} has no lang"
    titles = {path: "".join(map(str, page.one("title").pieces)) for path, page in found.items()}
    assert len({titles[path] for path in ("/", "/login", "/tickets")}) == 3, titles


def check_fields_have_labels(product: Product) -> None:
    """Each field of a form has a label for those who cannot see it."""
    for path, page in public_pages(staffed(product)).items():
        named = {label.get("for") for label in page.all("label")}
        wrapped = [id(e) for label in page.all("label") for e in label.all()]
        for form in page.all("form"):
            for field in visible(form):
                labelled = (
                    field.get("id") in named - {""}
                    or id(field) in wrapped
                    or field.get("aria-label")
                    or field.get("aria-labelledby")
                )
                assert labelled, f"{path}: {field.get('name')} has no label"


def check_agents_find_their_way(product: Product) -> None:
    """From the tickets an agent can sign out, and a manager gets to the numbers."""
    desk = staffed(product)
    agent, manager = desk.signed_in(), desk.signed_in(MAX)
    assert any(link.startswith("/stats") for link in links(show(manager, "/tickets")))
    page = show(agent, "/tickets")
    out = re.compile(r"(sign|log)[ -]?(out|off)", re.IGNORECASE)
    forms = [f for f in page.all("form") if out.search(f"{f.text()} {f.get('action')}")]
    ways = [a for a in page.all("a") if out.search(f"{a.text()} {a.get('href')}")]
    assert forms or ways, "no way to sign out"
    if forms:
        submit(agent, "/tickets", forms[0], form_fields(forms[0]))
    else:
        agent.get(path_of(ways[0].get("href")))
    same(agent.get("/api/tickets").status, 401)


def check_customers_are_told_whom_they_wrote_as(product: Product) -> None:
    """The customer's page shows the status and who wrote each message."""
    desk = staffed(product)
    made = desk.ticket("Screen")
    desk.signed_in().post(f"/api/tickets/{made['id']}/messages", {"text": "Off", "internal": False})
    text = show(desk.visitor(), made["url"]).text().lower()
    assert re.search("open|pending|solved", text), text[:300]
    assert "anna" in text, text[:300]
    assert CUSTOMER["name"].split()[0].lower() in text or "you" in text, text[:300]

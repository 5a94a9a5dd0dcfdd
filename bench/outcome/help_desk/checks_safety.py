"""Black-box checks of the request `help_desk`: the safety that everybody expects unsaid."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from contextlib import suppress

from bench.outcome.help_desk.desk import (
    ANNA,
    BEN,
    CUSTOMER,
    FORGERY,
    NEW_TICKET,
    PASSWORD,
    Desk,
    add_user,
    customer_form,
    fill,
    reply_form,
    session_cookie,
    show,
    sign_in,
    staffed,
    start,
    submit,
    ticket_page,
)  # fmt: skip
from bench.outcome.page import Element, form_fields
from bench.outcome.product import Product
from bench.outcome.suite import same
from bench.outcome.web import Answer, Client

EVIL = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
IMAGE, SCRIPT = "<img src=x onerror=alert(77)>", '"><script>alert(77)</script>'


def check_strangers_see_no_tickets(product: Product) -> None:
    """Without a session the API answers 401, and the agents' pages show nothing."""
    desk = staffed(product)
    made = desk.ticket("Screen", "It is dark")
    agent = desk.signed_in()
    stranger = desk.visitor()
    for path in ("/api/tickets", f"/api/tickets/{made['id']}"):
        same(stranger.get(path).status, 401)
    change = stranger.send_json("PATCH", f"/api/tickets/{made['id']}", {"status": "solved"})
    same((change.status, desk.read(agent, made)["status"]), (401, "open"))
    for path in ("/tickets", ticket_page(agent, "Screen")):
        answer = stranger.get(path)
        assert answer.status in (302, 303, 401, 403), answer.status
        assert "Screen" not in answer.text


def check_customers_pages_cannot_be_guessed(product: Product) -> None:
    """A customer's address holds a long secret of its own; another one shows nothing."""
    desk = staffed(product)
    first, second = desk.ticket("One", "First secret"), desk.ticket("Two", "Second secret")
    secrets = [re.findall(r"[A-Za-z0-9_-]{16,}", made["url"]) for made in (first, second)]
    assert all(secrets), (first["url"], second["url"])
    mine, other = secrets[0][-1], secrets[1][-1]
    assert mine != other
    for forged in (other, mine[:-4] + ("AAAA" if mine[-4:] != "AAAA" else "BBBB"), ""):
        answer = desk.visitor().get(first["url"].replace(mine, forged))
        assert "First secret" not in answer.text, forged


def check_wrong_passwords_do_not_tell_accounts(product: Product) -> None:
    """A wrong password and an unknown account are answered alike, over API and page."""
    desk = staffed(product)

    def api(email: str) -> tuple[int, str]:
        answer = sign_in(desk.visitor(), email, "wrong wrong wrong")
        return answer.status, answer.text.replace(email, "")

    def page(email: str) -> tuple[int, str]:
        client = desk.visitor()
        [form, *_] = [form for form in show(client, "/login").all("form") if form.all("input")]
        values = {"mail|user|text": email, "password": "wrong wrong wrong"}
        sent = submit(client, "/login", form, fill(form, values))
        text = show(client, "/login").text() if sent.status in (302, 303) else ""
        return sent.status, text or " ".join(re.sub(r"<[^>]*>", " ", sent.text).split())

    same(api(ANNA)[0], 401)
    same(api("nobody@desk.example"), api(BEN))
    same(page("nobody@desk.example"), page(BEN))


def check_unknown_accounts_take_as_long(product: Product) -> None:
    """The time of a refusal does not tell either whether the account exists."""
    desk = staffed(product)
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    for email, kind in ((ANNA, "known"), ("no@desk.example", "unknown")) * 3:
        client = desk.visitor()
        began = time.perf_counter()
        answer = sign_in(client, email, "wrong wrong wrong")
        if answer.status == 401:
            times[kind].append(time.perf_counter() - began)
    known, unknown = min(times["known"]), min(times["unknown"])
    assert unknown > 0.4 * known, f"known {known:.3f} s, unknown {unknown:.3f} s"


def check_guessing_is_slowed(product: Product) -> None:
    """After some wrong passwords in a row, more are not even tried."""
    desk = staffed(product)
    statuses = [sign_in(desk.visitor(), ANNA, f"guess number {n}").status for n in range(25)]
    same(statuses[0], 401)
    assert {429, 403, 423, 503} & set(statuses), statuses


def check_passwords_are_not_stored(product: Product) -> None:
    """The data holds no password, and none that is only run through a quick hash."""
    desk = staffed(product)
    desk.signed_in()
    desk.running.stop()
    stored = b"".join(p.read_bytes() for p in (product.work / "data").rglob("*") if p.is_file())
    assert ANNA.encode() in stored, "the accounts are not in the data"
    secret = PASSWORD.encode()
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(algorithm, secret)
        for form in (digest.digest(), digest.hexdigest().encode()):
            assert form not in stored, algorithm
        assert base64.b64encode(digest.digest()).rstrip(b"=") not in stored, algorithm
    assert secret not in stored


def check_passwords_are_hashed_slowly(product: Product) -> None:
    """Passwords go through scrypt or PBKDF2, with a salt."""
    texts = [path.read_text(encoding="utf-8") for path in product.root.rglob("*.py")]
    hashing = [text for text in texts if re.search(r"\bscrypt\b|pbkdf2_hmac", text)]
    assert hashing
    assert any(re.search("salt", text, re.IGNORECASE) for text in hashing)


def check_weak_passwords_are_refused(product: Product) -> None:
    """An account cannot be made with an empty or a tiny password, nor with an unknown role."""
    desk = staffed(product)
    assert add_user(product, "new@desk.example", password="").code != 0
    assert add_user(product, "new@desk.example", password="abc").code != 0
    assert add_user(product, "new@desk.example", role="king").code != 0
    same(sign_in(desk.visitor(), "new@desk.example", "abc").status, 401)


def check_session_cookie_has_its_flags(product: Product) -> None:
    """The session is a long secret in a cookie that no script reads and no other site sends."""
    desk = staffed(product)
    client = desk.visitor()
    cookies = sign_in(client, ANNA).cookies()
    cookie = cookies[session_cookie(desk, client)]
    assert len(cookie.value) >= 20, cookie.value
    assert cookie["httponly"], "not HttpOnly"
    assert cookie["samesite"].lower() in ("lax", "strict"), f"SameSite={cookie['samesite']}"


def check_signing_in_makes_a_new_session(product: Product) -> None:
    """Whoever plants a session before somebody signs in gains nothing."""
    desk = staffed(product)
    name = session_cookie(desk, desk.signed_in())
    planted = "planted-planted-planted-planted"
    victim = desk.visitor()
    victim.get("/login")
    victim.cookies[name] = planted
    sign_in(victim, ANNA)
    assert victim.cookies[name] != planted
    same(Client(desk.port, cookies={name: planted}).get("/api/tickets").status, 401)


def check_signing_out_ends_the_session(product: Product) -> None:
    """After signing out the old cookie opens nothing."""
    desk = staffed(product)
    agent = desk.signed_in()
    old = dict(agent.cookies)
    same(Client(desk.port, cookies=old).get("/api/tickets").status, 200)
    assert agent.post("/api/logout", {}).status < 400
    same(Client(desk.port, cookies=old).get("/api/tickets").status, 401)


def check_new_password_ends_sessions(product: Product) -> None:
    """Whoever signed in with the old password is signed out by the new one."""
    desk = staffed(product)
    agent = desk.signed_in()
    same(agent.get("/api/tickets").status, 200)
    add_user(product, ANNA, password="a new horse altogether 8")
    same(agent.get("/api/tickets").status, 401)


def check_other_sites_cannot_use_the_api(product: Product) -> None:
    """With the cookie, but from another origin, nothing is changed."""
    desk = staffed(product)
    made = desk.ticket()
    agent = desk.signed_in()
    path, text = f"/api/tickets/{made['id']}/messages", {"text": "forged", "internal": False}
    for headers in (EVIL, {**EVIL, "Content-Type": "text/plain"}):
        answer = agent.post(path, text, headers)
        assert answer.status in (400, 401, 403, 415), answer.status
    agent.send_json("PATCH", f"/api/tickets/{made['id']}", {"status": "solved"}, EVIL)
    ticket = desk.read(agent, made)
    same((ticket["status"], len(ticket["messages"])), ("open", 1))


def check_other_sites_cannot_send_forms(product: Product) -> None:
    """An agent's form that another site sends, without its token, changes nothing."""
    desk = staffed(product)
    made = desk.ticket("Screen")
    agent = desk.signed_in()
    path = ticket_page(agent, "Screen")
    form = reply_form(show(agent, path))
    fields = fill(form, {"textarea": "forged"})
    known = {name: value for name, value in fields.items() if not FORGERY.search(name)}
    submit(agent, path, form, known, EVIL)
    same(len(desk.texts(agent, made)), 1)
    submit(agent, path, form, fields)
    same(len(desk.texts(agent, made)), 2)


def assert_harmless(page: Element) -> None:
    for element in page.all():
        assert not any(name.startswith("onerror") for name in element.attributes), element.tag
        assert element.tag != "script" or "alert(77)" not in "".join(map(str, element.pieces))


def hostile(desk: Desk) -> dict[str, str]:
    document = {**CUSTOMER, "name": f"Carla {SCRIPT}", "subject": IMAGE, "message": SCRIPT}
    made: dict[str, str] = desk.visitor().post("/api/tickets", document).json()
    return made


def check_agents_see_markup_as_text(product: Product) -> None:
    """Markup in a ticket is shown to agents as it was written, and does nothing."""
    desk = staffed(product)
    hostile(desk)
    agent = desk.signed_in()
    page = show(agent, "/tickets")
    assert_harmless(page)
    assert IMAGE in page.text()
    page = show(agent, ticket_page(agent, IMAGE))
    assert_harmless(page)
    assert SCRIPT in page.text()


def check_customers_see_markup_as_text(product: Product) -> None:
    """Markup in an answer, and in a form that comes back, does nothing."""
    desk = staffed(product)
    made = desk.ticket()
    text = {"text": SCRIPT, "internal": False}
    desk.signed_in().post(f"/api/tickets/{made['id']}/messages", text)
    page = show(desk.visitor(), made["url"])
    assert_harmless(page)
    assert SCRIPT in page.text()
    customer = desk.visitor()
    path, form = customer_form(customer)
    values = {**NEW_TICKET, "mail": "no address", "subject|title": SCRIPT, "textarea": IMAGE}
    sent = customer.follow(submit(customer, path, form, fill(form, values)))
    assert sent.status < 500
    assert "<script>alert(77)" not in sent.text
    assert "<img src=x" not in sent.text


def pages(desk: Desk) -> dict[str, Answer]:
    made = desk.ticket()
    agent = desk.signed_in()
    visitor = desk.visitor()
    public = {path: visitor.get(path) for path in ("/", "/login", made["url"])}
    return {**public, "/tickets": agent.get("/tickets")}


def check_pages_cannot_be_framed_or_sniffed(product: Product) -> None:
    """All pages forbid framing, and guessing of their type."""
    for path, answer in pages(staffed(product)).items():
        policy = answer.header("content-security-policy")
        framing = answer.header("x-frame-options") or "frame-ancestors" in policy
        assert framing, f"{path} can be framed"
        same(answer.header("x-content-type-options").lower(), "nosniff")


def check_pages_have_a_content_policy(product: Product) -> None:
    """A Content-Security-Policy forbids inline scripts on all pages."""
    for path, answer in pages(staffed(product)).items():
        policy = answer.header("content-security-policy").split(";")
        rules = {words[0]: words[1:] for words in map(str.split, policy) if words}
        scripts = rules.get("script-src", rules.get("default-src"))
        assert scripts is not None, f"{path} has no policy for scripts"
        assert "'unsafe-inline'" not in scripts, f"{path}: {scripts}"


def check_private_pages_are_not_cached(product: Product) -> None:
    """Pages with tickets are not kept by caches."""
    for path, answer in pages(staffed(product)).items():
        if path not in ("/", "/login"):
            kept = answer.header("cache-control").lower()
            assert re.search("no-store|private|no-cache", kept), f"{path}: {kept!r}"


def check_files_stay_inside(product: Product) -> None:
    """No path leads to a file outside of what is meant to be shown."""
    desk = start(product)
    for path in (
        "/../../../../../../etc/passwd",
        "/static/../../../../../../../etc/passwd",
        "/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/static/%2e%2e/%2e%2e/helpdesk/__main__.py",
        "//etc/passwd",
        "/helpdesk/__main__.py",
    ):
        with suppress(ConnectionError):
            answer = desk.visitor().get(path)
            assert "root:" not in answer.text, path
            assert "import " not in answer.text, path
    same(desk.visitor().get("/helpdesk/__main__.py").status, 404)


def check_visitors_cannot_speak_as_agents(product: Product) -> None:
    """A customer's own form cannot make a message internal, or an agent's."""
    desk = staffed(product)
    made = desk.ticket()
    customer = desk.visitor()
    form = reply_form(show(customer, made["url"]))
    fields = {**form_fields(form), **fill(form, {"textarea": "It is me"})}
    forged = {**fields, "internal": "1", "author": "anna@desk.example", "role": "agent"}
    submit(customer, made["url"], form, forged)
    last = desk.read(desk.signed_in(), made)["messages"][-1]
    same((last["text"], last["internal"]), ("It is me", False))
    assert "anna" not in last["author"].lower(), last

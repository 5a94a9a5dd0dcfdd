"""Black-box checks of the request `help_desk`: what it makes of bad input and bad days."""

from __future__ import annotations

import re
import signal
import socket
from contextlib import suppress
from http.client import HTTPConnection

from bench.outcome.help_desk.desk import COMMAND, CUSTOMER, Desk, environment, staffed, start
from bench.outcome.product import Product
from bench.outcome.suite import same
from bench.outcome.web import exchange


def assert_lives(desk: Desk) -> None:
    same(desk.visitor().get("/").status, 200)


def check_malformed_json_is_refused(product: Product) -> None:
    """A body that is no JSON object is 400, with an error in JSON."""
    desk = staffed(product)
    made = desk.ticket()
    agent = desk.signed_in()
    for path in ("/api/tickets", "/api/login", f"/api/tickets/{made['id']}/messages"):
        for body in (b"{oops", b"", b"[1, 2]", b'"text"', b"\xff\xfe"):
            answer = agent.send("POST", path, body, {"Content-Type": "application/json"})
            assert answer.status in (400, 422), (path, body, answer.status)
            assert answer.json()["error"]


def check_wrong_fields_are_refused(product: Product) -> None:
    """Missing, empty and mistyped fields of a ticket are refused, and nothing is stored."""
    desk = staffed(product)
    good: dict[str, object] = {**CUSTOMER, "subject": "Screen", "message": "Dark"}
    for field, value in (
        ("subject", ""), ("subject", "   "), ("subject", 7), ("message", None), ("message", ""),
        ("email", "no address"), ("email", ["a@b.example"]), ("name", {}),
    ):  # fmt: skip
        answer = desk.visitor().post("/api/tickets", {**good, field: value})
        assert answer.status in (400, 422), (field, value, answer.status)
        assert answer.json()["error"]
    missing = {name: value for name, value in good.items() if name != "email"}
    assert desk.visitor().post("/api/tickets", missing).status in (400, 422)
    same(desk.signed_in().get("/api/tickets").json()["total"], 0)


def check_wrong_changes_are_refused(product: Product) -> None:
    """A status that does not exist, an unknown assignee and an empty message are refused."""
    desk = staffed(product)
    made = desk.ticket()
    agent, path = desk.signed_in(), f"/api/tickets/{made['id']}"
    for change in ({"status": "lost"}, {"status": 3}, {"assignee": "nobody@desk.example"}):
        answer = agent.send_json("PATCH", path, change)
        assert answer.status in (400, 404, 409, 422), (change, answer.status)
    assert agent.post(f"{path}/messages", {"text": " ", "internal": False}).status in (400, 422)
    ticket = desk.read(agent, made)
    same((ticket["status"], ticket["assignee"], len(ticket["messages"])), ("open", None, 1))


def check_unknown_paths_are_404(product: Product) -> None:
    """What does not exist is 404, as JSON for the API and as a page for people."""
    desk = staffed(product)
    agent = desk.signed_in()
    for path in (
        "/api/nothing",
        "/api/tickets/999999",
        "/api/tickets/abc",
        f"/api/tickets/{10**30}",
    ):
        answer = agent.get(path)
        same((path, answer.status), (path, 404))
        assert answer.json()["error"]
    page = desk.visitor().get("/nothing/here")
    same(page.status, 404)
    assert "html" in page.header("content-type"), page.header("content-type")


def check_wrong_methods_are_405(product: Product) -> None:
    """A method that a path does not have is 405, and Allow names those it has."""
    desk = staffed(product)
    answer = desk.signed_in().send("DELETE", "/api/tickets")
    same(answer.status, 405)
    assert {"GET", "POST"} <= {m.strip() for m in answer.header("allow").split(",")}
    same(desk.visitor().send("PUT", "/login", b"").status, 405)


def check_head_is_answered(product: Product) -> None:
    """HEAD is answered like GET, without a body, as probes expect."""
    desk = start(product)
    answer = desk.visitor().send("HEAD", "/")
    same((answer.status, answer.body), (200, b""))


def check_large_bodies_are_refused(product: Product) -> None:
    """20 MB are not stored as a ticket, and the server lives on."""
    desk = staffed(product)
    document = {**CUSTOMER, "subject": "Big", "message": "x" * 20_000_000}
    with suppress(ConnectionError):
        answer = desk.visitor().post("/api/tickets", document)
        assert answer.status in (400, 413, 422), answer.status
    same(desk.signed_in().get("/api/tickets").json()["total"], 0)


def check_announced_lengths_are_not_trusted(product: Product) -> None:
    """A length of 10 GB, or one that is no number, is refused without waiting for the body."""
    desk = start(product)
    for length in ("10000000000", "-5", "many"):
        head = "POST /api/tickets HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        answer = exchange(desk.port, f"{head}Content-Length: {length}\r\n\r\n".encode(), 4)
        assert answer is not None, f"waits for a body of length {length}"
        status = answer.split(b" ", 2)[1] if answer else b"closed"
        assert status in (b"400", b"411", b"413", b"closed"), (length, status)
    assert_lives(desk)


def check_odd_addresses_do_no_harm(product: Product) -> None:
    """Odd parameters, ids and cookies never end in an internal error."""
    desk = staffed(product)
    desk.ticket()
    agent = desk.signed_in()
    for path in (
        "/tickets?page=-1", "/tickets?page=abc", "/tickets?page=99999999999999999999",
        "/tickets?status=lost", "/tickets?q=%ff%00'\"", "/tickets/0", "/tickets/%00",
        "/tickets/1%27%20or%201=1", "/api/tickets?page=0&limit=-5&offset=x&per_page=1e9",
        "/api/tickets?status=%00", "/api/tickets/%ff", "/?" + "a=1&" * 300,
    ):  # fmt: skip
        answer = agent.get(path)
        assert answer.status < 500, (path, answer.status)
        assert "Traceback" not in answer.text
    stranger = desk.visitor()
    stranger.cookies = {"session": '"\\', "sid": "%00"}
    assert stranger.get("/tickets").status < 500


def check_slow_clients_hold_nobody_up(product: Product) -> None:
    """While thirty clients say nothing or half a request, others are served."""
    desk = start(product)
    slow = [socket.create_connection(("127.0.0.1", desk.port), 3) for _ in range(30)]
    for connection in slow[:15]:
        connection.sendall(b"POST /api/tickets HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
    assert_lives(desk)
    for connection in slow:
        connection.close()


def check_sigterm_ends_it_cleanly(product: Product) -> None:
    """SIGTERM ends it with 0 in a few seconds, even while a browser keeps its connection."""
    desk = start(product)
    browser = HTTPConnection("127.0.0.1", desk.port, timeout=5)
    browser.request("GET", "/")
    browser.getresponse().read()
    same(desk.running.stop(timeout_s=6), 0)
    assert "Traceback" not in desk.running.output()


def check_a_crash_loses_no_ticket(product: Product) -> None:
    """What was confirmed before SIGKILL is there after the next start."""
    desk = staffed(product)
    made = [desk.ticket(f"Case {n}") for n in range(5)]
    desk.running.stop(signal.SIGKILL)
    desk = start(product)
    agent = desk.signed_in()
    same(agent.get("/api/tickets").json()["total"], 5)
    same(desk.read(agent, made[-1])["subject"], "Case 4")


def check_a_port_in_use_is_explained(product: Product) -> None:
    """On a port that is taken, or that is no number, it says so and ends, without a traceback."""
    desk = start(product)
    for port in (str(desk.port), "eighty"):
        done = product.run(COMMAND, env={**environment(product, 0), "PORT": port}, timeout_s=8)
        assert done.code != 0
        said = done.out + done.err
        assert "Traceback" not in said, said[-200:]
        assert re.search("port|in use", said, re.IGNORECASE), said[-200:]

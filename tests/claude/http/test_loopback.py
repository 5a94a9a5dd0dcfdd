"""What serves our own APIs on loopback, beyond what the simulation's tests show of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest

from claude.http.loopback import LoopbackServer
from claude.http.plain_http import Incoming, Outgoing
from core.errors import Interrupted
from tests.fakes.waiting import until


class Waiting:
    """Waits in each request until it may go on, or its client is gone."""

    def __init__(self) -> None:
        self.may_go_on, self.saw_it_go = threading.Event(), threading.Event()
        self.reached = threading.Event()

    def handle(self, incoming: Incoming) -> Outgoing:
        self.reached.set()
        while not self.may_go_on.wait(0.01):
            if incoming.is_gone():
                self.saw_it_go.set()
                raise Interrupted("gone")
        return Outgoing(200, {}, (b"here",), 4)


@pytest.fixture
def waiting() -> Iterator[tuple[Waiting, LoopbackServer]]:
    api = Waiting()
    with LoopbackServer(0, api, "a-name") as server:
        yield api, server
        api.may_go_on.set()


def test_a_client_that_waits_is_there_and_one_that_left_is_gone(
    waiting: tuple[Waiting, LoopbackServer],
) -> None:
    api, server = waiting
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert api.reached.wait(10)
        assert not api.saw_it_go.wait(0.1)
    assert api.saw_it_go.wait(10)


def test_a_server_reports_its_name(waiting: tuple[Waiting, LoopbackServer]) -> None:
    api, server = waiting
    api.may_go_on.set()
    with httpx2.Client(trust_env=False) as http:
        response = http.get(server.base_url)
    assert (response.text, response.headers["server"]) == ("here", "a-name")


def test_a_request_made_in_process_is_never_gone() -> None:
    assert not Incoming("GET", "/", {}).is_gone()


@pytest.mark.parametrize("patience_s", [0.0, 10.0])
def test_closing_waits_for_its_threads_as_long_as_given(patience_s: float) -> None:
    class Slow:
        reached = threading.Event()

        def handle(self, incoming: Incoming) -> Outgoing:
            self.reached.set()
            time.sleep(0.5)
            return Outgoing(200, {})

    api = Slow()
    server = LoopbackServer(0, api, "slow")
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert api.reached.wait(10)
        started = time.monotonic()
        server.close(patience_s)
        assert (time.monotonic() - started < 0.4) == (not patience_s)
    until(lambda: not [t for t in threading.enumerate() if t.name == "slow connection"])

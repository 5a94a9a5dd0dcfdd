"""The simulated API over real HTTP on loopback, and in process; both for the real SDK."""

from __future__ import annotations

import http.client
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from claude.client.client import connect
from claude.client.types import Claude
from claude.limits.governor import Governor
from claude.simulation.server import SimulatedServer, serve
from claude.simulation.transport import build_transport
from core.bundle import Limits, ModelSettings, SimulationSettings
from core.clock import StoppableClock, SystemClock
from core.credentials import Credentials
from core.errors import ConnectionLost, Interrupted, Overloaded, RateLimited, SettingsError
from tests.fakes.simulated import (
    MODELS,
    PROVIDERS,
    Heard,
    RecordingClock,
    SmallExecutor,
    ask,
    build_api,
    connected,
    design_small,
    planner_call,
    simulated_claude,
)

ROOT = Path(__file__).resolve().parents[3]
AWS_KEYS = Credentials(
    anthropic_api_key="key", aws_access_key_id="AKIAX", aws_secret_access_key="secret"
)
NO_WAITING = SimulationSettings(speed=0)


def running(**options: Any) -> SimulatedServer:
    return serve(0, NO_WAITING, SystemClock(), api=build_api(SystemClock(), **options))


def client(server: SimulatedServer, provider: str = "anthropic", **options: Any) -> Any:
    model = ModelSettings(provider=provider, model=MODELS[provider], base_url=server.base_url)
    return connected(model=model, credentials=AWS_KEYS, **options)


@pytest.fixture
def server() -> Iterator[SimulatedServer]:
    with running() as started:
        yield started


@pytest.mark.parametrize("provider", PROVIDERS)
def test_over_real_http_the_same_comes_out_as_in_process(
    provider: str, server: SimulatedServer
) -> None:
    with client(server, provider) as real, simulated_claude(provider) as simulated:
        over_http, in_process = real.send(planner_call()), simulated.send(planner_call())
        assert over_http.content == in_process.content
        assert over_http.usage.simulated
        assert SmallExecutor(real, "page").run() == SmallExecutor(simulated, "page").run()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_all_faults_over_real_http_are_overcome(provider: str) -> None:
    faults = (
        "rate_limit=0.1,overloaded=0.2,server_error=0.1,disconnect=0.2,truncate=0.1,bad_tool=0.1,"
        "escape=0.2,wrong_files=0.2"
    )
    with running(seed=5, faults=faults) as server, client(server, provider, retries=20) as claude:
        files = SmallExecutor(claude, "page").run()
    assert files == design_small("a todo list").files["page"]


def test_a_break_in_mid_stream_is_a_lost_connection_over_http(server: SimulatedServer) -> None:
    with (
        running(faults="disconnect=1") as breaking,
        client(breaking) as claude,
        pytest.raises(ConnectionLost, match="incomplete chunked read"),
    ):
        claude.send(ask())


def test_a_whole_message_that_breaks_is_short_over_http() -> None:
    with running(faults="disconnect=1") as server, pytest.raises(httpx2.RemoteProtocolError):
        post(server)


def test_a_rate_limit_has_its_header_over_http() -> None:
    with (
        running(faults="rate_limit=1") as server,
        client(server) as claude,
        pytest.raises(RateLimited) as caught,
    ):
        claude.send(ask())
    assert caught.value.retry_after_s == 0.0


def post(server: SimulatedServer, **headers: str) -> httpx2.Response:
    body = {"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    with httpx2.Client(trust_env=False) as http:
        return http.post(
            f"{server.base_url}/v1/messages",
            json=body,
            headers={"x-api-key": "k", "anthropic-version": "x", **headers},
        )


def test_it_listens_on_loopback_only(server: SimulatedServer) -> None:
    assert server.base_url == f"http://127.0.0.1:{server.port}"
    assert post(server).json()["model"] == "x"


def test_one_connection_serves_many_requests(server: SimulatedServer) -> None:
    http_client = http.client.HTTPConnection("127.0.0.1", server.port)
    for method, status in (("HEAD", 200), ("GET", 404), ("DELETE", 404), ("HEAD", 200)):
        http_client.request(method, "/")
        response = http_client.getresponse()
        response.read()
        assert response.status == status
    http_client.close()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"content-length: x", b"400"),
        (b"content-length: -1", b"400"),
        (b"transfer-encoding: chunked", b"400"),
        (b"content-length: 999999999999", b"413"),
    ],
)
def test_a_body_of_unclear_or_monstrous_length_is_not_read(
    head: bytes, status: bytes, server: SimulatedServer
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n" + head + b"\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(4_096), b""))
    assert answer.split()[1] == status


def test_a_client_that_goes_away_leaves_no_trace_and_harms_nobody(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    gone = threading.Event()

    class Slow(SystemClock):
        def sleep(self, seconds: float) -> None:
            gone.wait(5)

    noticed = threading.Event()

    class Noticing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "ended early" in record.getMessage():
                noticed.set()

    log, handler = logging.getLogger("claude.http.loopback"), Noticing()
    with caplog.at_level(logging.DEBUG, logger=log.name):
        log.addHandler(handler)
        with serve(0, NO_WAITING, Slow(), api=build_api(Slow())) as server:
            body = {
                "model": "x",
                "stream": True,
                "max_tokens": 900,
                "messages": [{"role": "user", "content": "hi"}],
            }
            data = json.dumps(body).encode()
            head = f"content-length: {len(data)}\r\nx-api-key: k\r\nanthropic-version: x\r\n\r\n"
            raw = socket.create_connection(("127.0.0.1", server.port))
            raw.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\n" + head.encode() + data)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            raw.recv(100)
            raw.close()
            gone.set()
            assert noticed.wait(10)
            assert post(server).status_code == 200
        log.removeHandler(handler)
    assert capfd.readouterr() == ("", "")


def test_closing_ends_the_connections_that_are_open() -> None:
    stop = threading.Event()
    server = serve(0, NO_WAITING, StoppableClock(stop), api=build_api(StoppableClock(stop)))
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"HEAD / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert raw.recv(4_096).startswith(b"HTTP/1.1 200")
        server.close()
        raw.settimeout(10)
        assert raw.recv(4_096) == b""
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port))


def test_a_stopped_clock_ends_a_stream_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    stop = threading.Event()
    stop.set()
    with (
        serve(0, NO_WAITING, SystemClock(), api=build_api(StoppableClock(stop))) as server,
        client(server) as claude,
        pytest.raises(ConnectionLost),
    ):
        claude.send(ask())
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_or_is_none_is_refused(server: SimulatedServer) -> None:
    for port in (server.port, 70_000):
        with pytest.raises(SettingsError, match=f"Port {port}"):
            serve(port, NO_WAITING, SystemClock())


def test_faults_that_cannot_be_read_are_refused_before_it_listens() -> None:
    with pytest.raises(SettingsError, match="escape"):
        serve(0, SimulationSettings(faults="escapes=1"), SystemClock())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stop_is_felt_in_the_wait_for_the_first_token(provider: str) -> None:
    clock = RecordingClock(stop_after=2)
    with simulated_claude(provider, clock=clock, speed=1.0) as claude, pytest.raises(Interrupted):
        claude.send(ask())


def test_in_process_nothing_is_sent_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for provider in PROVIDERS:
        with simulated_claude(provider) as claude:
            assert claude.send(ask()).stop_reason == "end_turn"


def whole_run(seed: int, order: list[str]) -> dict[str, dict[str, str]]:
    """The trees of tasks done by one client in the order given, with the shipped designer."""
    settings = SimulationSettings(seed, 0.0, "truncate=0.2,bad_tool=0.1,disconnect=0.1")
    trees = {}
    with connect(
        ModelSettings(simulation=settings),
        Credentials(),
        clock=SystemClock(),
        governor=Governor(),
        limits=Limits(request_retries=20),
    ) as claude:
        for task_id in order:
            trees[task_id] = SmallExecutor(claude, task_id).run()
    return trees


def test_the_order_of_the_tasks_and_their_threads_change_nothing() -> None:
    names = ["one", "two", "three", "four"]
    forward, backward = whole_run(4, names), whole_run(4, names[::-1])
    assert forward == backward
    apart: dict[str, dict[str, str]] = {}
    threads = [
        threading.Thread(target=lambda name=name: apart.update(whole_run(4, [name])))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert apart == forward


def test_another_process_writes_the_same_tree() -> None:
    program = (
        "import json; from tests.claude.simulation.test_server import whole_run;"
        "print(json.dumps(whole_run(9, ['one', 'two']), sort_keys=True))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert [json.loads(text) for text in told] == [whole_run(9, ["one", "two"])]


def test_a_transport_for_bad_settings_is_refused() -> None:
    with pytest.raises(SettingsError):
        build_transport(SimulationSettings(faults="x"), SystemClock())


def test_many_clients_at_once_are_served(server: SimulatedServer) -> None:
    trees: list[dict[str, str]] = []

    def work() -> None:
        with client(server) as claude:
            run_claude: Claude = claude
            trees.append(SmallExecutor(run_claude, "store").run())

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trees == [design_small("a todo list").files["store"]] * 6


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_overload_in_mid_stream_is_told_and_billed_by_both_providers(provider: str) -> None:
    billed = set()
    for seed in range(12):
        heard = Heard()
        with (
            simulated_claude(
                provider, seed=seed, faults="overloaded=1", retries=0, hooks=heard.hooks
            ) as claude,
            pytest.raises(Overloaded),
        ):
            claude.send(ask())
        billed.add(len(heard.usage))
    assert billed == {0, 1}

"""The proxy between the CLI and the provider: what goes out, what comes back, and when it ends."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude.allowance import LEAST_OUTPUT_TOKENS, guarded
from claude.client.client import connect
from claude.client.types import Claude, Hooks
from claude.engines.cli_proxy import PATIENCE_S, CliProxy
from claude.http.loopback import LoopbackServer
from claude.http.plain_http import MAX_BODY_BYTES, Incoming, Outgoing
from claude.limits.governor import Governor
from claude.simulation.wire import render_sse
from core.bundle import Allowance, Limits, ModelSettings, SimulationSettings
from core.clock import Clock, DeadlineClock, StoppableClock, SystemClock
from core.credentials import Credentials
from core.errors import BudgetExceeded, CredentialsRefused, Interrupted, RateLimited, ServerFault
from core.job import Usage
from tests.fakes.limited_api import Rules, limited_server
from tests.fakes.simulated import MODELS, RecordingClock, message_events, sse, text_block
from tests.fakes.waiting import until
from tests.fakes.witness import Witness

pytestmark = pytest.mark.slow  # starts many processes, or waits

KEYS = Credentials(anthropic_api_key="key-a", aws_bearer_token_bedrock="key-b")
HELLO = message_events(text_block("Hel", "lo"))
ASK: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 8_000,
    "messages": [{"role": "user", "content": "Hello"}],
    "stream": True,
}
Answering = Callable[[httpx2.Request], httpx2.Response]


def a_token_a_cent(usage: Usage) -> float:
    return usage.total_tokens / 100


def refused(status: int, text: str = "no", **headers: str) -> httpx2.Response:
    error = {"type": "error", "error": {"type": "some_error", "message": text}}
    return httpx2.Response(status, headers=headers, json=error)


@dataclass
class Bench:
    """A proxy in front of a scripted provider, and whoever asks it."""

    answer: Answering = field(default=lambda _: sse(*HELLO, **{"request-id": "req_1"}))
    model: ModelSettings = field(default_factory=ModelSettings)
    clock: Clock = field(default_factory=RecordingClock)
    governor: Governor = field(default_factory=Governor)
    limits: Limits = field(default_factory=lambda: Limits(request_retries=0))
    allowance: Allowance = field(default_factory=Allowance)
    transport: httpx2.BaseTransport | None = None
    asked: list[httpx2.Request] = field(default_factory=list)
    spent: list[Usage] = field(default_factory=list)
    begun: list[None] = field(default_factory=list)
    throttled: list[None] = field(default_factory=list)

    def connect(self, clock: Clock) -> AbstractContextManager[Claude]:
        told = Hooks(
            self.spent.append,
            on_throttle=lambda: self.throttled.append(None),
            on_answer=lambda: self.begun.append(None),
        )
        over_http = self.model.base_url or self.model.simulation
        return connect(
            self.model,
            KEYS,
            clock=clock,
            governor=self.governor,
            limits=self.limits,
            hooks=guarded(told, self.allowance, self.model, a_token_a_cent),
            transport=None if over_http else httpx2.MockTransport(self._note),
        )

    def _note(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        return self.answer(request)

    def sent(self, number: int = -1) -> dict[str, Any]:
        """The body of a request as it came to the provider."""
        return dict(json.loads(self.asked[number].content))

    @contextmanager
    def serving(self) -> Iterator[CliProxy]:
        with CliProxy(self.connect, self.clock) as proxy:
            yield proxy


@pytest.fixture
def bench() -> Bench:
    return Bench()


def post(proxy: CliProxy, body: Any = None, path: str = "/v1/messages", **more: Any) -> Any:
    """Ask the proxy as the CLI does."""
    content = body if isinstance(body, bytes) else json.dumps(ASK if body is None else body)
    headers = {"x-api-key": proxy.token, **more}
    with httpx2.Client(trust_env=False, timeout=30) as http:
        return http.post(f"{proxy.base_url}{path}?beta=true", content=content, headers=headers)


def events_of(response: httpx2.Response) -> list[dict[str, Any]]:
    blocks = response.text.strip().split("\n\n")
    return [json.loads(block.partition("\ndata: ")[2]) for block in blocks]


# -- who is served


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "loopback-guess"},
        {"authorization": "Bearer loopback-guess"},
        {"authorization": "Bearer"},
        {"x-api-key": KEYS.anthropic_api_key},
    ],
)
def test_a_request_without_the_token_is_refused_and_goes_nowhere(
    bench: Bench, headers: dict[str, str]
) -> None:
    with bench.serving() as proxy, httpx2.Client(trust_env=False) as http:
        response = http.post(f"{proxy.base_url}/v1/messages", json=ASK, headers=headers)
        assert http.head(proxy.base_url).status_code == 401
        proxy.check()
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"
    assert bench.asked == []


def test_the_token_may_come_as_a_bearer_token(bench: Bench) -> None:
    with bench.serving() as proxy:
        bearer = f"Bearer {proxy.token}"
        assert post(proxy, **{"x-api-key": "", "authorization": bearer}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1/models", "/v1/messages/../x"])
def test_nothing_but_messages_is_served(bench: Bench, path: str) -> None:
    with bench.serving() as proxy:
        assert post(proxy, path=path).status_code == 404
    assert bench.asked == []


def test_it_listens_on_loopback_only(bench: Bench) -> None:
    with bench.serving() as proxy:
        assert proxy.base_url.startswith("http://127.0.0.1:")


# -- what goes out

AS_THE_CLI = {
    **ASK,
    "system": [{"type": "text", "text": "You.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "tool_use", "id": "t1", "name": "Read", "input": {"file_path": "a"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "1"}],
                    "cache_control": {"type": "ephemeral"},
                }
            ],
        },
    ],
    "tools": [{"name": "Read", "description": "d", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
    "metadata": {"user_id": "u"},
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "new_field": {"of": ["the", "cli"]},
}
BETAS = "claude-code-20250219, interleaved-thinking-2025-05-14,effort-2025-11-24"


def test_what_the_cli_asks_goes_out_unchanged_to_the_model_that_was_chosen(bench: Bench) -> None:
    with bench.serving() as proxy:
        asks = {"anthropic-beta": BETAS, "anthropic-version": "2023-06-01"}
        assert post(proxy, AS_THE_CLI, **asks).status_code == 200
    assert bench.sent() == {**AS_THE_CLI, "model": bench.model.model}
    headers = bench.asked[0].headers
    assert headers["anthropic-beta"] == BETAS.replace(" ", "")
    assert headers["anthropic-version"] == "2023-06-01"
    assert headers["authorization"] == f"Bearer {KEYS.anthropic_api_key}"
    assert proxy.token not in str(headers.raw)


def test_to_bedrock_it_goes_as_bedrock_takes_it(bench: Bench) -> None:
    bench.model = ModelSettings(provider="bedrock", model=MODELS["bedrock"])
    bench.answer = lambda _: refused(400)
    with bench.serving() as proxy:
        post(proxy, AS_THE_CLI, **{"anthropic-beta": BETAS, "anthropic-version": "2023-06-01"})
    (request,) = bench.asked
    assert request.url.path == f"/model/{MODELS['bedrock']}/invoke-with-response-stream"
    assert request.headers["authorization"] == "Bearer key-b"
    kept = {name: AS_THE_CLI[name] for name in AS_THE_CLI.keys() - {"model", "stream"}}
    beta = ["interleaved-thinking-2025-05-14"]
    added = {"anthropic_version": "bedrock-2023-05-31", "anthropic_beta": beta}
    assert bench.sent() == {**kept, **added}


def test_a_system_text_and_no_betas_are_fine(bench: Bench) -> None:
    with bench.serving() as proxy:
        assert post(proxy, {**ASK, "system": "You."}).status_code == 200
    assert bench.sent()["system"] == [{"type": "text", "text": "You."}]
    assert "anthropic-beta" not in bench.asked[0].headers


def test_what_is_cached_is_cached_for_as_long_as_the_prices_know(bench: Bench) -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    block = {"type": "text", "text": "x", "cache_control": mark}
    said = {"type": "tool_use", "id": "t", "name": "Write", "input": {"cache_control": mark}}
    messages = [{"role": "user", "content": [block]}, {"role": "assistant", "content": [said]}]
    with bench.serving() as proxy:
        post(proxy, {**ASK, "system": [block], "messages": messages, "cache_control": mark})
    sent = bench.sent()
    short = {"type": "ephemeral"}
    assert sent["system"][0]["cache_control"] == sent["cache_control"] == short
    assert sent["messages"][0]["content"][0]["cache_control"] == short
    assert sent["messages"][1]["content"][0] == said


def test_a_body_as_large_as_the_api_takes_comes_through(bench: Bench) -> None:
    text = "x" * (MAX_BODY_BYTES - 1_000)
    with bench.serving() as proxy:
        body = {**ASK, "messages": [{"role": "user", "content": text}]}
        assert post(proxy, body).status_code == 200
        assert bench.sent()["messages"][0]["content"] == text
        with socket.create_connection(("127.0.0.1", int(proxy.base_url.rpartition(":")[2]))) as raw:
            raw.sendall(b"POST /v1/messages HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n")
            assert raw.recv(100).split()[1] == b"413"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'{"max_tokens": 5}',
        b'{"max_tokens": NaN, "messages": []}',
        b'{"messages": []}',
        b'{"max_tokens": 0, "messages": []}',
        b'{"max_tokens": true, "messages": []}',
        b'{"max_tokens": "9", "messages": []}',
        b'{"max_tokens": 5, "messages": ["x"]}',
        b'{"max_tokens": 5, "messages": [], "system": 5}',
        b'{"max_tokens": 5, "messages": [], "tools": [7]}',
        b'{"max_tokens": 5, "messages": [], "context_management": {"edits": [{}]}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"max_tokens": 5, "messages": [{"role": "user", "content": [' + b"[" * 50_000,
    ],
)
def test_rubbish_is_refused_and_ends_nothing(bench: Bench, body: bytes) -> None:
    with bench.serving() as proxy:
        response = post(proxy, body)
        assert response.status_code == 400
        assert response.headers["x-should-retry"] == "false"
        assert post(proxy).status_code == 200
        proxy.check()
    assert len(bench.asked) == 1


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"speed": "fast"}, "speed"),
        ({"service_tier": "auto"}, "service_tier"),
        ({"mcp_servers": []}, "mcp_servers"),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, "compact_20260112"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, "clear_tool"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "web_search_20250305"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "url", "url": "u"}}],
                    }
                ]
            },
            "image",
        ),
    ],
)
def test_what_would_cost_more_than_its_tokens_is_not_sent(
    bench: Bench, more: dict[str, Any], named: str
) -> None:
    with bench.serving() as proxy:
        response = post(proxy, {**ASK, **more})
        assert response.status_code == 400
        assert named in response.json()["error"]["message"]
    assert bench.asked == []


def test_what_is_nested_too_deeply_to_be_counted_is_refused(bench: Bench) -> None:
    bench.allowance = Allowance(max_tokens=10**9)
    deep = '{"a":' * 400 + "1" + "}" * 400
    body = json.dumps({**ASK, "metadata": 7}).replace("7", deep).encode()
    with bench.serving() as proxy:
        assert post(proxy, body).status_code in (200, 400)
        assert post(proxy).status_code == 200
        proxy.check()


# -- what comes back


def test_an_answer_comes_back_as_the_provider_gave_it(bench: Bench) -> None:
    events: list[dict[str, Any]] = [
        HELLO[0],
        {"type": "something_new", "of": {"the": "API"}},
        *HELLO[1:],
    ]
    bench.answer = lambda _: sse(*events, **{"request-id": "req_7", "x-simulated": "true"})
    with bench.serving() as proxy:
        response = post(proxy)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert (response.headers["request-id"], response.headers["x-simulated"]) == ("req_7", "true")
    assert events_of(response) == events
    assert response.text.startswith("event: message_start\ndata: {")
    assert [usage.request_id for usage in bench.spent] == ["req_7"]


def test_half_of_a_surrogate_pair_goes_on_as_it_came(bench: Bench) -> None:
    body = b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        for event in message_events(text_block("\ud83d", "\ude00"))
    )
    headers = {"content-type": "text/event-stream"}
    bench.answer = lambda _: httpx2.Response(200, headers=headers, content=body)
    with bench.serving() as proxy:
        assert events_of(post(proxy))[2]["delta"]["text"] == "\ud83d"


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_both_providers_answer_in_the_same_words(bench: Bench, provider: str) -> None:
    bench.model = ModelSettings(
        provider=provider, model=MODELS[provider], simulation=SimulationSettings(speed=0.0)
    )
    with bench.serving() as proxy:
        response = post(proxy)
        whole = post(proxy, {**ASK, "stream": False})
    assert [e["type"] for e in events_of(response)][:2] == ["message_start", "content_block_start"]
    assert response.headers["request-id"].startswith("req_sim_")
    message = whole.json()
    assert (message["type"], message["role"]) == ("message", "assistant")
    assert message["content"][0]["text"].startswith("This is a simulated reply")
    assert all(usage.simulated and usage.provider == provider for usage in bench.spent)


def test_who_wants_no_stream_gets_one_message(bench: Bench) -> None:
    with bench.serving() as proxy:
        message = post(proxy, {**ASK, "stream": False}).json()
    assert bench.sent()["stream"] is True
    assert message == {
        "type": "message",
        "id": "msg_1",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 7},
    }


def test_an_answer_that_breaks_is_asked_for_again_and_seen_whole(bench: Bench) -> None:
    bench.limits = Limits(request_retries=2)
    broken = [sse(*HELLO[:4]), sse(*HELLO[:3], {"type": "error", "error": {"type": "api_error"}})]

    def answer(_: httpx2.Request) -> httpx2.Response:
        return broken.pop(0) if broken else sse(*HELLO)

    bench.answer = answer
    with bench.serving() as proxy:
        assert events_of(post(proxy)) == HELLO
        proxy.check()
    assert len(bench.spent) == len(bench.asked) == 3


# -- limits and refusals


def test_the_beginning_of_an_answer_is_told_though_the_cli_gets_it_whole(bench: Bench) -> None:
    seen: list[tuple[int, int]] = []

    class Slow(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for event in HELLO:
                yield render_sse(event)
                seen.append((len(bench.begun), len(bench.spent)))

    headers = {"content-type": "text/event-stream"}
    bench.answer = lambda _: httpx2.Response(200, headers=headers, stream=Slow())
    with bench.serving() as proxy:
        assert post(proxy).status_code == 200
    assert set(seen) == {(1, 0)}
    assert (len(bench.begun), len(bench.spent)) == (1, 1)


def test_a_limit_is_waited_for_here_and_the_cli_sees_nothing_of_it(bench: Bench) -> None:
    clock = bench.clock = RecordingClock()
    bench.limits = Limits(request_retries=3)
    first = [refused(429, **{"retry-after": "7"}), refused(529)]
    bench.answer = lambda _: first.pop(0) if first else sse(*HELLO)
    with bench.serving() as proxy:
        assert post(proxy).status_code == 200
    assert sum(clock.slept) >= 7
    assert len(bench.throttled) == 2


@pytest.mark.parametrize(
    ("status", "told", "kind"),
    [
        (429, 429, "rate_limit_error"),
        (529, 529, "overloaded_error"),
        (500, 503, "api_error"),
        (401, 401, "authentication_error"),
        (402, 402, "billing_error"),
        (404, 404, "not_found_error"),
    ],
)
def test_what_no_request_can_overcome_is_reported_once_and_nothing_is_sent_after_it(
    bench: Bench, status: int, told: int, kind: str
) -> None:
    bench.answer = lambda _: refused(status)
    with bench.serving() as proxy:
        proxy.check()
        for _ in range(3):
            response = post(proxy)
            assert (response.status_code, response.json()["error"]["type"]) == (told, kind)
            assert response.headers["x-should-retry"] == "false"
        with pytest.raises(Exception, match="claude-sonnet-5-5 on anthropic"):
            proxy.check()
    assert len(bench.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [(429, RateLimited), (500, ServerFault), (401, CredentialsRefused)]
)
def test_what_ended_it_keeps_its_kind(bench: Bench, status: int, kind: type[Exception]) -> None:
    bench.answer = lambda _: refused(status)
    with bench.serving() as proxy:
        post(proxy)
        with pytest.raises(kind):
            proxy.check()


def test_a_governor_that_is_closed_ends_it_without_a_request(bench: Bench) -> None:
    bench.answer = lambda _: refused(401)
    with bench.serving() as proxy:
        post(proxy)
    other = Bench(governor=bench.governor)
    with other.serving() as proxy:
        assert post(proxy).status_code == 401
        with pytest.raises(CredentialsRefused):
            proxy.check()
    assert other.asked == []


def test_a_wrong_request_is_reported_in_the_providers_words_and_ends_nothing(bench: Bench) -> None:
    text = "prompt is too long: 210000 tokens > 200000 maximum"
    bench.answer = lambda _: refused(400, text)
    with bench.serving() as proxy:
        response = post(proxy)
        assert response.status_code == 400
        assert text in response.json()["error"]["message"]
        assert text in str(proxy.rejected)
        proxy.check()
        bench.answer = lambda _: sse(*HELLO)
        assert post(proxy).status_code == 200
        assert proxy.rejected is None


def test_an_unexpected_error_comes_out_where_the_engine_is(bench: Bench) -> None:
    class Failing(list[Usage]):
        def append(self, usage: Usage) -> None:
            raise ZeroDivisionError("oops")

    bench.spent = Failing()
    with bench.serving() as proxy:
        assert post(proxy).status_code == 503
        with pytest.raises(ZeroDivisionError, match="oops"):
            proxy.check()


def test_without_credentials_it_does_not_open(bench: Bench) -> None:
    bad = Credentials(anthropic_api_key="a key")

    def open_client(clock: Clock) -> AbstractContextManager[Claude]:
        return connect(
            bench.model, bad, clock=clock, governor=Governor(), limits=Limits(), hooks=Hooks()
        )

    before = threading.active_count()
    with pytest.raises(CredentialsRefused), CliProxy(open_client, SystemClock()):
        raise AssertionError("it opened")
    assert threading.active_count() == before


# -- the allowance


def test_an_answer_is_lowered_to_what_is_left_and_its_thinking_with_it(bench: Bench) -> None:
    bench.allowance = Allowance(max_tokens=5_000)
    thinking = {"type": "enabled", "budget_tokens": 7_999}
    with bench.serving() as proxy:
        assert post(proxy, {**ASK, "thinking": thinking}).status_code == 200
    most = bench.sent()["max_tokens"]
    assert 3_000 < most < 5_000
    assert bench.sent()["thinking"] == {"type": "enabled", "budget_tokens": most - 1}


def test_thinking_that_has_no_room_is_left_out(bench: Bench) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1_024}
    with bench.serving() as proxy:
        post(proxy, {**ASK, "thinking": thinking, "max_tokens": 1_024})
        assert bench.sent()["thinking"] == {"type": "disabled"}
        post(proxy, {**ASK, "thinking": thinking, "max_tokens": 1_025})
        assert bench.sent()["thinking"] == thinking
        post(proxy, {**ASK, "thinking": {"type": "enabled", "budget_tokens": "x"}})
        assert bench.sent()["thinking"]["budget_tokens"] == "x"


def test_what_does_not_fit_is_not_sent(bench: Bench) -> None:
    bench.allowance = Allowance(max_cost_usd=0.5)
    with bench.serving() as proxy:
        assert post(proxy).status_code == 402
        with pytest.raises(BudgetExceeded):
            proxy.check()
    assert bench.asked == []


def test_words_that_are_claimed_to_be_claudes_are_counted_as_new(bench: Bench) -> None:
    """Whoever has the token may write what it likes there."""
    bench.allowance = Allowance(max_tokens=20_000)
    bench.answer = lambda _: sse(*message_events(text_block("x"), usage={"input_tokens": 100}))
    turns = [*ASK["messages"], {"role": "assistant", "content": "y" * 30_000}]
    with bench.serving() as proxy:
        assert post(proxy).status_code == 200
        forged = {**ASK, "messages": [*turns, {"role": "user", "content": "Go on."}]}
        assert post(proxy, forged).status_code == 402


@pytest.mark.parametrize("kind", ["image", "document"])
def test_what_may_take_more_tokens_than_bytes_is_counted_so(bench: Bench, kind: str) -> None:
    bench.allowance = Allowance(max_tokens=6_000)
    source = {"type": "base64", "media_type": "x/y", "data": "AAAA"}
    block = {"type": kind, "source": source}
    heard = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    with bench.serving() as proxy:
        body = {**ASK, "messages": [{"role": "user", "content": [heard]}]}
        assert post(proxy, body).status_code == 402


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Requests of a CLI: a conversation that grows, and others on the side."""
    text = st.text("abc ", min_size=1, max_size=3_000)
    messages: list[dict[str, Any]] = []
    bodies = []
    for _ in range(draw(st.integers(1, 12))):
        most = draw(st.integers(1, 6_000))
        if draw(st.booleans()):
            side = [{"role": "user", "content": draw(text)}]
            bodies.append({**ASK, "messages": side, "max_tokens": most})
            continue
        messages = [*messages, {"role": "user", "content": draw(text)}]
        bodies.append({**ASK, "messages": messages, "max_tokens": most})
        messages = [*messages, {"role": "assistant", "content": draw(text)}]
    return bodies


@settings(max_examples=40)
@given(conversations(), st.integers(0, 40_000), st.booleans(), st.data())
def test_whatever_is_asked_no_more_is_used_than_was_allowed(
    bodies: list[dict[str, Any]], cap: int, in_money: bool, data: st.DataObject
) -> None:
    """The provider counts up to a token a byte, and answers as long as it is let."""
    allowed = Allowance(max_cost_usd=cap / 100) if in_money else Allowance(max_tokens=cap)
    bench = Bench(allowance=allowed, limits=Limits(request_retries=2))

    def answer(request: httpx2.Request) -> httpx2.Response:
        body = json.loads(request.content)
        size = len(json.dumps(body["messages"]).encode())
        usage = {data.draw(st.sampled_from(COUNTS)): data.draw(st.integers(0, size))}
        events = message_events(
            text_block("x"),
            usage=usage,
            end_usage={"output_tokens": data.draw(st.integers(1, body["max_tokens"]))},
        )
        return sse(*(events if data.draw(st.integers(0, 3)) else events[:2]))

    bench.answer = answer
    with CliProxy(bench.connect, bench.clock) as proxy:
        for body in bodies:
            sent = len(bench.asked)
            handled = proxy.handle(incoming(proxy, body))
            if handled.status == 402:
                assert len(bench.asked) - sent < 3
                break
            assert handled.status in (200, 503)
    assert sum(usage.total_tokens for usage in bench.spent) <= cap


COUNTS = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def incoming(proxy: CliProxy, body: dict[str, Any]) -> Incoming:
    headers = {"x-api-key": proxy.token}
    return Incoming("POST", "/v1/messages", headers, json.dumps(body).encode())


def test_an_allowance_that_is_enough_is_used(bench: Bench) -> None:
    bench.allowance = Allowance(max_tokens=1_300 + LEAST_OUTPUT_TOKENS)
    with bench.serving() as proxy:
        assert post(proxy).status_code == 200


# -- many at once, and those who leave


def test_one_request_goes_out_at_a_time(bench: Bench) -> None:
    at_once: list[int] = []
    busy = threading.Semaphore(100)
    working: set[int] = set()

    def answer(_: httpx2.Request) -> httpx2.Response:
        working.add(threading.get_ident())
        at_once.append(len(working))
        with busy:
            time.sleep(0.01)
        working.discard(threading.get_ident())
        return sse(*HELLO)

    bench.answer = answer
    with bench.serving() as proxy, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(proxy).status_code, range(16)))
    assert answers == [200] * 16
    assert set(at_once) == {1}


@pytest.mark.parametrize("at_once", [1, 3])
def test_the_clis_of_a_process_share_the_governor(at_once: int) -> None:
    rules = Rules(at_once=at_once, in_window=400, window_s=3.0, busy_s=0.2, first_s=0.02)
    busy = {"retry-after": "0.2"}
    started, api = limited_server(
        rules, speed=60.0, also_refuse=lambda _, n: (429, busy) if n in (2, 3) else None
    )
    witness = Witness()
    governor = Governor(admission=witness)

    def work(number: int) -> list[int]:
        bench = Bench(
            model=ModelSettings(base_url=started.base_url),
            clock=SystemClock(),
            governor=governor,
            limits=Limits(request_retries=20),
        )
        with bench.serving() as proxy:
            bodies = [{**ASK, "messages": [_user(f"{number} {n}")]} for n in range(3)]
            return [post(proxy, body).status_code for body in bodies]

    with started, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(work, range(6)))
    assert answers == [[200] * 3] * 6
    assert len(api.served) == 18
    assert witness.refusals == len(api.refusals) >= 2
    assert len(witness.started_s) == len(api.log)
    assert (witness.in_pause, witness.bursts) == (0, 0)


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


class Stuck:
    """A provider that begins its answer and never ends it."""

    def __init__(self) -> None:
        self.reached, self.released = threading.Event(), threading.Event()
        self.asked = 0

    def handle(self, incoming: Incoming) -> Outgoing:
        self.asked += 1
        return Outgoing(200, {"content-type": "text/event-stream"}, self._body(), None)

    def _body(self) -> Iterator[bytes]:
        yield sse(HELLO[0]).content
        time.sleep(0.2)  # it is on its way
        self.reached.set()
        self.released.wait(60)


@pytest.fixture
def stuck() -> Iterator[tuple[Stuck, LoopbackServer]]:
    api = Stuck()
    with LoopbackServer(0, api, "stuck") as server:
        yield api, server
        api.released.set()


def sockets_of_this_process() -> int:
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="it is Linux that shows sockets")
def test_an_end_in_mid_answer_is_prompt_and_leaves_no_thread_or_socket(
    stuck: tuple[Stuck, LoopbackServer],
) -> None:
    api, server = stuck
    bench = Bench(model=ModelSettings(base_url=server.base_url), clock=SystemClock())
    threads, sockets = set(threading.enumerate()), sockets_of_this_process()
    with ThreadPoolExecutor(1) as pool:
        with bench.serving() as proxy:
            asking = pool.submit(post, proxy)
            assert api.reached.wait(10)
            started = time.monotonic()
        assert time.monotonic() - started < PATIENCE_S / 2
        assert isinstance(asking.exception(10), httpx2.HTTPError)
    left = {thread.name for thread in set(threading.enumerate()) - threads}
    assert left <= {"stuck connection", "watchman"}, "which ends within a second"
    # what came is on the bill
    assert [usage.input_tokens for usage in bench.spent] == [10]
    api.released.set()
    until(lambda: sockets_of_this_process() <= sockets)


class EndlessFirst:
    """A provider whose first answer is nothing but pings."""

    def __init__(self) -> None:
        self.asked = 0

    def handle(self, incoming: Incoming) -> Outgoing:
        self.asked += 1
        body = self._pings() if self.asked == 1 else iter([sse(*HELLO).content])
        return Outgoing(200, {"content-type": "text/event-stream"}, body, None)

    def _pings(self) -> Iterator[bytes]:
        yield sse(HELLO[0]).content
        while True:
            time.sleep(0.02)
            yield b"event: ping\ndata: {}\n\n"


def hang_up_on(proxy: CliProxy, ready: Callable[[], bool]) -> None:
    """Ask, and leave once it is `ready`."""
    host, _, port = proxy.base_url.removeprefix("http://").partition(":")
    data = json.dumps(ASK).encode()
    head = f"x-api-key: {proxy.token}\r\ncontent-length: {len(data)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(b"POST /v1/messages HTTP/1.1\r\n" + head.encode() + data)
        until(ready)


def test_a_client_that_hangs_up_in_mid_answer_makes_way_for_the_next() -> None:
    api = EndlessFirst()
    with LoopbackServer(0, api, "endless") as server:
        bench = Bench(model=ModelSettings(base_url=server.base_url), clock=SystemClock())
        with bench.serving() as proxy:
            hang_up_on(proxy, lambda: api.asked == 1)
            assert events_of(post(proxy)) == HELLO
            proxy.check()
    assert len(bench.spent) == 2  # what was begun is on the bill


def test_a_client_that_hangs_up_is_not_waited_for() -> None:
    answers = [refused(429, **{"retry-after": "300"})]
    bench = Bench(clock=SystemClock(), limits=Limits(request_retries=9))
    bench.answer = lambda _: answers.pop()
    with bench.serving() as proxy:
        hang_up_on(proxy, lambda: bool(bench.throttled))
        until(lambda: not [t for t in threading.enumerate() if t.name.endswith("y connection")])
        proxy.check()
    assert len(bench.asked) == 1


def test_the_end_of_the_attempt_ends_a_request(bench: Bench) -> None:
    bench.model = ModelSettings(simulation=SimulationSettings(speed=0.001))
    bench.clock = DeadlineClock(SystemClock(), 0.3)
    with bench.serving() as proxy:
        assert post(proxy).status_code == 503
        with pytest.raises(Interrupted, match="time limit"):
            proxy.check()


def test_a_stop_ends_a_request(bench: Bench) -> None:
    stop = threading.Event()
    bench.model = ModelSettings(simulation=SimulationSettings(speed=0.001))
    bench.clock = StoppableClock(stop)
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    with bench.serving() as proxy:
        assert post(proxy).status_code == 503
        with pytest.raises(Interrupted, match="was stopped"):
            proxy.check()
    timer.join()

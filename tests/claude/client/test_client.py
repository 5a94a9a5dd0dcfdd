"""The client above the vendor's SDK: what goes out, what comes back, and when it asks again."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from claude.client.client import connect
from claude.client.types import Hooks, Reply
from claude.limits.governor import Governor
from core.bundle import Limits, ModelSettings, SimulationSettings
from core.clock import SystemClock
from core.credentials import Credentials
from core.errors import (
    BillingRefused,
    ConnectionLost,
    CredentialsRefused,
    Interrupted,
    ModelError,
    Overloaded,
    RateLimited,
    ServerFault,
    SettingsError,
)
from tests.fakes.simulated import (
    MODELS,
    PROVIDERS,
    TOOLS,
    Heard,
    RecordingClock,
    ask,
    connected,
    message_events,
    sse,
    text_block,
    tool_block,
)

CANARY = "sk-canary-0123456789"
HELLO = message_events(text_block("Hel", "lo"))


class Server:
    """Answers from a list, the last one again and again, and keeps the requests."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self._answers = answers
        self.requests: list[httpx2.Request] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self._answers[min(len(self.requests), len(self._answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def body(self) -> dict[str, Any]:
        return dict(json.loads(self.requests[-1].content))


def refuse(status: int, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, headers=headers, json={"error": {"message": "no"}})


def test_a_reply_has_the_blocks_the_reason_and_the_usage() -> None:
    events = message_events(
        text_block("Hello"),
        tool_block("write_file", '{"path":', ' "a"}'),
        stop_reason="tool_use",
        usage={
            "input_tokens": 10,
            "output_tokens": 1,
            "cache_read_input_tokens": 3,
            "cache_creation_input_tokens": 4,
        },
    )
    heard, clock = Heard(), RecordingClock()
    server = Server(sse(*events, **{"request-id": "req_1"}))
    with connected(server, hooks=heard.hooks, clock=clock) as claude:
        reply = claude.send(ask())
    assert reply.content == (
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "toolu_1", "name": "write_file", "input": {"path": "a"}},
    )
    assert reply.stop_reason == "tool_use"
    assert reply.broken_inputs == {}
    usage = reply.usage
    assert heard.usage == [usage]
    assert (usage.input_tokens, usage.output_tokens) == (10, 7)
    assert (usage.cache_read_tokens, usage.cache_write_tokens) == (3, 4)
    assert (usage.provider, usage.model) == ("anthropic", "claude-sonnet-5-5")
    assert (usage.request_id, usage.simulated) == ("req_1", False)


def test_a_call_goes_out_as_the_api_has_it() -> None:
    server = Server(sse(*HELLO))
    with connected(server) as claude:
        claude.send(
            ask(
                tools=TOOLS,
                tool_choice={"type": "tool", "name": "submit_result"},
                output_schema={"type": "object"},
            )
        )
    assert server.requests[0].url.path == "/v1/messages"
    assert server.body == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 8_000,
        "system": [{"type": "text", "text": "You are a test."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
        "stream": True,
        "tools": list(TOOLS),
        "tool_choice": {"type": "tool", "name": "submit_result"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }


def test_what_a_call_leaves_out_is_not_sent() -> None:
    server = Server(sse(*HELLO))
    with connected(server) as claude:
        claude.send(ask())
    assert set(server.body) == {"model", "max_tokens", "system", "messages", "stream"}


def test_input_cut_by_max_tokens_stays_visible() -> None:
    events = message_events(
        tool_block("write_file", '{"path": "a", "content": "half'), stop_reason="max_tokens"
    )
    with connected(Server(sse(*events))) as claude:
        reply = claude.send(ask())
    assert reply.stop_reason == "max_tokens"
    assert reply.broken_inputs == {"toolu_1": '{"path": "a", "content": "half'}


def test_an_empty_turn_is_a_reply() -> None:
    with connected(Server(sse(*message_events()))) as claude:
        assert claude.send(ask()).content == ()


def test_retries_wait_by_the_clock_and_tell_their_number() -> None:
    server = Server(refuse(500), refuse(529), httpx2.ReadError("gone"), sse(*HELLO))
    heard, clock = Heard(), RecordingClock()
    with connected(server, hooks=heard.hooks, clock=clock, retries=3) as claude:
        assert claude.send(ask()).content == ({"type": "text", "text": "Hello"},)
    numbers = [request.headers["x-stainless-retry-count"] for request in server.requests]
    assert numbers == ["0", "1", "2", "3"]
    assert sum(clock.slept) > 0
    assert [t.rpartition("(")[2] for t in heard.progress] == [
        f"retry {n} of 3)." for n in (1, 2, 3)
    ]
    assert len(heard.usage) == 1


def test_after_the_last_retry_the_error_comes_out() -> None:
    server = Server(refuse(503))
    with connected(server, retries=2) as claude, pytest.raises(ServerFault):
        claude.send(ask())
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413])
def test_a_final_refusal_is_asked_once(status: int) -> None:
    server, clock = Server(refuse(status)), RecordingClock()
    with connected(server, retries=5, clock=clock) as claude, pytest.raises(ModelError):
        claude.send(ask())
    assert len(server.requests) == 1
    assert clock.slept == []


@pytest.mark.parametrize("status", [429, 529])
def test_a_server_that_asks_for_hours_is_neither_asked_nor_waited_for_again(status: int) -> None:
    server, clock = Server(refuse(status, **{"retry-after": "7200"})), RecordingClock()
    governor = Governor()
    with connected(server, retries=5, governor=governor, clock=clock) as claude:
        with pytest.raises(BillingRefused, match="120 minutes, longer than a run waits"):
            claude.send(ask())
        with pytest.raises(BillingRefused):
            claude.send(ask())
    assert len(server.requests) == 1
    assert clock.slept == []


def test_after_a_refusal_for_good_no_client_of_the_process_asks_again() -> None:
    governor = Governor()
    refused, other = Server(refuse(401)), Server(sse(*HELLO))
    with connected(refused, governor=governor) as claude, pytest.raises(CredentialsRefused):
        claude.send(ask())
    with connected(other, governor=governor) as claude, pytest.raises(CredentialsRefused) as again:
        claude.send(ask())
    assert "rejected the credentials" in again.value.message
    assert other.requests == []


def test_each_request_that_meets_a_limit_is_reported() -> None:
    server, met = Server(refuse(429), refuse(529), refuse(500), sse(*HELLO)), list[int]()
    hooks = Hooks(on_throttle=lambda: met.append(len(server.requests)))
    with connected(server, hooks=hooks, retries=3) as claude:
        claude.send(ask())
    assert met == [1, 2]


def test_a_wait_for_the_limit_is_reported() -> None:
    heard, server = Heard(), Server(refuse(429, **{"retry-after": "11.2"}), sse(*HELLO))
    governor = Governor(draw=lambda: 0.0)
    with connected(server, hooks=heard.hooks, governor=governor, retries=1) as claude:
        claude.send(ask())
    assert heard.progress[0].endswith("Trying again (retry 1 of 1).")
    assert heard.progress[1] == "waiting for the rate limit, 12 s"


def test_the_limit_reported_with_an_answer_holds_the_next_request_back() -> None:
    clock, prefix = RecordingClock(), "anthropic-ratelimit-requests"
    told = {f"{prefix}-limit": "40", f"{prefix}-remaining": "0"}
    told |= {f"{prefix}-reset": "1970-01-01T00:17:40Z"}  # a minute from then
    with connected(Server(sse(*HELLO, **told)), clock=clock) as claude:
        claude.send(ask())
        assert clock.slept == []
        claude.send(ask())
    assert sum(clock.slept) == pytest.approx(1.5)


def test_a_rate_limit_holds_back_every_client_of_the_process() -> None:
    governor, clock = Governor(), RecordingClock()
    server = Server(refuse(429, **{"retry-after": "30"}))
    with connected(server, governor=governor, clock=clock) as claude, pytest.raises(RateLimited):
        claude.send(ask())
    assert clock.slept == []
    with connected(Server(sse(*HELLO)), governor=governor, clock=clock) as other:
        other.send(ask())
    assert 30.0 <= sum(clock.slept) <= 31.0


def test_overload_without_a_wish_pauses_for_the_delay_itself() -> None:
    governor, clock = Governor(), RecordingClock()
    server = Server(refuse(529), sse(*HELLO))
    with connected(server, governor=governor, clock=clock, retries=1) as claude:
        claude.send(ask())
    assert 0.5 <= (paused_s := sum(clock.slept)) <= 1.0
    with (
        connected(Server(refuse(500)), governor=governor, clock=clock) as other,
        pytest.raises(ServerFault),
    ):
        other.send(ask())
    assert sum(clock.slept) == paused_s  # a fault of one server is nobody else's business


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_stream_that_was_cut_is_billed_and_asked_again(provider: str) -> None:
    from claude.simulation.wire import render_chunk_frame, render_sse

    render = render_sse if provider == "anthropic" else render_chunk_frame
    cut = b"".join(render(event) for event in HELLO[:-2])
    whole = b"".join(render(event) for event in HELLO)
    server = Server(httpx2.Response(200, content=cut), httpx2.Response(200, content=whole))
    heard = Heard()
    with connected(server, provider=provider, hooks=heard.hooks, retries=1) as claude:
        reply = claude.send(ask())
    assert [usage.input_tokens for usage in heard.usage] == [10, 10]
    assert heard.usage[0].output_tokens == 2  # five characters came
    assert heard.usage[1] == reply.usage
    assert "before it was complete" in heard.progress[0]


def test_what_follows_the_end_of_a_message_is_not_waited_for() -> None:
    class Endless(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield sse(*HELLO).content
            raise AssertionError("read on after the end")

    with connected(Server(httpx2.Response(200, stream=Endless()))) as claude:
        assert claude.send(ask()).stop_reason == "end_turn"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_answer_is_told_when_it_begins_and_billed_when_it_has_ended(provider: str) -> None:
    from claude.simulation.wire import render_chunk_frame, render_sse

    render = render_sse if provider == "anthropic" else render_chunk_frame
    told: list[object] = []

    class Slow(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            assert told == []
            for event in HELLO:
                yield render(event)
                assert told == ["begun"]

    hooks = Hooks(on_usage=told.append, on_answer=lambda: told.append("begun"))
    with connected(
        Server(httpx2.Response(200, stream=Slow())), provider=provider, hooks=hooks
    ) as claude:
        reply = claude.send(ask())
    assert told == ["begun", reply.usage]


def test_each_try_that_began_is_told_and_one_that_did_not_is_not() -> None:
    told: list[object] = []
    hooks = Hooks(on_usage=told.append, on_answer=lambda: told.append("begun"))
    server = Server(refuse(500), sse(*HELLO[:-2]), sse(*HELLO))
    with connected(server, hooks=hooks, retries=2) as claude:
        reply = claude.send(ask())
    assert told[0::2] == ["begun", "begun"]
    assert told[3] == reply.usage
    assert len(told) == 4


def test_an_error_in_mid_stream_is_billed_too() -> None:
    event = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    heard = Heard()
    with (
        connected(Server(sse(*HELLO[:3], event)), hooks=heard.hooks) as claude,
        pytest.raises(Overloaded),
    ):
        claude.send(ask())
    assert len(heard.usage) == 1


def test_a_request_that_never_started_is_not_billed() -> None:
    heard = Heard()
    with connected(Server(refuse(500)), hooks=heard.hooks) as claude, pytest.raises(ServerFault):
        claude.send(ask())
    assert heard.usage == []


def test_a_stopped_clock_ends_a_stream_and_what_came_is_billed() -> None:
    heard, clock = Heard(), RecordingClock(stop_after=3)
    with (
        connected(Server(sse(*HELLO)), hooks=heard.hooks, clock=clock, retries=5) as claude,
        pytest.raises(Interrupted),
    ):
        claude.send(ask())
    assert len(heard.usage) == 1


def test_a_stopped_clock_ends_the_wait_for_a_retry() -> None:
    server = Server(refuse(500))
    with (
        connected(server, clock=RecordingClock(stop_after=0), retries=5) as claude,
        pytest.raises(Interrupted),
    ):
        claude.send(ask())
    assert len(server.requests) == 1


def test_credentials_are_handed_over_and_those_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.setenv(name, CANARY)
    handed = [
        ("anthropic", Credentials(anthropic_api_key="mine"), "Bearer mine"),
        ("anthropic", Credentials(anthropic_auth_token="token"), "Bearer token"),
        ("anthropic", Credentials("mine", anthropic_auth_token="token"), "Bearer mine"),
        ("bedrock", Credentials(aws_bearer_token_bedrock="mine"), "Bearer mine"),
        (
            "bedrock",
            Credentials(aws_access_key_id="AKIAMINE", aws_secret_access_key="secret"),
            "AWS4-HMAC-SHA256 Credential=AKIAMINE/",
        ),
    ]
    for provider, credentials, expected in handed:
        server = Server(refuse(400))
        with (
            connected(server, provider=provider, credentials=credentials) as claude,
            pytest.raises(ModelError),
        ):
            claude.send(ask())
        headers = server.requests[0].headers
        assert headers["authorization"].startswith(expected)
        assert CANARY not in str(dict(headers))


def test_a_bedrock_request_is_signed_for_its_region_and_session() -> None:
    keys = Credentials(
        aws_access_key_id="AKIAMINE", aws_secret_access_key="secret", aws_session_token="session"
    )
    model = ModelSettings(provider="bedrock", model=MODELS["bedrock"], region="ap-south-1")
    server = Server(refuse(400))
    with connected(server, model=model, credentials=keys) as claude, pytest.raises(ModelError):
        claude.send(ask())
    request = server.requests[0]
    assert "/ap-south-1/bedrock/aws4_request" in request.headers["authorization"]
    assert request.headers["x-amz-security-token"] == "session"
    assert request.url.host == "bedrock-runtime.ap-south-1.amazonaws.com"
    assert request.url.path == f"/model/{MODELS['bedrock']}/invoke-with-response-stream"
    assert "secret" not in str(dict(request.headers))


@pytest.mark.parametrize(
    ("provider", "variable"),
    [("anthropic", "ANTHROPIC_BASE_URL"), ("bedrock", "ANTHROPIC_BEDROCK_BASE_URL")],
)
def test_the_base_url_of_the_settings_beats_that_of_the_environment(
    provider: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://environment.invalid")
    for base_url, host in (
        ("", "environment.invalid"),
        ("http://settings.invalid", "settings.invalid"),
    ):
        server = Server(refuse(400))
        model = ModelSettings(provider=provider, model=MODELS[provider], base_url=base_url)
        with connected(server, model=model) as claude, pytest.raises(ModelError) as caught:
            claude.send(ask())
        assert server.requests[0].url.host == host
        assert host in str(caught.value)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_simulation_touches_no_real_key_and_no_base_url(
    provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ANTHROPIC_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.setenv(name, CANARY)
    for name in ("ANTHROPIC_BASE_URL", "ANTHROPIC_BEDROCK_BASE_URL"):
        monkeypatch.setenv(name, "http://elsewhere.invalid")
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    server = Server(refuse(400))
    keys = Credentials(CANARY, CANARY, CANARY, CANARY, CANARY, CANARY)
    model = ModelSettings(
        provider=provider, model=MODELS[provider], simulation=SimulationSettings()
    )
    with (
        connected(server, model=model, credentials=keys) as claude,
        pytest.raises(ModelError) as caught,
    ):
        claude.send(ask())
    request = server.requests[0]
    assert CANARY not in str(dict(request.headers)) + str(request.url)
    assert request.url.host == "simulated.invalid"
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_no_traceback_of_a_refused_key_shows_the_key() -> None:
    keys = Credentials(anthropic_api_key=CANARY)
    server = Server(refuse(401), httpx2.Response(401, json={"error": {"message": CANARY}}))
    for _ in range(2):
        with (
            connected(server, credentials=keys) as claude,
            pytest.raises(CredentialsRefused) as caught,
        ):
            claude.send(ask())
        assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_an_unknown_provider_is_refused_with_those_that_exist() -> None:
    with (
        pytest.raises(SettingsError, match="anthropic, bedrock"),
        connected(Server(refuse(400)), model=ModelSettings(provider="vertex")),
    ):
        raise AssertionError("a client was made")


def test_unreadable_faults_are_refused_before_anything_is_asked() -> None:
    model = ModelSettings(simulation=SimulationSettings(faults="refusals=0.1"))
    with pytest.raises(SettingsError, match="refusal"), connected(model=model):
        raise AssertionError("a client was made")


def test_a_client_is_closed_at_the_end_also_after_an_error() -> None:
    class Closing(httpx2.MockTransport):
        closed = 0

        def close(self) -> None:
            type(self).closed += 1

    def use(answer: httpx2.Response) -> Reply:
        with connect(
            ModelSettings(),
            Credentials("key"),
            clock=SystemClock(),
            governor=Governor(),
            limits=Limits(request_retries=0),
            transport=Closing(lambda _: answer),
        ) as claude:
            return claude.send(ask())

    use(sse(*HELLO))
    with pytest.raises(ServerFault):
        use(refuse(500))
    assert Closing.closed == 2


def test_hooks_may_be_left_out() -> None:
    with connected(Server(refuse(500), sse(*HELLO)), hooks=Hooks(), retries=1) as claude:
        assert claude.send(ask()).stop_reason == "end_turn"


def test_the_length_of_a_request_is_taken_from_the_clock() -> None:
    class Slow(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for event in HELLO:
                clock.now += 0.5
                yield sse(event).content

    clock = RecordingClock()
    with connected(Server(httpx2.Response(200, stream=Slow())), clock=clock) as claude:
        assert claude.send(ask()).usage.duration_s == pytest.approx(0.5 * len(HELLO))


def test_a_lost_connection_names_the_model_the_provider_and_the_host() -> None:
    with (
        connected(Server(httpx2.ConnectError("no route"))) as claude,
        pytest.raises(ConnectionLost, match=r"claude-sonnet-5-5 on anthropic \(api\.anth"),
    ):
        claude.send(ask())


@pytest.mark.parametrize("usage", [{"input_tokens": 0, "output_tokens": 0}, {"nothing": 1}])
def test_a_gateway_that_counts_nothing_is_billed_by_what_went_over_the_line(
    usage: dict[str, int],
) -> None:
    heard = Heard()
    events = message_events(text_block("x" * 400), usage=usage, end_usage={})
    with connected(Server(sse(*events)), hooks=heard.hooks) as claude:
        claude.send(ask())
    [billed] = heard.usage
    assert billed.input_tokens > 0
    assert billed.output_tokens == 100

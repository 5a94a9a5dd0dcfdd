"""The simulated API as a server: paths, errors, faults, waiting and figures."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.http.plain_http import MAX_BODY_BYTES, ConnectionCut, Incoming, Outgoing
from claude.simulation.latency import FIRST_TOKEN_S, TOKENS_PER_S, pace
from claude.simulation.prompt_cache import LIFETIME_S, PromptCache, count_tokens
from core.errors import Interrupted
from tests.fakes.simulated import RecordingClock, build_api

Block = dict[str, Any]
HEADERS = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
HELLO: Block = {
    "model": "claude-x",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Hello"}],
}
INVOKE = "/model/global.anthropic.x-v1%3A0/invoke"
NATIVE: Block = {**HELLO, "anthropic_version": "bedrock-2023-05-31"}


def post(
    target: str = "/v1/messages",
    body: Block | bytes = HELLO,
    *,
    clock: Any = None,
    headers: dict[str, str] = HEADERS,
    **options: Any,
) -> Outgoing:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    api = build_api(clock or RecordingClock(), **options)
    return api.handle(Incoming("POST", target, headers, data))


def body_of(outgoing: Outgoing) -> Any:
    return json.loads(b"".join(outgoing.body))


def test_a_whole_message_says_everywhere_that_it_is_simulated() -> None:
    outgoing = post()
    message = body_of(outgoing)
    assert outgoing.status == 200
    assert outgoing.headers["x-simulated"] == "true"
    assert outgoing.headers["request-id"].startswith("req_sim_")
    assert message["id"].startswith("msg_sim_")
    assert message["model"] == "claude-x"
    assert "simulated" in message["content"][0]["text"]
    assert message["usage"]["output_tokens"] > 0


def test_bedrock_is_asked_by_its_path_and_answers_in_its_own_way() -> None:
    outgoing = post(INVOKE, NATIVE)
    assert body_of(outgoing)["model"] == "global.anthropic.x-v1:0"
    assert outgoing.headers["x-amzn-requestid"].startswith("req_sim_")
    stream = post(f"{INVOKE}-with-response-stream", NATIVE)
    assert stream.headers["content-type"] == "application/vnd.amazon.eventstream"
    assert stream.length is None


@pytest.mark.parametrize(
    ("target", "body", "headers", "status"),
    [
        ("/v1/messages", b"{", HEADERS, 400),
        ("/v1/messages", {**HELLO, "messages": []}, HEADERS, 400),
        ("/v1/messages", {**HELLO, "model": ""}, HEADERS, 400),
        ("/v1/messages", {**HELLO, "model": None}, HEADERS, 400),
        ("/v1/messages", HELLO, {"anthropic-version": "x"}, 401),
        ("/v1/messages", HELLO, {"authorization": "Bearer k"}, 400),
        ("/v1/messages", b" " * (MAX_BODY_BYTES + 1), HEADERS, 413),
        ("/v1/messages/count_tokens", {"messages": []}, HEADERS, 400),
        ("/v1/messages/batches", HELLO, HEADERS, 404),
        ("/", HELLO, HEADERS, 404),
        (INVOKE, HELLO, HEADERS, 400),
        (INVOKE, NATIVE, {}, 403),
        ("/model/x/converse", NATIVE, HEADERS, 404),
    ],
)
def test_a_bad_request_is_refused_in_the_shape_of_its_provider(
    target: str, body: Any, headers: dict[str, str], status: int
) -> None:
    outgoing = post(target, body, headers=headers)
    error = body_of(outgoing)
    assert outgoing.status == status
    assert outgoing.headers["x-simulated"] == "true"
    if target.startswith("/model/"):
        assert error["message"]
        assert "Exception:" in outgoing.headers["x-amzn-errortype"]
    else:
        assert error["type"] == "error"
        assert error["error"]["type"].endswith(("_error", "_too_large"))


def test_probes_of_the_command_line_client_are_answered() -> None:
    api = build_api(RecordingClock())
    assert api.handle(Incoming("HEAD", "/", {})).status == 200
    models = body_of(api.handle(Incoming("GET", "/v1/models?limit=5", {})))
    assert "claude-sonnet-5-5" in [model["id"] for model in models["data"]]
    assert api.handle(Incoming("DELETE", "/v1/messages", {})).status == 404
    assert post("/v1/messages?beta=true").status == 200


def test_tokens_are_counted_by_length() -> None:
    short = body_of(post("/v1/messages/count_tokens"))["input_tokens"]
    long: Block = {**HELLO, "messages": [{"role": "user", "content": "x" * 4_000}]}
    assert 990 < body_of(post("/v1/messages/count_tokens", long))["input_tokens"] - short < 1_010


@given(st.text())
def test_any_text_counts_a_quarter_of_its_characters(text: str) -> None:
    assert len(text) / 4 <= max(count_tokens(text), len(text) / 4) < len(text) / 4 + 2


@pytest.mark.parametrize(
    ("fault", "target", "statuses"),
    [
        ("rate_limit", "/v1/messages", {429}),
        ("rate_limit", INVOKE, {429}),
        ("overloaded", "/v1/messages", {529}),
        ("overloaded", INVOKE, {503}),
        ("server_error", "/v1/messages", {500, 503}),
        ("server_error", INVOKE, {500}),
    ],
)
def test_faults_of_a_server_have_the_statuses_of_the_provider(
    fault: str, target: str, statuses: set[int]
) -> None:
    found = {post(target, NATIVE, seed=n, faults=f"{fault}=1").status for n in range(12)}
    assert found == statuses


def test_a_rate_limit_says_how_long_to_wait_in_the_simulations_own_time() -> None:
    for speed, most in ((1.0, 3.0), (20.0, 0.15), (0.0, 0.0)):
        header = post(faults="rate_limit=1", speed=speed).headers["retry-after"]
        assert 0 <= float(header) <= most
        assert (float(header) > 0) == (speed > 0)


def ending(outgoing: Outgoing) -> str:
    """How a streamed answer ends."""
    data = b""
    try:
        for piece in outgoing.body:
            data += piece
    except ConnectionCut:
        assert data
        return "cut"
    return "error" if b"overloaded_error" in data else "whole" if b"message_stop" in data else "?"


def test_streams_break_in_the_ways_asked_for() -> None:
    streamed = {**HELLO, "stream": True}
    assert ending(post(body=streamed)) == "whole"
    cut = {ending(post(body=streamed, seed=n, faults="disconnect=1")) for n in range(5)}
    assert cut == {"cut"}
    busy: Counter[str] = Counter()
    for seed in range(20):
        outgoing = post(body=streamed, seed=seed, faults="overloaded=1")
        busy["status" if outgoing.status == 529 else ending(outgoing)] += 1
    assert set(busy) == {"status", "error"}


def test_a_whole_message_can_be_cut_too() -> None:
    outgoing = post(faults="disconnect=1")
    assert outgoing.length
    assert ending(outgoing) == "cut"


def test_a_retry_is_drawn_anew_and_repeats_itself() -> None:
    def statuses() -> list[int]:
        return [
            post(headers={**HEADERS, "x-stainless-retry-count": str(n)}, faults="rate_limit=0.5")
            .status
            for n in range(20)
        ]  # fmt: skip

    assert set(statuses()) == {200, 429}
    assert statuses() == statuses()


@pytest.mark.parametrize("count", ["", "-1", "x", "²", "1.5"])
def test_a_retry_count_that_is_no_number_counts_as_none(count: str) -> None:
    for seed in range(6):
        odd = post(
            headers={**HEADERS, "x-stainless-retry-count": count},
            seed=seed,
            faults="rate_limit=0.5",
        )
        assert odd.status == post(seed=seed, faults="rate_limit=0.5").status


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_takes_the_time_of_its_tokens_divided_by_the_speed(stream: bool) -> None:
    waited = {}
    for speed in (1.0, 10.0, 0.0):
        clock = RecordingClock()
        list(post(body={**HELLO, "stream": stream}, speed=speed, clock=clock).body)
        waited[speed] = sum(clock.slept)
    assert waited[1.0] > 0.5 * FIRST_TOKEN_S
    assert waited[10.0] == pytest.approx(waited[1.0] / 10)
    assert waited[0.0] == 0


def test_the_pace_varies_a_little_by_seed() -> None:
    paces = [pace(1_000, seed, "x") for seed in range(50)]
    assert len({p.per_token_s for p in paces}) > 40
    assert all(0.7 / TOKENS_PER_S < p.per_token_s < 1.3 / TOKENS_PER_S for p in paces)
    assert pace(0, 1, "x").total_s(80) == pytest.approx(
        pace(0, 1, "x").first_token_s + 80 * pace(0, 1, "x").per_token_s
    )


def test_a_stop_is_felt_between_the_pieces_of_a_stream_even_at_full_speed() -> None:
    clock = RecordingClock(stop_after=3)
    outgoing = post(body={**HELLO, "stream": True}, clock=clock)
    pieces: list[bytes] = []
    with pytest.raises(Interrupted):
        pieces.extend(outgoing.body)
    assert clock.slept == []


def marked(*texts: str) -> Block:
    """A request with a cache mark after each text."""
    system = [
        {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}} for text in texts
    ]
    return {**HELLO, "system": system, "tools": [{"name": "a", "input_schema": {}}]}


LONG, LONGER = "a" * 8_000, "b" * 8_000


def test_a_marked_prefix_is_written_once_and_then_read() -> None:
    cache = PromptCache()
    first = cache.account(marked(LONG), "m", 0.0)
    again = cache.account(marked(LONG), "m", 10.0)
    more = cache.account(marked(LONG, LONGER), "m", 20.0)
    assert (first.read, again.written) == (0, 0)
    assert first.written == again.read == more.read > 2_000
    assert more.written > 2_000
    assert first.plain + first.written == again.plain + again.read


def test_a_prefix_is_forgotten_after_five_minutes_without_use() -> None:
    cache = PromptCache()
    cache.account(marked(LONG), "m", 0.0)
    assert cache.account(marked(LONG), "m", LIFETIME_S - 1).read
    assert cache.account(marked(LONG), "m", 2 * LIFETIME_S - 2).read
    assert not cache.account(marked(LONG), "m", 4 * LIFETIME_S).read


def test_other_models_other_text_and_short_prefixes_share_nothing() -> None:
    cache = PromptCache()
    cache.account(marked(LONG), "m", 0.0)
    assert not cache.account(marked(LONG), "other", 1.0).read
    assert not cache.account(marked(f"{LONG}!"), "m", 1.0).read
    short = cache.account(marked("short"), "m", 1.0)
    assert (short.read, short.written) == (0, 0)
    assert cache.account(HELLO, "m", 1.0).plain > 0


def test_the_answer_tells_what_was_cached() -> None:
    api, request = build_api(RecordingClock()), marked(LONG)
    request["tools"] = [{"name": "a", "input_schema": {"type": "object"}}]
    incoming = Incoming("POST", "/v1/messages", HEADERS, json.dumps(request).encode())
    first, again = (body_of(api.handle(incoming)) for _ in range(2))
    assert (
        first["usage"]["cache_creation_input_tokens"] == again["usage"]["cache_read_input_tokens"]
    )
    assert first["content"] == again["content"]


@given(st.binary(max_size=200), st.text("/v1mesagodlinvk-x.?%{}", max_size=30))
def test_no_request_does_more_harm_than_being_refused(body: bytes, target: str) -> None:
    assert post(f"/{target}", body).status in (400, 404)
    assert post("/v1/messages", body).status == 400


def test_effort_is_taken_by_the_models_that_have_it() -> None:
    asked = {"output_config": {"effort": "low"}}
    assert post(body=HELLO | asked).status == 200
    assert post(INVOKE, NATIVE | asked).status == 200
    refused = post(body=HELLO | asked | {"model": "claude-haiku-4-5"})
    assert refused.status == 400
    assert "does not support the effort parameter" in body_of(refused)["error"]["message"]
    bedrock = "/model/global.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke"
    assert post(bedrock, NATIVE | asked).status == 400

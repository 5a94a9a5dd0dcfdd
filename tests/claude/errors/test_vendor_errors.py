"""Every way in which a vendor says no, as an error of the project with a remedy that fits."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import httpx2
import pytest

from claude.simulation.wire import render_exception_frame, render_frame
from core.bundle import ModelSettings
from core.credentials import Credentials
from core.errors import (
    BillingRefused,
    ConnectionLost,
    CredentialsRefused,
    Interrupted,
    ModelError,
    ModelUnavailable,
    ModelUnknown,
    RequestRejected,
    ServerFault,
)
from tests.fakes.scripted_server import hello, scripted_server
from tests.fakes.simulated import (
    MODELS,
    RecordingClock,
    ask,
    connected,
    message_events,
    sse,
    text_block,
)

CANARY = "sk-canary-0123456789"


def fail(response: httpx2.Response | Exception, **options: Any) -> ModelError:
    """The error that one request with this answer ends in."""

    def handler(_: httpx2.Request) -> httpx2.Response:
        if isinstance(response, Exception):
            raise response
        return response

    with connected(handler, **options) as claude, pytest.raises(ModelError) as caught:
        claude.send(ask())
    return caught.value


def api_error(status: int, name: str, text: str = "Told so", **details: str) -> httpx2.Response:
    error = {"type": name, "message": text, "details": details or None}
    return httpx2.Response(
        status,
        headers={"request-id": "req_7"},
        json={"type": "error", "error": error},
    )


def aws_error(status: int, name: str, text: str = "Told so") -> httpx2.Response:
    return httpx2.Response(
        status,
        headers={"x-amzn-errortype": f"{name}:http://x/", "x-amzn-requestid": "req_7"},
        json={"message": text},
    )


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (405, "", RequestRejected),
        (408, "", ServerFault),
        (409, "", ServerFault),
        (418, "", RequestRejected),
        (422, "invalid_request_error", RequestRejected),
        (499, "", ConnectionLost),
        (503, "api_error", ServerFault),
        (504, "timeout_error", ServerFault),
        (520, "", ServerFault),
    ],
)
def test_each_status_that_the_api_does_not_document_has_its_error(
    status: int, name: str, kind: type[ModelError]
) -> None:
    error = fail(api_error(status, name))
    assert type(error) is kind
    assert "claude-sonnet-5-5 on anthropic (api.anthropic.com)" in error.message
    assert "Told so (request req_7)" in error.message
    assert error.remedy
    assert isinstance(error.__cause__, Exception)


@pytest.mark.parametrize("name", ["timeout_error", "error_of_tomorrow"])
def test_any_other_error_event_in_a_stream_is_a_fault_of_the_server(name: str) -> None:
    start = message_events(text_block("x"))[:2]
    event = {"type": "error", "error": {"type": name, "message": "Told so"}}
    error = fail(sse(*start, event))
    assert type(error) is ServerFault
    assert "Told so" in error.message


def test_credit_that_is_used_up_is_billing_also_where_permission_is_denied() -> None:
    error = fail(api_error(403, "permission_error", "Your credit balance is too low"))
    assert type(error) is BillingRefused
    assert "Add credit" in error.remedy


@pytest.mark.parametrize(
    ("status", "name", "text", "kind", "remedy"),
    [
        (
            403,
            "UnrecognizedClientException",
            "The security token included in the request is expired",
            CredentialsRefused,
            "aws sso login",
        ),
        (408, "ModelTimeoutException", "slow", ServerFault, "resume"),
    ],
)
def test_each_refusal_of_bedrock_has_its_error_and_its_fix(
    status: int, name: str, text: str, kind: type[ModelError], remedy: str
) -> None:
    model = ModelSettings(provider="bedrock", model="anthropic.x", region="eu-west-1")
    error = fail(aws_error(status, name, text), model=model)
    assert type(error) is kind
    assert "anthropic.x on bedrock in eu-west-1" in error.message
    assert "(request req_7)" in error.message
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("validationException", RequestRejected),
        ("internalServerException", ServerFault),
        ("modelStreamErrorException", ServerFault),
        ("modelTimeoutException", ServerFault),
    ],
)
def test_an_exception_frame_of_bedrock_counts_as_its_status(
    name: str, kind: type[ModelError]
) -> None:
    frame = render_exception_frame(name, "Told so")
    headers = {"content-type": "application/vnd.amazon.eventstream"}
    error = fail(httpx2.Response(200, headers=headers, content=frame), provider="bedrock")
    assert type(error) is kind
    assert "Told so" in error.message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        (formatdate(1_030.0, usegmt=True), 30.0),
        (formatdate(900.0, usegmt=True), 0.0),
        ("Thu, 01 Jan 1970 00:17:00", 20.0),
        ("soon", None),
        ("", None),
        ("inf", None),
        ("nan", None),
        ("Mon, 01 Jan 2026 00:00:00 +99999999999999999", None),
        ("Mon, 01 Jan 99999999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str, seconds: float | None) -> None:
    response = api_error(429, "rate_limit_error")
    response.headers["retry-after"] = value
    error = fail(response, clock=RecordingClock())
    assert isinstance(error, ModelUnavailable)
    assert error.retry_after_s == seconds


@pytest.mark.parametrize(
    "failure",
    [
        httpx2.ConnectError("Name or service not known"),
        httpx2.ConnectTimeout("timed out"),
        httpx2.ReadTimeout("timed out"),
        httpx2.ReadError(""),
        httpx2.RemoteProtocolError("peer closed connection"),
        httpx2.ProxyError("proxy"),
        OSError("network down"),
    ],
)
def test_a_lost_connection_may_be_tried_again(failure: Exception) -> None:
    error = fail(failure)
    assert type(error) is ConnectionLost
    assert (str(failure) or "ReadError") in error.message


class Breaking(httpx2.SyncByteStream):
    def __init__(self, data: bytes, failure: Exception) -> None:
        self._data, self._failure = data, failure

    def __iter__(self) -> Any:
        yield self._data
        raise self._failure


def stream_of(data: bytes, failure: Exception, kind: str = "text/event-stream") -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": kind}, stream=Breaking(data, failure))


def test_a_stream_that_breaks_is_a_lost_connection() -> None:
    data = sse(*message_events(text_block("x"))[:3]).content
    error = fail(stream_of(data, httpx2.ReadError("connection reset")))
    assert type(error) is ConnectionLost
    assert "connection reset" in error.message


@pytest.mark.parametrize(
    "data",
    [
        b"event: message_start\ndata: {oops\n\n",
        b"event: message_start\ndata: \xff\xfe\n\n",
        b"event: message_start\ndata: {}\n\n",
        b"",
        b"event: ping\ndata: {}\n\n",
    ],
)
def test_a_damaged_stream_is_a_lost_connection(data: bytes) -> None:
    error = fail(httpx2.Response(200, content=data))
    assert type(error) is ConnectionLost


@pytest.mark.parametrize("spoil", [lambda f: f[:-1] + b"x", lambda f: b"x" * 40])
def test_a_damaged_frame_of_bedrock_is_a_lost_connection(spoil: Any) -> None:
    frame = render_frame({":event-type": "chunk", ":message-type": "event"}, b"{}")
    error = fail(httpx2.Response(200, content=spoil(frame)), provider="bedrock")
    assert type(error) is ConnectionLost


@pytest.mark.parametrize("url", ["ftp://example.invalid", "no-scheme", "http://x:y"])
def test_a_base_url_that_cannot_be_asked_is_not_tried_again(url: str) -> None:
    with (
        pytest.raises(RequestRejected, match="could not be made") as caught,
        connected(model=ModelSettings(base_url=url), retries=5) as claude,
    ):
        claude.send(ask())
    assert "base URL" in caught.value.remedy


def test_a_stop_that_the_sdk_wrapped_comes_out_as_itself() -> None:
    with connected(_stopped) as claude, pytest.raises(Interrupted):
        claude.send(ask())


def _stopped(_: httpx2.Request) -> httpx2.Response:
    raise Interrupted("The worker was told to stop.")


def test_a_mistake_in_the_code_below_is_not_taken_for_a_lost_connection() -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        raise KeyError("a mistake")

    with connected(handler) as claude, pytest.raises(Exception, match="Connection error") as caught:
        claude.send(ask())
    assert not isinstance(caught.value, ModelError)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_mistake_while_reading_is_not_swallowed() -> None:
    data = sse(*message_events()[:1]).content
    with connected(lambda _: stream_of(data, KeyError("mine"))) as claude, pytest.raises(KeyError):
        claude.send(ask())


def test_text_that_cannot_be_sent_is_named() -> None:
    with connected(lambda _: sse()) as claude, pytest.raises(RequestRejected, match="Unicode"):
        claude.send(ask({"role": "user", "content": "\ud800"}))


@pytest.mark.parametrize("headers", ["Content-Length: 3", "Content-Length: x", "a b: c", ": c"])
def test_headers_of_the_user_that_cannot_be_sent_are_named(
    headers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", headers)
    with scripted_server(hello()) as server:
        model = ModelSettings(base_url=server.url)
        with connected(model=model) as claude, pytest.raises(RequestRejected) as caught:
            claude.send(ask())
    assert "ANTHROPIC_CUSTOM_HEADERS" in caught.value.remedy


def test_an_answer_of_the_wrong_kind_is_a_fault_of_the_server() -> None:
    import anthropic

    response = httpx2.Response(200, request=httpx2.Request("POST", "http://x"))
    problem = anthropic.APIResponseValidationError(response, None)
    error = fail(stream_of(b"", problem))
    assert type(error) is ServerFault


@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_a_key_that_a_server_repeats_is_in_no_text_of_the_error(provider: str) -> None:
    keys = Credentials(anthropic_api_key=CANARY, aws_bearer_token_bedrock=CANARY)
    response = httpx2.Response(
        401, json={"message": f"bad key {CANARY}", "error": {"message": CANARY}}
    )
    error = fail(response, provider=provider, credentials=keys)
    assert CANARY not in "".join([str(error), repr(error), error.remedy])
    assert "********" in error.message
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_a_long_or_broken_text_of_a_server_is_shortened() -> None:
    error = fail(httpx2.Response(500, text="<p>\n" + "x\n" * 5_000))
    assert len(error.message) < 700
    assert "\n" not in error.message


def test_a_body_of_any_shape_can_be_read() -> None:
    for body in ("[]", "null", '"text"', "{}", '{"error": 1}', '{"error": {"type": []}}'):
        error = fail(httpx2.Response(400, content=body))
        assert type(error) is RequestRejected, json.dumps(body)


@pytest.mark.parametrize("secret", ["sk-x\n", "sk x", "sk-é", "sk\x00"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(secret: str) -> None:
    with (
        pytest.raises(CredentialsRefused) as caught,
        connected(lambda _: sse(), credentials=Credentials(anthropic_api_key=secret)),
    ):
        raise AssertionError("a client was made")
    assert secret.strip() not in str(caught.value)


def test_no_credentials_at_all_are_reported_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    forget_credentials(monkeypatch, tmp_path)
    for provider, remedy in (("anthropic", "ANTHROPIC_API_KEY"), ("bedrock", "AWS_PROFILE")):
        model = ModelSettings(provider=provider, model=MODELS[provider], region="eu-south-2")
        with (
            connected(_never, model=model, credentials=Credentials()) as claude,
            pytest.raises(CredentialsRefused) as caught,
        ):
            claude.send(ask())
        assert remedy in caught.value.remedy


def test_a_profile_of_the_sdk_that_does_not_exist_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("ANTHROPIC_PROFILE", "nowhere")
    with (
        pytest.raises(CredentialsRefused, match="nowhere"),
        connected(_never, credentials=Credentials()),
    ):
        raise AssertionError("a client was made")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("active_config", b"\xff", "utf-8"),
        ("active_config", b"../x", "must not start with a dot"),
        ("configs/default.json", b"{", "is not valid JSON"),
        ("configs/default.json", b"\xff", "could not be read"),
        ("configs/default.json", b'{"authentication": 3}', "is missing the 'authentication' obj"),
    ],
)
def test_a_damaged_profile_of_the_sdk_is_no_fault_of_the_network(
    name: str, content: bytes, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    forget_credentials(monkeypatch, tmp_path)
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with (
        pytest.raises(CredentialsRefused, match=words),
        connected(_never, credentials=Credentials()),
    ):
        raise AssertionError("a client was made")


@pytest.mark.parametrize("model", [".", "..", ";x"])
def test_a_model_id_that_bedrock_cannot_be_asked_for_is_named(model: str) -> None:
    settings = ModelSettings(provider="bedrock", model=model, option="--planner-model")
    keys = Credentials(aws_bearer_token_bedrock="k")
    with (
        connected(_never, model=settings, credentials=keys) as claude,
        pytest.raises(ModelUnknown, match="cannot be asked") as caught,
    ):
        claude.send(ask())
    assert caught.value.remedy == "Correct --planner-model."


def test_an_aws_profile_that_does_not_exist_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    forget_credentials(monkeypatch, tmp_path)
    keys = Credentials(aws_profile="nowhere")
    with (
        connected(_never, provider="bedrock", credentials=keys) as claude,
        pytest.raises(CredentialsRefused, match="nowhere"),
    ):
        claude.send(ask())


def _never(_: httpx2.Request) -> httpx2.Response:
    raise AssertionError("a request was sent")


def forget_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in (
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_PROFILE",
        "ANTHROPIC_CONFIG_DIR",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_BEARER_TOKEN_BEDROCK",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))

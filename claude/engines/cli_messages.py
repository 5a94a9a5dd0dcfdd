"""The CLI's requests as Calls, and replies and errors as responses of the Messages API. Pure.

A request comes from another program, or from what the model runs in it: whatever no allowance
could bound is refused. https://platform.claude.com/docs/en/api/messages
"""

import json
from collections.abc import Mapping
from typing import Any

from claude.client.recorded_response import RecordedResponse
from claude.client.types import Call, Passthrough, Reply
from claude.http.plain_http import Incoming, Outgoing
from core.errors import (
    BillingRefused,
    BudgetExceeded,
    CredentialsRefused,
    ModelUnknown,
    Overloaded,
    RateLimited,
    RequestRejected,
)

_KNOWN = frozenset({"model", "messages", "system", "tools", "tool_choice", "max_tokens", "stream"})
# What would cost otherwise than by tokens at the model's price. The CLI sends none of them.
_UNPRICED = frozenset({"container", "inference_geo", "mcp_servers", "service_tier", "speed"})
_PASSED_ON = ("request-id", "x-simulated")
_KINDS: tuple[tuple[type[Exception], int, str], ...] = (
    (RateLimited, 429, "rate_limit_error"),
    (Overloaded, 529, "overloaded_error"),
    (CredentialsRefused, 401, "authentication_error"),
    (BillingRefused, 402, "billing_error"),
    (BudgetExceeded, 402, "billing_error"),
    (ModelUnknown, 404, "not_found_error"),
    (RequestRejected, 400, "invalid_request_error"),
)


class Unreadable(ValueError):
    """A request that is invalid or not allowed."""


def read_call(incoming: Incoming) -> tuple[Call, bool]:
    """The request as a Call of the model that was chosen, and whether the answer is to be a stream.
    Raises Unreadable for what is no request, and for what an allowance could not bound."""
    try:
        return _read_call(json.loads(incoming.body, parse_constant=_no_number), incoming.headers)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
        if isinstance(exc, Unreadable):
            raise
        raise Unreadable(f"The body is no request of the Messages API ({exc!r}).") from None


def _read_call(data: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[Call, bool]:
    system, max_tokens = data.get("system") or (), data["max_tokens"]
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
        raise Unreadable("max_tokens: a positive integer is required.")
    if isinstance(system, str):
        system = ({"type": "text", "text": system},)
    betas = tuple(filter(None, map(str.strip, headers.get("anthropic-beta", "").split(","))))
    call = Call(
        system=tuple(map(_counted, system)),
        messages=tuple(map(_counted, data["messages"])),
        max_tokens=max_tokens,
        tools=tuple(map(_counted_tool, data.get("tools") or ())),
        tool_choice=data.get("tool_choice"),
        passthrough=Passthrough(_counted_fields(data), betas, headers.get("anthropic-version", "")),
    )
    return call, data.get("stream") is True


def _counted_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that a Call does not have; refused where their cost has no bound."""
    fields = {name: value for name, value in data.items() if name not in _KNOWN}
    if unpriced := sorted(_UNPRICED & fields.keys()):
        raise Unreadable(f"{unpriced[0]}: not served here, since it changes the price.")
    for edit in (fields.get("context_management") or {}).get("edits") or ():
        # others ask the model in between, or leave out what was counted
        if not str(edit["type"]).startswith("clear_thinking_"):
            raise Unreadable(f"context_management: {edit['type']!r} is not served here.")
    return _counted(fields)


def _counted(piece: Mapping[str, Any]) -> dict[str, Any]:
    """A block or message whose cost has a bound: all of it is here, cached only as it is priced."""
    source, content, mark = (piece.get(name) for name in ("source", "content", "cache_control"))
    changes: dict[str, Any] = {}
    if isinstance(source, dict) and source.get("type") in ("url", "file"):
        raise Unreadable(f"{piece.get('type')}: its content has to be in the request.")
    if isinstance(content, list):
        changes["content"] = [_counted(block) for block in content]
    if isinstance(mark, dict) and "ttl" in mark:
        changes["cache_control"] = {k: v for k, v in mark.items() if k != "ttl"}
    return {**piece, **changes}


def _counted_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    if tool.get("type", "custom") != "custom":
        raise Unreadable(f"tools: {tool['type']!r} runs at the provider, which is not served here.")
    return _counted(tool)


def _no_number(name: str) -> None:
    raise Unreadable(f"{name} is no JSON.")


def render_stream(recorded: RecordedResponse) -> Outgoing:
    """The answer as server-sent events, those that came and in their order."""
    headers = {"content-type": "text/event-stream; charset=utf-8", **_passed_on(recorded)}
    return Outgoing(200, headers, map(_render_event, recorded.events), None)


def _render_event(event: Mapping[str, Any]) -> bytes:
    # in ASCII, so that half of a surrogate pair goes on as it came
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def render_whole(recorded: RecordedResponse, reply: Reply) -> Outgoing:
    """The answer as one message, for a request that wanted no stream."""
    message: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    for event in recorded.events:
        if event["type"] == "message_start":
            message |= event["message"]
            usage |= event["message"].get("usage") or {}
        elif event["type"] == "message_delta":
            message |= event["delta"]
            usage |= event.get("usage") or {}
    message |= {"type": "message", "content": list(reply.content), "usage": usage}
    return _json(200, message, _passed_on(recorded))


def render_refusal(error: Exception) -> Outgoing:
    """The error as the API would say it; the CLI does not ask again, since the proxy has."""
    for kind, status, name in _KINDS:
        if isinstance(error, kind):
            return refuse(status, name, str(error))
    return refuse(503, "api_error", str(error))


def refuse(status: int, name: str, text: str) -> Outgoing:
    error = {"type": "error", "error": {"type": name, "message": text}}
    return _json(status, error, {"x-should-retry": "false"})


def _json(status: int, value: object, headers: Mapping[str, str]) -> Outgoing:
    data = json.dumps(value).encode()
    return Outgoing(status, {"content-type": "application/json", **headers}, (data,), len(data))


def _passed_on(recorded: RecordedResponse) -> dict[str, str]:
    found = {name: recorded.headers[name] for name in _PASSED_ON if name in recorded.headers}
    if (amazon := recorded.headers.get("x-amzn-requestid")) is not None:
        found.setdefault("request-id", amazon)
    return found

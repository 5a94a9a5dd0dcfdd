"""Refuses the requests that the real API would refuse, so that our own mistakes show early.

https://platform.claude.com/docs/en/api/messages
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from core.models import EFFORTS

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_MAX_BREAKPOINTS = 4


class InvalidRequest(ValueError):
    """What the API answers with 400 invalid_request_error."""


def parse_request(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`, or InvalidRequest."""
    try:
        request = json.loads(body)
        if b"\\ud" in body.lower():
            json.dumps(request, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidRequest("The request body has half of a surrogate pair.") from None
    except (ValueError, RecursionError):
        raise InvalidRequest("The request body is not valid JSON.") from None
    if not isinstance(request, dict):
        raise InvalidRequest("The request body is not a JSON object.")
    return request


def check_request(request: Mapping[str, Any], betas: str = "") -> dict[str, Any]:
    """The request with successive messages of one role merged, as the API does.

    System messages among the others are left out where the header `betas` allows them.
    Raises InvalidRequest for what the Messages API would not take.
    """
    try:
        messages = request.get("messages")
        asked_for = "mid-conversation-system" in f"{betas} {request.get('anthropic_beta')}"
        if asked_for and isinstance(messages, list):
            messages = messages[:1] + [m for m in messages[1:] if m.get("role") != "system"]
        request = {**request, "messages": _merge_turns(messages)}
        _check(request)
        return request
    except (AttributeError, TypeError) as exc:
        raise InvalidRequest(f"A part of the request has the wrong type ({exc}).") from exc


def _check(request: Mapping[str, Any]) -> None:
    max_tokens = request.get("max_tokens")
    _require(isinstance(max_tokens, int) and max_tokens > 0, "max_tokens: a positive integer")
    _check_blocks(request.get("system") or [], "system")
    _check_tools(request)
    _check_output_config(request)
    _check_messages(request["messages"])
    marks = json.dumps(request).count('"cache_control": {')
    _require(marks <= _MAX_BREAKPOINTS, "at most 4 blocks with cache_control", f"found {marks}")


def _require(met: bool, rule: str, found: str = "the request breaks this rule") -> None:
    if not met:
        raise InvalidRequest(f"{rule} is required: {found}.")


def _check_tools(request: Mapping[str, Any]) -> None:
    names = set()
    for n, tool in enumerate(request.get("tools") or ()):
        name = tool.get("name")
        _require(bool(_TOOL_NAME.fullmatch(str(name or ""))), f"tools.{n}.name: a valid name")
        _require(name not in names, f"tools.{n}.name: a unique name", f"{name!r} is repeated")
        names.add(name)
        schema = tool.get("input_schema") or {}
        shaped = tool.get("type", "custom") != "custom" or schema.get("type") == "object"
        _require(shaped, f"tools.{n}.input_schema: a schema of type object")
    choice = request.get("tool_choice") or {}
    if choice.get("type") == "tool":
        _require(choice.get("name") in names, "tool_choice.name: one of the tools")


def _check_output_config(request: Mapping[str, Any]) -> None:
    if (config := request.get("output_config")) is None:
        return
    _require(isinstance(config, dict), "output_config: an object")
    _require(set(config) <= {"format", "effort", "task_budget"}, "output_config: known keys only")
    effort = config.get("effort")
    _require(effort is None or effort in EFFORTS, "output_config.effort: a known level")
    if (form := config.get("format")) is not None:
        _require(form.get("type") == "json_schema", "output_config.format.type: 'json_schema'")
        _require(isinstance(form.get("schema"), dict), "output_config.format.schema: an object")
        _check_schema(form["schema"])


def _check_schema(schema: Any) -> None:
    """Structured output takes objects only when they are closed."""
    if isinstance(schema, list):
        for part in schema:
            _check_schema(part)
    elif isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema:
            closed = schema.get("additionalProperties") is False
            _require(closed, "output_config.format.schema: additionalProperties false")
        for part in schema.values():
            _check_schema(part)


def _merge_turns(messages: Any) -> list[dict[str, Any]]:
    _require(isinstance(messages, list) and bool(messages), "messages: at least one message")
    merged: list[dict[str, Any]] = []
    for n, message in enumerate(messages):
        role = message.get("role")
        _require(role in ("user", "assistant"), f"messages.{n}.role: 'user' or 'assistant'")
        blocks = _check_blocks(message.get("content"), f"messages.{n}.content")
        last = n == len(messages) - 1
        _require(bool(blocks) or (last and role == "assistant"), f"messages.{n}.content: content")
        if merged and merged[-1]["role"] == role:
            merged[-1]["content"] += blocks
        else:
            merged.append({"role": role, "content": blocks})
    return merged


def _check_messages(messages: list[dict[str, Any]]) -> None:
    _require(messages[0]["role"] == "user", "messages.0.role: 'user'")
    pending: list[str] = []
    for n, message in enumerate(messages):
        if message["role"] == "assistant":
            pending = _check_calls(n, message["content"])
        else:
            _check_results(n, message["content"], pending)
            pending = []
    _require(not pending, "tool_result for every tool_use", f"none for {', '.join(pending)}")


def _check_blocks(content: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        _require(bool(content.strip()), f"{where}: text that is not empty")
        return [{"type": "text", "text": content}]
    _require(isinstance(content, list), f"{where}: a string or a list of blocks")
    for n, block in enumerate(content):
        _require(isinstance(block, dict) and "type" in block, f"{where}.{n}: a block with a type")
        if block["type"] == "text":
            text = block.get("text")
            filled = isinstance(text, str) and bool(text.strip())
            _require(filled, f"{where}.{n}.text: text content blocks that are not empty")
        if block["type"] == "thinking":
            _require(bool(block.get("signature")), f"{where}.{n}.signature: a signature")
    return list(content)


def _check_calls(n: int, blocks: list[dict[str, Any]]) -> list[str]:
    calls = [b for b in blocks if b["type"] == "tool_use"]
    for block in calls:
        shaped = bool(block.get("id")) and bool(block.get("name"))
        _require(shaped, f"messages.{n}: tool_use with id and name")
        _require(isinstance(block.get("input"), dict), f"messages.{n}: tool_use input as an object")
    ids = [str(b["id"]) for b in calls]
    _require(len(set(ids)) == len(ids), f"messages.{n}: unique tool_use ids")
    return ids


def _check_results(n: int, blocks: list[dict[str, Any]], pending: list[str]) -> None:
    ids = [str(b.get("tool_use_id")) for b in blocks if b["type"] == "tool_result"]
    for name in ids:
        _require(name in pending, f"messages.{n}: tool_result of a tool_use before it", f"{name!r}")
    missing = [name for name in pending if name not in ids]
    rule = f"messages.{n}: `tool_use` ids answered by a `tool_result` in the next message"
    _require(not missing, rule, f"none for {', '.join(missing)}")
    _require(len(set(ids)) == len(ids), f"messages.{n}: one tool_result for each tool_use")
    kinds = [b["type"] == "tool_result" for b in blocks]
    _require(sorted(kinds, reverse=True) == kinds, f"messages.{n}: tool_result blocks first")

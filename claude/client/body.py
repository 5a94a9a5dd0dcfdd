"""A Call as the body and the headers that go to a provider."""

from typing import Any

from claude.client.types import Call
from core.bundle import ModelSettings

BEDROCK_BETAS = frozenset(
    {"interleaved-thinking-2025-05-14", "context-1m-2025-08-07", "tool-search-tool-2025-10-19"}
)
"""The betas that Claude Code sends to Bedrock (seen in 2.1.197), which rejects unknown ones."""

BEDROCK_VERSION = "bedrock-2023-05-31"
"""The format in which Claude Code expects Bedrock's answer, like the API's 2023-06-01."""

_LEAST_THINKING_TOKENS = 1_024


def build_body(call: Call, model: ModelSettings) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": model.model,
        "max_tokens": call.max_tokens,
        # before the messages, so that what tasks share comes first
        **({"system": list(call.system)} if call.system else {}),
        "messages": list(call.messages),
        "stream": True,
    }
    if call.tools:
        body["tools"] = list(call.tools)
    if call.tool_choice is not None:
        body["tool_choice"] = call.tool_choice
    if call.output_schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": call.output_schema}}
    if call.passthrough is not None:
        body |= call.passthrough.fields
        body |= _less_thinking(body.get("thinking"), call.max_tokens)
        if model.provider == "bedrock":
            body["anthropic_version"] = BEDROCK_VERSION
    if model.effort and _may_think(body.get("thinking")):
        body["output_config"] = {**(body.get("output_config") or {}), "effort": model.effort}
    return body


def _may_think(thinking: Any) -> bool:
    """The highest levels of effort are refused where another program has switched thinking off."""
    return not isinstance(thinking, dict) or thinking.get("type") != "disabled"


def _less_thinking(thinking: Any, max_tokens: int) -> dict[str, Any]:
    """What becomes of a fixed budget for thinking that max_tokens, once lowered, does not hold.
    https://platform.claude.com/docs/en/build-with-claude/extended-thinking"""
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if not isinstance(budget, int) or budget < max_tokens:
        return {}
    if max_tokens <= _LEAST_THINKING_TOKENS:
        return {"thinking": {"type": "disabled"}}
    return {"thinking": {**thinking, "budget_tokens": max_tokens - 1}}


def build_headers(call: Call, model: ModelSettings) -> dict[str, str]:
    """The version and the betas that another program asks for; for Bedrock the SDK puts the betas
    into the body, and build_body the version."""
    if call.passthrough is None:
        return {}
    asked, found = call.passthrough.betas, {}
    if model.provider == "bedrock":
        asked = tuple(beta for beta in asked if beta in BEDROCK_BETAS)
    elif call.passthrough.version:
        found["anthropic-version"] = call.passthrough.version
    return found | ({"anthropic-beta": ",".join(asked)} if asked else {})

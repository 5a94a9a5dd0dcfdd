"""What goes out for a Call, by provider, and for one that another program made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claude.client.body import BEDROCK_VERSION, build_body, build_headers
from claude.client.types import Call, Passthrough
from core.bundle import ModelSettings

ANTHROPIC, BEDROCK = ModelSettings(), ModelSettings(provider="bedrock", model="m")
USER = {"role": "user", "content": "Hello"}


def call(passthrough: Passthrough | None = None, max_tokens: int = 2_000) -> Call:
    return Call(system=(), messages=(USER,), max_tokens=max_tokens, passthrough=passthrough)


@pytest.mark.parametrize("model", [ANTHROPIC, BEDROCK])
def test_a_call_of_our_own_asks_for_no_version_and_no_betas(model: ModelSettings) -> None:
    assert build_headers(call(), model) == {}
    body = build_body(call(), model)
    assert body == {"model": model.model, "max_tokens": 2_000, "messages": [USER], "stream": True}


def test_the_request_of_another_program_goes_out_with_its_fields_version_and_betas() -> None:
    passthrough = Passthrough({"metadata": {"user_id": "u"}}, ("a-beta", "b-beta"), "2023-06-01")
    assert build_body(call(passthrough), ANTHROPIC)["metadata"] == {"user_id": "u"}
    assert build_headers(call(passthrough), ANTHROPIC) == {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "a-beta,b-beta",
    }


def test_bedrock_has_its_version_in_the_body_and_hears_of_no_beta_it_would_reject() -> None:
    betas = ("claude-code-20250219", "context-1m-2025-08-07")
    passthrough = Passthrough({}, betas, "2023-06-01")
    assert build_headers(call(passthrough), BEDROCK) == {"anthropic-beta": "context-1m-2025-08-07"}
    assert build_headers(call(Passthrough({}, betas[:1])), BEDROCK) == {}
    assert build_body(call(passthrough), BEDROCK)["anthropic_version"] == BEDROCK_VERSION


@pytest.mark.parametrize(
    ("thinking", "max_tokens", "expected"),
    [
        ({"type": "adaptive"}, 10, {"type": "adaptive"}),
        ({"type": "enabled", "budget_tokens": 1_999}, 2_000, 1_999),
        ({"type": "enabled", "budget_tokens": 2_000}, 2_000, 1_999),
        ({"type": "enabled", "budget_tokens": 9_000}, 1_025, 1_024),
        ({"type": "enabled", "budget_tokens": 9_000}, 1_024, {"type": "disabled"}),
        ("odd", 10, "odd"),
        ({"budget_tokens": None}, 10, {"budget_tokens": None}),
    ],
)
def test_thinking_keeps_below_an_answer_that_was_lowered(
    thinking: Any, max_tokens: int, expected: Any
) -> None:
    sent = build_body(call(Passthrough({"thinking": thinking}), max_tokens), ANTHROPIC)["thinking"]
    if isinstance(expected, int):
        expected = {"type": "enabled", "budget_tokens": expected}
    assert sent == expected


def test_the_effort_asked_for_goes_out_beside_the_format_and_on_both_providers() -> None:
    schema = {"type": "object"}
    for model in (ANTHROPIC, BEDROCK):
        planning = replace(call(), output_schema=schema)
        body = build_body(planning, replace(model, effort="low"))
        form = {"type": "json_schema", "schema": schema}
        assert body["output_config"] == {"format": form, "effort": "low"}
        assert build_body(call(), replace(model, effort="max"))["output_config"] == {
            "effort": "max"
        }


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"output_config": {"effort": "high", "x": 1}}, {"effort": "low", "x": 1}),
        ({"output_config": None}, {"effort": "low"}),
        ({"thinking": {"type": "adaptive"}}, {"effort": "low"}),
        ({"thinking": {"type": "disabled"}, "output_config": {"x": 1}}, {"x": 1}),
        ({"thinking": {"type": "disabled"}}, None),
    ],
)
def test_the_effort_beats_that_of_another_program_unless_it_does_not_think(
    fields: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    body = build_body(call(Passthrough(fields)), replace(ANTHROPIC, effort="low"))
    assert body.get("output_config") == sent

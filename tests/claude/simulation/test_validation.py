"""The simulated API refuses what the real one would, so that our own mistakes show."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.simulation.validation import InvalidRequest, check_request, parse_request

Block = dict[str, Any]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "text", "id", "name", "input", "format"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


def good() -> Block:
    """A request with all that we use."""
    return {
        "max_tokens": 100,
        "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        "tools": [
            {"name": "write_file", "input_schema": {"type": "object"}},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "tool_choice": {"type": "tool", "name": "write_file"},
        "output_config": {
            "format": {
                "type": "json_schema",
                "schema": {
                    "type": "object",
                    "properties": {"a": {"anyOf": [{"type": "string"}]}},
                    "additionalProperties": False,
                },
            }
        },
        "messages": [
            {"role": "user", "content": "Hello"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "", "signature": "s"},
                    {"type": "text", "text": "Hi"},
                    {"type": "tool_use", "id": "t1", "name": "write_file", "input": {}},
                    {"type": "tool_use", "id": "t2", "name": "write_file", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t2", "content": ""},
                    {"type": "tool_result", "tool_use_id": "t1", "content": [], "is_error": True},
                    {"type": "text", "text": "Go on"},
                ],
            },
        ],
    }


def test_a_good_request_passes() -> None:
    check_request(good() | {"output_config": {"effort": "xhigh"}})
    assert check_request(good())["messages"][0]["content"] == [{"type": "text", "text": "Hello"}]


def test_successive_messages_of_one_role_are_put_together() -> None:
    request = good()
    request["messages"].append({"role": "user", "content": "And more"})
    messages = check_request(request)["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[-1]["content"][-1]["text"] == "And more"


def test_an_answer_that_was_begun_for_the_model_passes() -> None:
    check_request({"max_tokens": 1, "messages": [
        {"role": "user", "content": "x"}, {"role": "assistant", "content": []}
    ]})  # fmt: skip


Spoil = Callable[[Block], object]
SPOILED: dict[str, Spoil] = {
    "max_tokens is absent": lambda r: r.pop("max_tokens"),
    "max_tokens is zero": lambda r: r.update(max_tokens=0),
    "max_tokens is text": lambda r: r.update(max_tokens="100"),
    "system has blank text": lambda r: r["system"].append({"type": "text", "text": " "}),
    "system is a number": lambda r: r.update(system=5),
    "tools is a number": lambda r: r.update(tools=5),
    "a tool is text": lambda r: r["tools"].append("x"),
    "a tool has no name": lambda r: r["tools"][0].pop("name"),
    "a tool has a bad name": lambda r: r["tools"][0].update(name="write file"),
    "two tools have one name": lambda r: r["tools"].append(r["tools"][0]),
    "a tool has no schema": lambda r: r["tools"][0].pop("input_schema"),
    "a tool's schema is no object's": lambda r: r["tools"][0].update(input_schema={"type": "x"}),
    "the chosen tool is not offered": lambda r: r["tool_choice"].update(name="other"),
    "output_config has another key": lambda r: r["output_config"].update(schema={}),
    "the effort has no such level": lambda r: r["output_config"].update(effort="most"),
    "the effort is no text": lambda r: r["output_config"].update(effort=["low"]),
    "output_config is a list": lambda r: r.update(output_config=[]),
    "the format has another type": lambda r: r["output_config"]["format"].update(type="json"),
    "the format has no schema": lambda r: r["output_config"]["format"].pop("schema"),
    "the schema is open": lambda r: r["output_config"]["format"]["schema"].pop(
        "additionalProperties"
    ),
    "a nested schema is open": lambda r: r["output_config"]["format"]["schema"]["properties"]["a"][
        "anyOf"
    ].append({"type": "object", "properties": {}}),
    "there are no messages": lambda r: r.update(messages=[]),
    "messages is text": lambda r: r.update(messages="Hello"),
    "a message is text": lambda r: r["messages"].append("Hello"),
    "the first is the assistant's": lambda r: r["messages"].pop(0),
    "a role is unknown": lambda r: r["messages"][0].update(role="system"),
    "content is absent": lambda r: r["messages"][0].pop("content"),
    "content is empty": lambda r: r["messages"][0].update(content=[]),
    "content is blank text": lambda r: r["messages"][0].update(content=" \n"),
    "a block has no type": lambda r: r["messages"][0].update(content=[{"text": "x"}]),
    "a text block is empty": lambda r: r["messages"][2]["content"][2].update(text=""),
    "a text block has no text": lambda r: r["messages"][2]["content"][2].pop("text"),
    "thinking lost its signature": lambda r: r["messages"][1]["content"][0].pop("signature"),
    "a tool_use has no id": lambda r: r["messages"][1]["content"][2].pop("id"),
    "a tool_use has no name": lambda r: r["messages"][1]["content"][2].pop("name"),
    "a tool_use has text as input": lambda r: r["messages"][1]["content"][2].update(input="{}"),
    "two tool_use have one id": lambda r: r["messages"][1]["content"][3].update(id="t1"),
    "a tool_result is missing": lambda r: r["messages"][2]["content"].pop(0),
    "all tool_results are missing": lambda r: r["messages"].pop(2),
    "a tool_result answers nothing": lambda r: r["messages"][2]["content"][0].update(
        tool_use_id="t9"
    ),
    "a tool_result comes twice": lambda r: r["messages"][2]["content"].insert(
        0, r["messages"][2]["content"][0]
    ),
    "a tool_result comes a message late": lambda r: r["messages"].__setitem__(
        slice(2, 2), [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    ),
    "a tool_result comes after text": lambda r: r["messages"][2]["content"].reverse(),
    "there are five cache marks": lambda r: r["system"].extend(r["system"] * 4),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_request_is_refused_where(name: str) -> None:
    request = copy.deepcopy(good())
    SPOILED[name](request)
    with pytest.raises(InvalidRequest):
        check_request(request)


@given(st.dictionaries(st.sampled_from(sorted(good())), json_values))
def test_any_json_is_taken_or_refused_and_nothing_else(parts: Block) -> None:
    with suppress(InvalidRequest):
        assert check_request({**good(), **parts})["messages"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[]", b'"x"', b"[" * 100_000, b'{"a": "\\uD800"}']
)
def test_a_body_that_is_no_json_object_of_valid_text_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_request(body)


def test_whole_surrogate_pairs_are_text_like_any_other() -> None:
    request = {"text": "😀"}
    assert parse_request(json.dumps(request).encode()) == request

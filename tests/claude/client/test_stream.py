"""Putting a streamed message together, whatever its pieces."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude.client.stream import StreamDamaged, StreamedMessage
from tests.fakes.simulated import message_events, text_block, tool_block

Block = dict[str, Any]
json_objects = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.recursive(
        st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def read(events: list[Block]) -> StreamedMessage:
    message = StreamedMessage()
    for event in events:
        message.feed(event)
    return message


def content(*blocks: tuple[Block, list[Block]]) -> tuple[tuple[Block, ...], dict[str, str]]:
    return read(message_events(*blocks)).content()


def cut_up(text: str, cuts: list[int]) -> list[str]:
    at = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[a:b] for a, b in pairwise(at)]


@given(json_objects, st.lists(st.integers(0, 10_000), max_size=6))
def test_tool_input_is_the_same_however_it_was_cut_up(value: Block, cuts: list[int]) -> None:
    pieces = cut_up(json.dumps(value), cuts)
    blocks, broken = content(tool_block("write_file", *pieces))
    assert broken == {}
    assert blocks[0]["input"] == value


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.lists(st.integers(0, 99)))
def test_text_is_the_same_however_it_was_cut_up(text: str, cuts: list[int]) -> None:
    blocks, _ = content(text_block(*cut_up(text, cuts)))
    assert blocks == (({"type": "text", "text": text},) if text.strip() else ())


@pytest.mark.parametrize(
    "raw", ['{"path": "a', "{]", "[1]", '"text"', "null", "1", '{"a": "\\ud800"}', "[" * 100_000]
)
def test_input_that_is_no_json_object_is_kept_as_text(raw: str) -> None:
    blocks, broken = content(tool_block("write_file", raw))
    assert broken == {"toolu_1": raw}
    assert blocks[0]["input"] == {}


def test_a_tool_without_input_is_not_broken() -> None:
    blocks, broken = content(tool_block("list_files"), tool_block("list_files", "", tool_id="t2"))
    assert broken == {}
    assert [block["input"] for block in blocks] == [{}, {}]


def test_thinking_keeps_its_signature_and_what_is_unknown_stays_as_it_is() -> None:
    thinking: Block = {"type": "thinking", "thinking": "", "signature": ""}
    deltas: list[Block] = [
        {"type": "thinking_delta", "thinking": "I "},
        {"type": "thinking_delta", "thinking": "think"},
        {"type": "signature_delta", "signature": "sig"},
        {"type": "a_delta_of_tomorrow", "value": 1},
    ]
    redacted: Block = {"type": "redacted_thinking", "data": "xxx"}
    unknown: Block = {"type": "block_of_tomorrow", "value": {"deep": [1]}}
    blocks, _ = content((thinking, deltas), (redacted, []), (unknown, []))
    assert blocks == (
        {"type": "thinking", "thinking": "I think", "signature": "sig"},
        redacted,
        unknown,
    )


def test_citations_are_collected() -> None:
    block, deltas = text_block("quoted")
    cited = [{"type": "citations_delta", "citation": {"n": n}} for n in (1, 2)]
    blocks, _ = content((block, [*deltas, *cited]))
    assert blocks[0]["citations"] == [{"n": 1}, {"n": 2}]


def test_blank_text_is_left_out_since_the_api_does_not_take_it_back() -> None:
    blocks, _ = content(text_block(), text_block(" \n"), text_block("x"))
    assert blocks == ({"type": "text", "text": "x"},)


def test_half_of_a_surrogate_pair_in_text_is_replaced() -> None:
    blocks, _ = content(text_block("a\ud83d", "\ude00b\ud800c"))
    assert blocks[0]["text"] == "a😀b\ufffdc"


def test_blocks_that_are_streamed_side_by_side_stay_apart() -> None:
    start, _ = text_block()
    events = message_events()
    events[1:1] = [
        {"type": "content_block_start", "index": 1, "content_block": start},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "b"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
    ]
    assert [block["text"] for block in read(events).content()[0]] == ["a", "b"]


def test_the_last_usage_wins_and_what_it_leaves_out_stays() -> None:
    events = message_events(
        usage={"input_tokens": 5, "cache_read_input_tokens": 90, "output_tokens": 1},
        end_usage={"output_tokens": 33, "input_tokens": 6, "cache_read_input_tokens": None},
    )
    message = read(events)
    figures = [message.tokens(n) for n in ("input_tokens", "cache_read_input_tokens")]
    assert figures == [6, 90]
    assert message.tokens("output_tokens") == 33
    assert message.tokens("cache_creation_input_tokens") == 0


def test_the_output_of_a_cut_stream_is_estimated_from_what_arrived() -> None:
    events = message_events(text_block("x" * 400), tool_block("t", "y" * 41))
    assert read(events[:-3]).tokens("output_tokens") == 111
    assert read(events).tokens("output_tokens") == 7


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "text",
        {},
        {"type": "message_start"},
        {"type": "content_block_start", "index": "x", "content_block": {}},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": 1}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": 1},
        },
        {"type": "message_delta", "delta": None},
        {"type": "message_delta", "delta": {}, "usage": "many"},
    ],
)
def test_a_malformed_event_is_named_as_damage(event: object) -> None:
    message = read(message_events(text_block("x"))[:2])
    with pytest.raises(StreamDamaged, match="malformed"):
        message.feed(event)


START, BLOCK, *_, END, STOP = message_events(text_block("x"))


@pytest.mark.parametrize(
    "events", [[START, START], [START, BLOCK, BLOCK], [STOP], [BLOCK, END, STOP]], ids=len
)
def test_a_stream_that_repeats_or_lacks_its_beginnings_is_damaged(events: list[Block]) -> None:
    message = read(events[:-1])
    with pytest.raises(StreamDamaged, match=r"twice|before it has begun"):
        message.feed(events[-1])


@pytest.mark.parametrize("count", [-500, True, "12", 1.5, None, 10**400])
def test_a_count_that_is_none_leaves_the_one_before_it(count: object) -> None:
    events = message_events(end_usage={"input_tokens": count, "output_tokens": 7})
    assert read(events).tokens("input_tokens") == 10


def test_an_output_that_is_not_counted_is_estimated() -> None:
    events = message_events(text_block("x" * 400), end_usage={"output_tokens": -1})
    assert read(events).tokens("output_tokens") == 100


def test_events_that_are_not_known_are_skipped() -> None:
    message = read([*message_events()[:1], {"type": "ping"}, {"type": "event_of_tomorrow"}])
    assert message.started
    assert not message.finished


@given(st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(
    st.sampled_from(["type", "index", "delta", "message", "content_block", "usage"]), x
)))  # fmt: skip
def test_no_event_does_more_harm_than_damage(event: object) -> None:
    message = StreamedMessage()
    with suppress(StreamDamaged):
        message.feed(event)
    assert message.content() is not None

"""Answers as bytes, read back by the vendors' own decoders."""

from __future__ import annotations

# ruff: noqa: I001 - the SDK as the program imports it, without a second's worth of types
import json
from typing import Any

import claude.sdk  # noqa: F401
import pytest
from anthropic._streaming import SSEDecoder
from anthropic.lib.bedrock._stream_decoder import AWSEventStreamDecoder
from botocore.eventstream import (
    ChecksumMismatch,
    EventStreamBuffer,
    ParserError,
)
from hypothesis import given
from hypothesis import strategies as st

from claude.client.stream import StreamedMessage
from claude.simulation.answers import Answer, Part, tool_answer, tool_part
from claude.simulation.prompt_cache import InputTokens
from claude.simulation.wire import (
    Message,
    render_chunk_frame,
    render_events,
    render_exception_frame,
    render_frame,
    render_message,
    render_sse,
)

text = st.text(st.characters(exclude_categories=["Cs"]))
header_values = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
parts = st.lists(
    text.map(Part)
    | st.dictionaries(text, text, max_size=3).map(lambda given: tool_part("tool", given)),
    max_size=4,
)


def message(answer: Answer) -> Message:
    return Message(answer, "claude-x", "token", InputTokens(5, 6, 7))


def answer_of(parts: list[Part]) -> Answer:
    return Answer(tuple(parts), "end_turn")


@given(st.dictionaries(st.text("abc:-", min_size=1, max_size=20), header_values), st.binary())
def test_botocore_reads_our_frames(headers: dict[str, str], payload: bytes) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(render_frame(headers, payload) * 2)
    frames = list(buffer)
    assert [frame.payload for frame in frames] == [payload, payload]
    assert frames[0].headers == headers


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_frame_that_was_changed_is_noticed(at: int, flip: int) -> None:
    frame = bytearray(render_frame({":event-type": "chunk"}, b"payload"))
    at %= len(frame)
    frame[at] ^= flip
    buffer = EventStreamBuffer()
    buffer.add_data(bytes(frame))
    with pytest.raises((ParserError, StopIteration)) as caught:
        next(buffer)
    assert caught.type is not StopIteration or at < 4  # a longer length: more bytes are awaited


def test_a_changed_payload_fails_its_checksum() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(render_frame({}, b"payload").replace(b"payload", b"Payload"))
    with pytest.raises(ChecksumMismatch):
        next(buffer)


@given(parts, st.integers(1, 50))
def test_both_streams_and_the_whole_message_say_the_same(parts: list[Part], chars: int) -> None:
    said = message(answer_of(parts))
    events = [event for event, _ in render_events(said, chars)]
    by_sse = b"".join(render_sse(event) for event in events)
    by_frames = b"".join(render_chunk_frame(event) for event in events)
    whole = render_message(said)
    shown = [b for b in whole["content"] if b["type"] != "text" or b["text"].strip()]
    for decoder, data in ((SSEDecoder(), by_sse), (AWSEventStreamDecoder(), by_frames)):
        read = StreamedMessage()
        for event in decoder.iter_bytes(iter([data[:7], data[7:]])):
            read.feed(event.json())
        blocks, broken = read.content()
        assert read.finished
        assert list(blocks) == shown
        assert broken == {}
        assert read.message_id == whole["id"] == "msg_sim_token"
        for name, count in whole["usage"].items():
            assert read.tokens(name) == count


@given(parts, st.integers(1, 50))
def test_the_events_account_for_the_output_tokens(parts: list[Part], chars: int) -> None:
    answer = answer_of(parts)
    spent = sum(tokens for _, tokens in render_events(message(answer), chars))
    assert spent <= answer.output_tokens


@given(parts, st.integers(1, 60))
def test_a_limit_cuts_where_the_tokens_end(parts: list[Part], limit: int) -> None:
    answer = answer_of(parts)
    limited = answer.limited(limit)
    assert limited.output_tokens <= limit
    whole = "".join(part.text for part in answer.parts)
    assert whole.startswith("".join(part.text for part in limited.parts))
    assert (limited is answer) == (limited.stop_reason == "end_turn")


def test_malformed_input_cannot_be_shown_in_a_whole_message() -> None:
    whole = render_message(message(tool_answer(Part('{"path": "a', "write_file"))))
    assert whole["content"][0]["input"] == {}


def test_an_exception_frame_is_read_as_an_error_event() -> None:
    frame = render_exception_frame("throttlingException", "slow down")
    events = list(AWSEventStreamDecoder().iter_bytes(iter([frame])))
    assert [event.event for event in events] == ["error"]
    error: dict[str, Any] = json.loads(events[0].data)["error"]
    assert error == {"type": "throttlingException", "message": "slow down"}

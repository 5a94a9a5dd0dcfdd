"""An answer as bytes: the Messages API's JSON and server-sent events, and Bedrock's frames.

https://platform.claude.com/docs/en/build-with-claude/streaming
https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html (the frames)
"""

import base64
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from claude.simulation.answers import Answer, Part
from claude.simulation.prompt_cache import InputTokens


@dataclass(frozen=True, slots=True)
class Message:
    """An answer with all that the API adds. `token` makes ids that no other message has."""

    answer: Answer
    model: str
    token: str
    input: InputTokens

    def usage(self, output_tokens: int) -> dict[str, int]:
        return {
            "input_tokens": self.input.plain,
            "cache_read_input_tokens": self.input.read,
            "cache_creation_input_tokens": self.input.written,
            "output_tokens": output_tokens,
        }


def render_message(message: Message) -> dict[str, Any]:
    """The answer to a request without streaming."""
    answer = message.answer
    return {
        **_head(message),
        "content": [_block(message, n, part, part.text) for n, part in enumerate(answer.parts)],
        "stop_reason": answer.stop_reason,
        "usage": message.usage(answer.output_tokens),
    }


def render_events(message: Message, piece_chars: int) -> Iterator[tuple[dict[str, Any], int]]:
    """The events of a stream, each with the output tokens that it took to make."""
    start = {**_head(message), "usage": message.usage(1)}
    yield {"type": "message_start", "message": start}, 0
    for n, part in enumerate(message.answer.parts):
        block = _block(message, n, part, "")
        yield {"type": "content_block_start", "index": n, "content_block": block}, 0
        for at in range(0, len(part.text), piece_chars):
            piece = part.text[at : at + piece_chars]
            kind, key = ("input_json", "partial_json") if part.tool else ("text", "text")
            delta = {"type": f"{kind}_delta", key: piece}
            tokens = part.tokens * len(piece) // len(part.text)
            yield {"type": "content_block_delta", "index": n, "delta": delta}, tokens
        yield {"type": "content_block_stop", "index": n}, 0
    delta = {"stop_reason": message.answer.stop_reason}
    usage = {"output_tokens": message.answer.output_tokens}
    yield {"type": "message_delta", "delta": {**delta, "stop_sequence": None}, "usage": usage}, 0
    yield {"type": "message_stop"}, 0


def _head(message: Message) -> dict[str, Any]:
    return {
        "id": f"msg_sim_{message.token}",
        "type": "message",
        "role": "assistant",
        "model": message.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _block(message: Message, n: int, part: Part, text: str) -> dict[str, Any]:
    """A block of the answer; a stream starts it without text."""
    if not part.tool:
        return {"type": "text", "text": text}
    try:
        given = json.loads(text) if text else {}
    except ValueError:
        given = {}  # malformed input cannot be shown in a whole message
    name = f"toolu_sim_{message.token}_{n}"
    return {"type": "tool_use", "id": name, "name": part.tool, "input": given}


def render_sse(event: dict[str, Any]) -> bytes:
    """One server-sent event."""
    data = json.dumps(event, ensure_ascii=False)
    return f"event: {event['type']}\ndata: {data}\n\n".encode()


def render_chunk_frame(event: dict[str, Any]) -> bytes:
    """One event of Bedrock's stream."""
    data = base64.b64encode(json.dumps(event).encode()).decode()
    return _render_json_frame({":event-type": "chunk", ":message-type": "event"}, {"bytes": data})


def render_exception_frame(name: str, message: str) -> bytes:
    """An error in the middle of Bedrock's stream."""
    headers = {":exception-type": name, ":message-type": "exception"}
    return _render_json_frame(headers, {"message": message})


def _render_json_frame(headers: dict[str, str], value: object) -> bytes:
    headers = {**headers, ":content-type": "application/json"}
    return render_frame(headers, json.dumps(value).encode())


_STRING_HEADER = 7
_PRELUDE_BYTES = 12
_CRC_BYTES = 4


def render_frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame: prelude (lengths and their CRC), headers, payload, CRC of all."""
    head = b"".join(_render_header(name, value) for name, value in headers.items())
    total = _PRELUDE_BYTES + len(head) + len(payload) + _CRC_BYTES
    lengths = struct.pack("!II", total, len(head))
    body = lengths + struct.pack("!I", zlib.crc32(lengths)) + head + payload
    return body + struct.pack("!I", zlib.crc32(body))


def _render_header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack("!B", len(key)) + key + struct.pack("!BH", _STRING_HEADER, len(text)) + text

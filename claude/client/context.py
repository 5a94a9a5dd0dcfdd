"""Keeps a conversation inside the model's context window, as a pure function of its messages.

What is old and long gives way to short notes, oldest first: results of tools, and bodies of files
in their inputs. Much goes at once and then nothing for long, because each change makes the
provider's cache worthless from there on. Blocks stay in place, so tool_use and tool_result pair up.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from claude.client.types import Block
from core.errors import ModelError, RequestRejected
from core.job import Usage

KEEP_MESSAGES = 4
"""The last two turns are never touched, unless a request was refused for its length."""
MOST_SQUEEZES = 6

# Code has three to four bytes a token, so this errs on the safe side until usage is known.
_BYTES_PER_TOKEN = 3.0
_LEAST_LEARNED_TOKENS = 2_000
_BOUNDS = (1.5, 5.0)
_TARGET = 0.5
_BLOCK_BYTES = 40
_IMAGE_BYTES = 5_000  # as a large one counts, whatever its file has
_MOST_NAMED_CHARS = 60
_NOTE = re.compile(r"\[dropped: ([\d,]+) characters of .*; read it again if you need it\]", re.S)
_TOO_LONG = (
    "prompt is too long",
    "input is too long",
    "exceed context limit",
    "exceeds the maximum size",
    "request_too_large",
)


def estimate_tokens(value: object) -> int:
    """About how many tokens a part of a request has."""
    return round(_count_bytes(value) / _BYTES_PER_TOKEN)


def fit(
    messages: Sequence[Block],
    limit_tokens: float,
    *,
    keep: int = KEEP_MESSAGES,
    bytes_per_token: float = _BYTES_PER_TOKEN,
) -> list[Block]:
    """The messages within `limit_tokens`: as they are when they fit, else trimmed to half of it.

    Never touched are the first message, which says what the task is, and the last `keep`; where
    these alone are too long, so is the result. Give the result back the next time.
    """
    limit_bytes = limit_tokens * bytes_per_token
    if _count_bytes(messages) <= limit_bytes:
        return list(messages)
    return _trim(messages, limit_bytes * _TARGET, keep)


def read_note(text: str) -> int | None:
    """How many characters the note stands for; None when `text` is no note."""
    match = _NOTE.fullmatch(text)
    return int(match[1].replace(",", "")) if match else None


def is_too_long(error: ModelError) -> bool:
    """Whether a provider refused a request because of its length."""
    text = error.message.lower()
    return isinstance(error, RequestRejected) and (
        "(413)" in text or any(phrase in text for phrase in _TOO_LONG)
    )


class ContextWindow:
    """The room of one conversation; learns from usage how long its tokens are. `fixed` is what goes
    out beside the messages. Of `context_tokens`, `answer_tokens` are kept for the answer."""

    def __init__(self, context_tokens: int, answer_tokens: int, fixed: object = ()) -> None:
        self._limit = max(float(context_tokens - answer_tokens), context_tokens / 2)
        self._fixed_bytes = _count_bytes(fixed)
        self._bytes_per_token = _BYTES_PER_TOKEN
        self._squeezes = 0

    def fit(self, messages: Sequence[Block]) -> list[Block]:
        """What goes out next, in place of `messages`."""
        fixed_tokens = self._fixed_bytes / self._bytes_per_token
        return fit(messages, self._limit - fixed_tokens, bytes_per_token=self._bytes_per_token)

    def learn(self, messages: Sequence[Block], usage: Usage) -> None:
        """Take from `usage` what `messages` really were."""
        tokens = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
        if tokens >= _LEAST_LEARNED_TOKENS:
            measured = (self._fixed_bytes + _count_bytes(messages)) / tokens
            self._bytes_per_token = min(max(measured, _BOUNDS[0]), _BOUNDS[1])

    def squeeze(self, messages: Sequence[Block]) -> list[Block] | None:
        """About half of `messages`, which turned out to be too long; at need the last turns give
        way too. None when that is no use, or was done too often."""
        self._squeezes += 1
        if self._squeezes > MOST_SQUEEZES:
            return None
        size = _count_bytes(messages)
        self._limit = min(self._limit, (self._fixed_bytes + size) / self._bytes_per_token * 0.9)
        for keep in (KEEP_MESSAGES, 0):
            smaller = _trim(messages, size * _TARGET, keep)
            if _count_bytes(smaller) <= size * 0.9:
                return smaller
        return None


def _trim(messages: Sequence[Block], goal_bytes: float, keep: int) -> list[Block]:
    """The messages with the oldest ones shortened until `goal_bytes` are reached."""
    trimmed, size = list(messages), _count_bytes(messages)
    sources = _name_sources(messages)
    for n in range(1, len(messages) - keep):
        if size <= goal_bytes:
            break
        content = messages[n]["content"]
        if isinstance(content, list):
            trimmed[n] = {**messages[n], "content": [_shorten(b, sources) for b in content]}
            size += _count_bytes(trimmed[n]) - _count_bytes(messages[n])
    return trimmed


def _name_sources(messages: Sequence[Block]) -> dict[str, str]:
    """By id of a call: what its texts are, in words."""
    return {
        str(block.get("id")): _name_source(block)
        for message in messages
        if message["role"] == "assistant" and isinstance(message["content"], list)
        for block in message["content"]
        if block.get("type") == "tool_use"
    }


def _name_source(call: Mapping[str, Any]) -> str:
    given = call.get("input")
    path = given.get("path") if isinstance(given, Mapping) else None
    if isinstance(path, str) and path.strip():
        return path.strip()[:_MOST_NAMED_CHARS]
    return f"{str(call.get('name'))[:_MOST_NAMED_CHARS]}'s result"


def _shorten(block: Block, sources: Mapping[str, str]) -> Block:
    """The block with notes for what is long in it; the same block when nothing is."""
    match block.get("type"):
        case "tool_result" if "content" in block:
            name = sources.get(str(block.get("tool_use_id")), "a tool's result")
            return {**block, "content": _shorten_result(block["content"], name)}
        case "tool_use":
            name = sources.get(str(block.get("id")), "a file")
            return {**block, "input": _shorten_texts(block.get("input"), name)}
    return block


def _shorten_result(content: Any, name: str) -> Any:
    if isinstance(content, list) and all(b.get("type") == "text" for b in content):
        text = "".join(str(b.get("text", "")) for b in content)
        short = _shorten_texts(text, name)
        return content if short == text else short
    return _shorten_texts(content, name)


def _shorten_texts(value: Any, name: str) -> Any:
    if isinstance(value, str):
        note = f"[dropped: {len(value):,} characters of {name}; read it again if you need it]"
        return note if 2 * _count_bytes(note) < _count_bytes(value) else value
    if isinstance(value, Mapping):
        return {key: _shorten_texts(inner, name) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shorten_texts(inner, name) for inner in value]
    return value


def _count_bytes(value: object) -> int:
    """About what a value adds to a request: its texts, and something for each object."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, Mapping):
        if value.get("type") == "image":
            return _IMAGE_BYTES
        return _BLOCK_BYTES + sum(_count_bytes(k) + _count_bytes(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return sum(_count_bytes(inner) for inner in value)
    return 4

"""What the simulated API says about its prompt cache: tokens read, written, and neither.

A request's longest marked prefix that was seen within five minutes is read, the rest of what it
marks is written. Only the figures depend on it, never a word of an answer.
https://platform.claude.com/docs/en/build-with-claude/prompt-caching
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LIFETIME_S = 300.0
MIN_TOKENS = 1024
_CHARS_PER_TOKEN = 4


def count_tokens(text: str) -> int:
    """About four characters a token, and at least one."""
    return max(1, -(-len(text) // _CHARS_PER_TOKEN))


@dataclass(frozen=True, slots=True)
class InputTokens:
    """The input of one request; the three add up to all of it."""

    plain: int
    read: int = 0
    written: int = 0

    @property
    def total(self) -> int:
        return self.plain + self.read + self.written


class PromptCache:
    """Prefixes seen, by digest; for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expires: dict[str, float] = {}

    def account(self, request: Mapping[str, Any], model: str, now: float) -> InputTokens:
        """Count the request's input and remember what it marks for the cache."""
        total, marked = _measure(request, model)
        marked = [(key, tokens) for key, tokens in marked if tokens >= MIN_TOKENS]
        with self._lock:
            self._forget(now)
            read = max((tokens for key, tokens in marked if key in self._expires), default=0)
            self._expires |= {key: now + LIFETIME_S for key, _ in marked}
        longest = max((tokens for _, tokens in marked), default=0)
        return InputTokens(total - longest, read, longest - read)

    def _forget(self, now: float) -> None:
        for key in [k for k, expires in self._expires.items() if expires < now]:
            del self._expires[key]


def _measure(request: Mapping[str, Any], model: str) -> tuple[int, list[tuple[str, int]]]:
    """All input tokens, and digest and tokens of each prefix that ends at a mark."""
    hasher = hashlib.sha256(model.encode())
    chars, marked = 0, []
    for item in _in_order(request):
        plain = {k: v for k, v in item.items() if k != "cache_control"}
        text = json.dumps(plain, sort_keys=True)
        hasher.update(text.encode())
        chars += len(text)
        if item.get("cache_control"):
            marked.append((hasher.hexdigest(), -(-chars // _CHARS_PER_TOKEN)))
    return max(1, -(-chars // _CHARS_PER_TOKEN)), marked


def _in_order(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a request in the order in which the cache sees them."""
    yield from request.get("tools") or ()
    yield from _blocks(request.get("system") or [])
    for message in request.get("messages") or ():
        for block in _blocks(message["content"]):
            yield {"role": message["role"], **block}


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


# One per process, as the API has one for all its clients.
PROCESS_CACHE = PromptCache()

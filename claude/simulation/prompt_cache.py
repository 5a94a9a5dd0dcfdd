"""The prompt cache of the simulated API: which input tokens were read from it, or written to it.

Accounts as the API documents it: an entry is written at each mark whose prefix is long enough for
the model, can be read once the answer to its request has begun, and lives for five minutes (or an
hour, if so marked) after its last use; from each mark, up to 20 blocks back are searched for an
entry. Only usage figures depend on it.
https://platform.claude.com/docs/en/build-with-claude/prompt-caching
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LIFETIME_S = 300.0
LONG_LIFETIME_S = 3600.0
LOOKBACK_BLOCKS = 20
MIN_TOKENS = 1024
CHARS_PER_TOKEN = 4
_IMAGE = "image" * (1_600 * CHARS_PER_TOKEN // 5)
"""As many tokens as most have: https://platform.claude.com/docs/en/build-with-claude/vision"""

# Where a model is not named, it is MIN_TOKENS.
_MIN_TOKENS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"opus-4-[56]"), 4096),
    (re.compile(r"opus-4-7"), 2048),
    (re.compile(r"opus-5|fable-5|mythos-5"), 512),
    (re.compile(r"haiku-4"), 4096),
    (re.compile(r"haiku"), 2048),
)


def count_tokens(text: str) -> int:
    """About four characters a token, and at least one."""
    return max(1, -(-len(text) // CHARS_PER_TOKEN))


def least_cacheable_tokens(model: str) -> int:
    """The shortest prefix that the cache takes of `model`, whichever provider names it."""
    return next((least for name, least in _MIN_TOKENS if name.search(model)), MIN_TOKENS)


@dataclass(frozen=True, slots=True)
class InputTokens:
    """The input of one request; the three add up to all of it."""

    plain: int
    read: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class _Prefix:
    """A request up to the end of one block. `lifetime_s` is 0 where the block has no mark."""

    key: str
    tokens: int
    lifetime_s: float


@dataclass(slots=True)
class _Entry:
    readable_from: float
    expires: float
    lifetime_s: float


class PromptCache:
    """Prefixes written, by digest; for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def account(
        self,
        request: Mapping[str, Any],
        model: str,
        now: float,
        *,
        begins_s: float = 0.0,
        speed: float = 1.0,
    ) -> InputTokens:
        """Count the request's input and remember what it marks. Its answer begins in `begins_s`;
        lifetimes pass `speed` times faster than `now`."""
        prefixes = list(_measure(request, model))
        total = max(1, prefixes[-1].tokens if prefixes else 1)
        least = least_cacheable_tokens(model)
        marks = [n for n, p in enumerate(prefixes) if p.lifetime_s and p.tokens >= least]
        if not marks:
            return InputTokens(total)
        with self._lock:
            self._entries = {k: e for k, e in self._entries.items() if e.expires >= now}
            if (hit := self._find(prefixes, marks, now)) is not None:
                entry = self._entries[hit.key]
                entry.expires = max(entry.expires, now + entry.lifetime_s / speed)
            for n in marks:
                self._write(prefixes[n], now, begins_s, speed)
        read = hit.tokens if hit else 0
        longest = max(prefixes[marks[-1]].tokens, read)
        return InputTokens(total - longest, read, longest - read)

    def _find(
        self, prefixes: Sequence[_Prefix], marks: Sequence[int], now: float
    ) -> _Prefix | None:
        """The longest prefix that can be read, looking back from each mark."""
        for mark in reversed(marks):
            for n in range(mark, max(-1, mark - LOOKBACK_BLOCKS), -1):
                if (entry := self._entries.get(prefixes[n].key)) and entry.readable_from <= now:
                    return prefixes[n]
        return None

    def _write(self, prefix: _Prefix, now: float, begins_s: float, speed: float) -> None:
        """Remember the prefix, or that it was used again."""
        new = _Entry(now + begins_s, now + begins_s + prefix.lifetime_s / speed, prefix.lifetime_s)
        entry = self._entries.setdefault(prefix.key, new)
        entry.readable_from = min(entry.readable_from, new.readable_from)
        entry.expires = max(entry.expires, new.expires)


def count_input(request: Mapping[str, Any]) -> int:
    """All input tokens of a request."""
    return max(1, -(-sum(map(len, map(_render, _in_order(request)))) // CHARS_PER_TOKEN))


def _measure(request: Mapping[str, Any], model: str) -> Iterator[_Prefix]:
    """The request block by block, in the order in which the cache sees it."""
    hasher = hashlib.sha256(model.encode())
    chars = 0
    blocks = list(_in_order(request))
    for n, block in enumerate(blocks):
        text = _render(block)
        hasher.update(text.encode())
        chars += len(text)
        mark = block.get("cache_control")
        if n == len(blocks) - 1:
            mark = mark or request.get("cache_control")  # the automatic mark
        yield _Prefix(hasher.copy().hexdigest(), -(-chars // CHARS_PER_TOKEN), _lifetime_s(mark))


def _render(block: Mapping[str, Any]) -> str:
    if block.get("type") == "image":
        return hashlib.sha256(json.dumps(block).encode()).hexdigest() + _IMAGE
    return json.dumps({k: v for k, v in block.items() if k != "cache_control"})


def _lifetime_s(mark: Any) -> float:
    if not mark:
        return 0.0
    return LONG_LIFETIME_S if isinstance(mark, dict) and mark.get("ttl") == "1h" else LIFETIME_S


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

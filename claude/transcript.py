"""The transcript of an attempt: one JSON line a turn, for people who want to know what happened.

Secrets are masked, and long texts stand as size and digest, since the files themselves travel too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from claude.client import Reply
from core.wire import plain

LONGEST_TEXT_CHARS = 4_096
_HEAD_CHARS = 160


class Transcript:
    """Appends to `path`, each line as soon as it is known; `mask` hides secrets in a text."""

    def __init__(self, path: Path, mask: Callable[[str], str]) -> None:
        self._path = path
        self._mask = mask

    def record(self, turn: int, sent: Iterable[Mapping[str, Any]], reply: Reply) -> None:
        """Write one turn: the messages that are new in it, and what came back."""
        line = {
            "turn": turn,
            "sent": list(sent),
            "received": list(reply.content),
            "stop_reason": reply.stop_reason,
            "broken_inputs": dict(reply.broken_inputs),
            "usage": plain(reply.usage),
        }
        with self._path.open("a", encoding="utf-8") as stream:
            # ASCII, so that no half of a surrogate pair can break the file
            stream.write(json.dumps(self._told(line)) + "\n")

    def _told(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {self._mask(str(key)): self._told(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._told(inner) for inner in value]
        return value

    def _text(self, text: str) -> Any:
        if len(text) <= LONGEST_TEXT_CHARS:
            return self._mask(text)
        data = text.encode("utf-8", "surrogatepass")
        return {
            "head": self._mask(text)[:_HEAD_CHARS],
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

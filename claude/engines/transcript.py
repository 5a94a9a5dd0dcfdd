"""The transcript of an attempt: JSON lines for people who want to know what happened.

A line for the beginning, for each turn and for the end, each written as soon as it is known.
Secrets are masked; a long text stands as size and digest, and as the path of the file that has it.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from claude.client.types import Reply
from core.bundle import Request
from core.wire import plain
from core.workspace.protected_log import ProtectedLog

LONGEST_TEXT_CHARS = 4_096
_HEAD_CHARS = 160


class Transcript:
    """Appends to `path`; `mask` hides secrets in a text. For one attempt."""

    def __init__(self, path: Path, mask: Callable[[str], str]) -> None:
        self.file = ProtectedLog(path)
        self._mask = mask
        self._files: dict[str, str] = {}

    def begin(self, request: Request) -> None:
        """Write which attempt this is."""
        self._write(
            {
                "attempt": str(request.key),
                "title": request.task.title,
                "model": request.model.model,
                "provider": request.model.provider,
                "engine": request.model.engine,
                **({"effort": request.model.effort} if request.model.effort else {}),
                "limits": plain(request.limits),
            }
        )

    def record(
        self, turn: int, sent: Iterable[Mapping[str, Any]], reply: Reply, started: float = 0.0
    ) -> None:
        """Write one turn, which began at Unix time `started`: the messages that are new in it,
        among them the results of tools, and what came back."""
        masked = [self._masked(message, "request/") for message in sent]
        self._remember_files(reply.content)
        self._write(
            {
                "turn": turn,
                "at": started,
                "duration_s": reply.usage.duration_s,
                "retries": reply.retries,
                "sent": masked,
                "received": reply.content,
                "stop_reason": reply.stop_reason,
                "broken_inputs": reply.broken_inputs,
                "usage": plain(reply.usage),
            }
        )

    def end(self, outcome: str, message: str, sent: Iterable[Mapping[str, Any]] = ()) -> None:
        """Write how it ended, with the messages that got no answer any more."""
        self._write({"ended": str(outcome), "message": message, "sent": list(sent)})

    def _write(self, line: Mapping[str, Any]) -> None:
        # ASCII, so that no half of a surrogate pair can break the file
        self.file.write(json.dumps(self._masked(line)) + "\n")

    def _remember_files(self, content: Iterable[Mapping[str, Any]]) -> None:
        for block in content:
            if isinstance(given := block.get("input"), Mapping) and isinstance(
                path := given.get("path"), str
            ):
                self._files[str(block.get("id"))] = path

    def _masked(self, value: Any, where: str = "") -> Any:
        """The value as it is written; `where` names the file that holds its texts, if any does."""
        if isinstance(value, str):
            return self._text(value, where)
        if isinstance(value, Mapping):
            named = self._files.get(str(value.get("tool_use_id"))) or value.get("path")
            where = named if isinstance(named, str) else where
            return {
                self._mask(str(key)): self._masked(inner, where) for key, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [self._masked(inner, where) for inner in value]
        return value

    def _text(self, text: str, where: str) -> Any:
        if len(text) <= LONGEST_TEXT_CHARS:
            return self._mask(text)
        data = text.encode("utf-8", "surrogatepass")
        reference = {
            "head": self._mask(text)[:_HEAD_CHARS],
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }
        return reference | ({"file": self._mask(where)[:_HEAD_CHARS]} if where else {})

"""The transcript of an attempt: JSON lines for people who want to know what happened.

First what was asked for, then a line a turn with what was new in the request and what came back,
last how it ended. Each line is written as soon as it is known, so a cut attempt leaves the rest.
Secrets are masked; a long text stands as size and digest, and as the path of the file that has it.
"""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from claude.client.types import Reply
from core.bundle import Request
from core.wire import plain
from core.workspace.protected_log import ProtectedLog

LONGEST_TEXT_CHARS = 4_096
_HEAD_CHARS = 160
_WIDTH = 80
_SHOWN_CHARS = 400


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
                "limits": plain(request.limits),
            }
        )

    def record(
        self, turn: int, sent: Iterable[Mapping[str, Any]], reply: Reply, started: float = 0.0
    ) -> None:
        """Write one turn, which began at Unix time `started`: the messages that are new in it,
        among them the results of tools, and what came back."""
        line = {
            "turn": turn,
            "at": started,
            "duration_s": reply.usage.duration_s,
            "retries": reply.retries,
            "sent": [self._masked(message, "request/") for message in sent],
        }
        self._remember_files(reply.content)
        received = {
            "received": list(reply.content),
            "stop_reason": reply.stop_reason,
            "broken_inputs": dict(reply.broken_inputs),
            "usage": plain(reply.usage),
        }
        self._write(line, received)

    def end(self, outcome: str, message: str, sent: Iterable[Mapping[str, Any]] = ()) -> None:
        """Write how it ended, with the messages that got no answer any more."""
        self._write({"ended": str(outcome), "message": message, "sent": list(sent)})

    def _write(self, *parts: Mapping[str, Any]) -> None:
        line: dict[str, Any] = {}
        for part in parts:
            line |= self._masked(part)
        # ASCII, so that no half of a surrogate pair can break the file
        self.file.write(json.dumps(line) + "\n")

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


def render_transcript(path: Path) -> str:
    """The transcript for reading, in 80 columns; lines that are damaged are counted. Raises OSError
    when there is none."""
    shown: list[str] = []
    damaged = 0
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            shown += _render_line(json.loads(text))
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
            damaged += 1
    if damaged:
        shown += ["", f"({damaged} damaged line{'s' * (damaged > 1)} left out)"]
    return "\n".join(shown) + "\n"


def _render_line(line: Mapping[str, Any]) -> list[str]:
    if "attempt" in line:
        asked = f"{line['model']} on {line['provider']}, engine {line['engine']}"
        return [*_wrap(f"{line['attempt']}: {line['title']}", ""), *_wrap(asked, "")]
    sent = [text for message in line["sent"] for text in _render_message(message)]
    if "ended" in line:
        return ["", *sent, *_wrap(f"Ended {line['ended']}: {line['message']}", "")]
    received = [text for block in line["received"] for text in _render_block(block, "< ")]
    broken = [
        text
        for raw in line["broken_inputs"].values()
        for text in _wrap(f"input that is no JSON object: {_show(raw)}", "< ")
    ]
    return ["", *_wrap(_render_head(line), ""), *sent, *received, *broken]


def _render_head(line: Mapping[str, Any]) -> str:
    usage = line["usage"]
    read, written = usage["cache_read_tokens"], usage["cache_write_tokens"]
    total = usage["input_tokens"] + read + written
    when = datetime.fromtimestamp(line["at"], UTC).strftime("%H:%M:%S UTC")
    parts = [f"Turn {line['turn']} at {when}, {line['duration_s']:.1f} s"]
    if line["retries"]:
        parts.append(f"{line['retries']} failed before it")
    parts.append(f"{total:,} tokens in ({read:,} from the cache)")
    parts.append(f"{usage['output_tokens']:,} out, {line['stop_reason']}")
    return ", ".join(parts)


def _render_message(message: Mapping[str, Any]) -> Iterator[str]:
    if message["role"] != "assistant":  # what came back was shown when it came
        for block in message["content"]:
            yield from _render_block(block, "> ")


def _render_block(block: Mapping[str, Any], prefix: str) -> list[str]:
    match block["type"]:
        case "text":
            return _wrap(_show(block["text"]), prefix)
        case "tool_use":
            given = block["input"]
            parts = [f"{name}: {_show(value)}" for name, value in given.items()]
            return _wrap("; ".join([f"[{block['name']}]", *parts]), prefix)
        case "tool_result":
            label = "refused: " if block.get("is_error") else "result: "
            return _wrap(label + _show(block.get("content", "")), prefix)
    return _wrap(f"({block['type']})", prefix)


def _show(value: Any) -> str:
    """A value in one line: a reference as such, and no more of a text than is good to read."""
    if isinstance(value, Mapping) and "sha256" in value:
        where = f", in {value['file']}" if value.get("file") else ""
        return f"{value['head']} ... ({value['size']:,} bytes{where}, {value['sha256'][:12]})"
    text = value if isinstance(value, str) else json.dumps(value)
    if len(text) > _SHOWN_CHARS:
        text = f"{text[:_SHOWN_CHARS]} ... ({len(text):,} characters)"
    return text


def _wrap(text: str, prefix: str) -> list[str]:
    """The text in lines of 80 columns, each line of it with the prefix; nothing in it that could
    control a terminal."""
    lines: list[str] = []
    for part in text.split("\n"):
        clean = "".join(c if c.isprintable() else " " for c in part).rstrip()
        lines += textwrap.wrap(
            clean,
            _WIDTH,
            initial_indent=prefix,
            subsequent_indent=prefix,
            break_on_hyphens=False,
            replace_whitespace=False,
        )
    return lines

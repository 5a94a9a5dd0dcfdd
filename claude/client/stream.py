"""Puts one streamed answer together from its raw events, and keeps its content unchanged.

Tool input is collected as text, so that JSON which is malformed or was cut stays visible.
Events: https://platform.claude.com/docs/en/build-with-claude/streaming
"""

import json
import math
import re
from typing import Any

_TEXT_DELTAS = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
_CHARS_PER_TOKEN = 4
_MOST = 2**53  # of anything that is counted
_PATH = re.compile(r'\s*\{\s*"(?:file_)?path"\s*:\s*"([^"\\]+)"')
"""As our own tools call it, and those of Claude Code."""
_PATH_PIECES = 50
"""Of a tool's input: they hold its first parameter."""


class StreamDamaged(ValueError):
    """The events do not make sense together."""


class StreamedMessage:
    """Fed with events in order; `finished` once message_stop came. `progressed` says whether the
    last event was part of the answer, which a ping is not; `piece` is the text or tool input that
    it brought."""

    def __init__(self) -> None:
        self.started = self.finished = self.progressed = False
        self.message_id = self.stop_reason = self.piece = ""
        self._usage: dict[str, Any] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._json: dict[int, list[str]] = {}
        self.received_chars = 0
        self._output_is_reported = False

    def feed(self, event: object) -> None:
        """Take one event, as decoded JSON. Raises StreamDamaged; kinds not known are skipped."""
        self.piece = ""
        try:
            self.progressed = self._take(event)
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise StreamDamaged(f"an event of the stream is malformed ({exc!r})") from exc

    def _take(self, event: Any) -> bool:
        match event["type"]:
            case "message_start":
                if self.started:
                    raise ValueError("the message begins twice")
                self.started = True
                self.message_id = str(event["message"].get("id", ""))
                self._merge_usage(event["message"].get("usage"))
            case "content_block_start":
                if (index := int(event["index"])) in self._blocks:
                    raise ValueError(f"block {index} begins twice")
                self._blocks[index] = dict(event["content_block"])
            case "content_block_delta":
                self._extend(int(event["index"]), event["delta"])
            case "message_delta":
                self.stop_reason = event["delta"].get("stop_reason") or self.stop_reason
                self._output_is_reported |= "output_tokens" in self._merge_usage(event.get("usage"))
            case "message_stop":
                if not self.started:
                    raise ValueError("the message ends before it has begun")
                self.finished = True
            case "ping":
                return False
        return True

    def _extend(self, index: int, delta: dict[str, Any]) -> None:
        block, kind = self._blocks[index], delta["type"]
        if kind == "input_json_delta":
            piece = "" + delta["partial_json"]
            self._json.setdefault(index, []).append(piece)
            self.piece = piece
            self.received_chars += len(piece)
        elif (name := _TEXT_DELTAS.get(kind)) is not None:
            block[name] = (block.get(name) or "") + delta[name]
            self.received_chars += len(delta[name])
            self.piece = delta[name] if kind == "text_delta" else ""
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]

    def _merge_usage(self, usage: dict[str, Any] | None) -> dict[str, int]:
        """The valid counts: a server may report nonsense."""
        reported = {k: v for k, v in (usage or {}).items() if type(v) is int and 0 <= v <= _MOST}
        self._usage |= reported
        return reported

    def tokens(self, name: str) -> int:
        """A figure of the usage so far. The output of a stream that was cut is estimated from what
        arrived, because its usage never did; so is one that a server does not count."""
        counted = int(self._usage.get(name, 0))
        if name == "output_tokens" and not (self.stop_reason and self._output_is_reported):
            return max(counted, math.ceil(self.received_chars / _CHARS_PER_TOKEN))
        return counted

    @property
    def path(self) -> str:
        """Of the file that the tool call under way writes; empty where it is not known yet."""
        begun = "".join(self._json.get(max(self._blocks, default=0), ())[:_PATH_PIECES])
        found = _PATH.match(begun)
        return found[1] if found else ""

    def content(self) -> tuple[tuple[dict[str, Any], ...], dict[str, str]]:
        """The blocks, and by tool_use id the input text that is no JSON object."""
        broken: dict[str, str] = {}
        blocks = [self._finish(index, broken) for index in sorted(self._blocks)]
        # the API sends empty text blocks at times, and refuses to take them back
        kept = [b for b in blocks if b.get("type") != "text" or str(b.get("text", "")).strip()]
        return tuple(kept), broken

    def _finish(self, index: int, broken: dict[str, str]) -> dict[str, Any]:
        block = {k: _encodable(v) if k == "text" else v for k, v in self._blocks[index].items()}
        if "input" in block and (text := "".join(self._json.get(index, ()))).strip():
            value = _parse_object(text)
            if value is None:
                broken[str(block.get("id", ""))] = text
            block["input"] = value or {}
        return block


def _encodable(value: object) -> object:
    if not isinstance(value, str):
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _parse_object(text: str) -> dict[str, Any] | None:
    """The JSON object in `text`; None when there is none, or half of a surrogate pair in it."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

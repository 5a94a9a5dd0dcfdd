"""Reads the CLI's stream-json: each turn for the transcript, progress for people, the result.

Pure. Lines that are not a JSON object are counted and left out; unknown kinds are ignored. https://code.claude.com/docs/en/headless
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from claude.client.types import Block, Reply
from core.job import Usage

_MOST = 2**53  # of anything that is counted
_COUNTS: Mapping[str, str] = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cache_read_input_tokens",
    "cache_write_tokens": "cache_creation_input_tokens",
}
# The bulk of the stream: the whole block comes once more, and is taken then.
_DELTA = b'{"type":"stream_event","event":{"type":"content_block_delta"'


@dataclass(frozen=True, slots=True)
class CliResult:
    """How one prompt ended. `text` is the model's own when it succeeded."""

    subtype: str
    is_error: bool
    text: str = ""
    stop_reason: str = ""


@dataclass(slots=True)
class CliStream:
    """The stream of one process of the CLI. `on_turn` gets the new messages of a request that has
    ended and what came back, `on_progress` lines for people. What is billed the proxy counts: of a
    request that was cut, this shows only what came."""

    usage: Usage
    """Provider, model and whether it is simulated; the counts are filled in."""
    root: str
    """The workspace, which is left out of the paths in messages."""
    now: Callable[[], float]
    on_turn: Callable[[Sequence[Block], Reply], None]
    on_progress: Callable[[str], None]
    sent: list[Block] = field(default_factory=list)
    result: CliResult | None = None
    unreadable: int = 0
    _counts: dict[str, Any] = field(default_factory=dict)
    _content: list[Block] = field(default_factory=list)
    _stop_reason: str = ""
    _request_id: str = ""
    _since: float = 0.0
    _retries: int = 0
    _open: bool = False
    _callbacks: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._since = self.now()

    def feed(self, line: bytes) -> None:
        """Take one line."""
        if line.startswith(_DELTA) or not line.strip():
            return
        try:
            self._take(json.loads(line))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            self.unreadable += 1
        self._notify()

    def close(self) -> None:
        """No more lines: a request that was cut counts with what is known of it."""
        if self._open:
            self._end_turn()
        self._notify()

    def _notify(self) -> None:
        """Call back outside of the guard against malformed lines."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def _take(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "stream_event" if event.get("parent_tool_use_id") is None:
                self._raw(event["event"])
            case "assistant":
                self._add_answer(event)
            case "user":
                self._add_tool_results(event["message"])
            case "system" if event.get("subtype") == "api_retry":
                self._retried(event)
            case "system" if event.get("subtype") == "status":
                self._since = self.now()
            case "result":
                self._ended(event)

    def _raw(self, event: Mapping[str, Any]) -> None:
        match event["type"]:
            case "message_start":
                if self._open:
                    self._end_turn()
                self._open = True
                self._request_id = str(event["message"].get("id", ""))
                self._count(event["message"].get("usage") or {})
            case "message_delta":
                self._stop_reason = str(event["delta"].get("stop_reason") or "")
                self._count(event.get("usage") or {})
            case "message_stop" if self._open:
                self._end_turn()

    def _count(self, usage: Mapping[str, Any]) -> None:
        for name, theirs in _COUNTS.items():
            if isinstance(count := usage.get(theirs), int):
                self._counts[name] = min(max(0, count), _MOST)

    def _add_answer(self, event: Mapping[str, Any]) -> None:
        if event.get("error"):
            return  # text of the CLI itself
        self._content += [dict(block) for block in event["message"]["content"]]
        self._request_id = str(event.get("request_id") or self._request_id)

    def _add_tool_results(self, message: Mapping[str, Any]) -> None:
        self._since = self.now()
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        self.sent.append({"role": "user", "content": list(content)})

    def _retried(self, event: Mapping[str, Any]) -> None:
        self._retries += 1
        seconds = float(event.get("retry_delay_ms") or 0) / 1000
        why = event.get("error_status") or event.get("error") or "connection lost"
        self._report(f"Claude Code tries again in {seconds:.1f} s ({why})")

    def _end_turn(self) -> None:
        usage = replace(
            self.usage,
            **self._counts,
            duration_s=max(0.0, self.now() - self._since),
            request_id=self._request_id,
        )
        reply = Reply(tuple(self._content), self._stop_reason or "cut", usage, {}, self._retries)
        for block in reply.content:
            if text := describe_call(block, self.root):
                self._report(text)
        self._callbacks.append(partial(self.on_turn, self.sent, reply))
        self._open, self._retries, self._stop_reason = False, 0, ""
        self.sent, self._content, self._counts = [], [], {}

    def _report(self, text: str) -> None:
        self._callbacks.append(partial(self.on_progress, text))

    def _ended(self, event: Mapping[str, Any]) -> None:
        text = event.get("result") or "; ".join(map(str, event.get("errors") or ()))
        self.result = CliResult(
            str(event.get("subtype", "")),
            bool(event.get("is_error")),
            str(text),
            str(event.get("stop_reason") or ""),
        )


def describe_call(block: Mapping[str, Any], root: str) -> str:
    """A call that changes something, as a line of progress; empty for others."""
    given = block.get("input")
    if block.get("type") != "tool_use" or not isinstance(given, Mapping):
        return ""
    path = str(given.get("file_path", "")).removeprefix(f"{root}/")
    match block.get("name"):
        case "Write":
            return f"writes {path}"
        case "Edit":
            return f"edits {path}"
        case "Bash":
            return f"runs {' '.join(str(given.get('command', '')).split())[:80]}"
    return ""

"""The transcript of an attempt for reading: turns, tool calls, and what was written as it was."""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from core.bundle import AttemptDir
from core.errors import WorkspaceError
from core.paths import path_defect
from core.workspace.confined import ConfinedTree, read_regular
from core.workspace.protected_log import MAX_EARLIER_BYTES
from engine.views.format import WIDTH, clean, plural, printable_lines, wrapped

_DAMAGE = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)
_OLD, _NEW = ("old", "old_string"), ("new", "new_string")
_PATHS = ("path", "file_path", "command")
"""Inputs that say what a call is about."""


@dataclass(frozen=True, slots=True)
class TranscriptView:
    """Of one attempt. Of each text at most `most_lines` are shown, None for all of them."""

    attempt: AttemptDir
    most_lines: int | None = 12
    width: int = WIDTH
    _calls: dict[str, str] = field(default_factory=dict, init=False)
    """What each call was about, by its id."""

    def lines(self) -> Iterator[str]:
        """Raises OSError when there is no transcript; lines that are damaged are counted."""
        damaged = 0
        data = read_regular(self.attempt.transcript, MAX_EARLIER_BYTES)
        for text in data.decode(errors="replace").splitlines():
            try:
                yield from list(self._line(json.loads(text)))
            except _DAMAGE:
                damaged += 1
        if damaged:
            yield f"({plural(damaged, 'damaged line')} left out)"

    def _line(self, line: Mapping[str, Any]) -> Iterator[str]:
        if "attempt" in line:
            effort = f" (effort {line['effort']})" if line.get("effort") else ""
            asked = f"{line['model']}{effort} on {line['provider']}, engine {line['engine']}"
            yield from self._wrapped(asked, "  ")
            return
        sent = [text for message in line["sent"] for text in self._message(message)]
        if "ended" in line:
            yield from sent
            yield from ("", *self._wrapped(f"Ended {line['ended']}: {line['message']}", ""))
            return
        yield from ("", clean(_head(line), 400))
        is_request = line["turn"] == 1 and self.most_lines is not None
        yield from [f"> {_count(line['sent'])}"] if is_request else sent
        for block in line["received"]:
            yield from self._block(block, "< ")
        for raw in line["broken_inputs"].values():
            yield from self._text(raw, "< input that is no JSON object:")

    def _message(self, message: Mapping[str, Any]) -> Iterator[str]:
        if message["role"] == "assistant":
            return  # what came back was shown when it came
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            yield from self._block(block, "> ")

    def _block(self, block: Mapping[str, Any], mark: str) -> Iterator[str]:
        match block["type"]:
            case "text" | "thinking":
                yield from self._text(block.get("text") or block.get("thinking"), mark.rstrip())
            case "tool_use":
                subject, rest = _subject(block["name"], block["input"])
                self._calls[str(block.get("id"))] = clean(subject, 60)
                yield from self._call(f"{mark}{subject}", rest)
            case "tool_result":
                of = self._calls.get(str(block.get("tool_use_id")), "result")
                refused = ", refused" if block.get("is_error") else ""
                yield from self._text(block.get("content", ""), f"{mark}{of}{refused}:")
            case kind:
                yield f"{mark}({clean(kind)})"

    def _call(self, first: str, given: dict[str, Any]) -> Iterator[str]:
        old, new = (next((given.pop(k) for k in keys if k in given), None) for keys in (_OLD, _NEW))
        yield from self._shortened(printable_lines(first))
        for key, value in given.items():
            yield from self._text(value, "" if key == "content" else f"    {clean(key)}:")
        if old is not None or new is not None:
            yield from self._shortened(_difference(self._plain(old), self._plain(new)))

    def _text(self, value: Any, first: str) -> Iterator[str]:
        """A text after `first`: on its line where it fits, otherwise below."""
        lines = printable_lines(self._plain(value).strip("\n"))
        if not any(lines):
            yield from [first] if first else ()
        elif first and len(lines) == 1 and len(first) + len(lines[0]) < self.width:
            yield f"{first} {lines[0]}"
        else:
            yield from [first] if first.strip("<> ") else ()
            head = "    " if first.strip("<> ") or not first else f"{first} "
            yield from self._shortened([f"{head}{line}".rstrip() for line in lines])

    def _shortened(self, lines: list[str]) -> Iterator[str]:
        most = self.most_lines
        hidden = 0 if most is None or len(lines) <= most + 1 else len(lines) - most
        yield from lines[: len(lines) - hidden]
        if hidden:
            yield f"    ... {plural(hidden, 'more line')} (--verbose shows them)"

    def _plain(self, value: Any) -> str:
        """A value as text; a long text that stands as its digest is looked for among the files."""
        match value:
            case str():
                return value
            case {"sha256": digest, "size": size, "head": head}:
                found = self._whole(str(value.get("file", "")), digest)
                return found or f"{head}\n... {size:,} bytes, which are not kept as they were"
            case list():
                return "\n".join(self._plain(inner) for inner in value)
            case {"type": "text", "text": text}:
                return self._plain(text)
        return "" if value is None else json.dumps(value, ensure_ascii=False)

    def _whole(self, path: str, digest: str) -> str:
        """Empty where the file is not there, or was changed later."""
        if path_defect(path) or not self.attempt.files.is_dir():
            return ""
        try:
            data = ConfinedTree(self.attempt.files).read(path)
        except (OSError, WorkspaceError):
            return ""
        text = data.decode(errors="replace")
        return text if hashlib.sha256(data).hexdigest() == digest else ""

    def _wrapped(self, text: str, indent: str) -> list[str]:
        return wrapped(clean(text, 4_000), indent, len(indent) + 2, width=self.width)


def _head(line: Mapping[str, Any]) -> str:
    usage = line["usage"]
    read, written = usage["cache_read_tokens"], usage["cache_write_tokens"]
    when = datetime.fromtimestamp(line["at"], UTC).astimezone().strftime("%H:%M:%S")
    parts = [f"Turn {line['turn']}, {when}, {line['duration_s']:.1f} s"]
    if line["retries"]:
        parts.append(f"{line['retries']} failed before it")
    parts.append(f"{usage['input_tokens'] + read + written:,} tokens in ({read:,} from the cache)")
    return ", ".join([*parts, f"{usage['output_tokens']:,} out, {line['stop_reason']}"])


def _subject(name: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """A call's name with what it is about, and its other inputs."""
    rest = dict(given)
    about = next((rest.pop(key) for key in _PATHS if isinstance(rest.get(key), str)), "")
    return f"{clean(name)} {about}".rstrip(), rest


def _count(sent: list[Mapping[str, Any]]) -> str:
    return f"the request ({plural(sum(len(message['content']) for message in sent), 'part')})"


def _difference(old: str, new: str) -> list[str]:
    before, after = printable_lines(old), printable_lines(new)
    found = list(difflib.unified_diff(before, after, lineterm="", n=1))
    return [f"    {line}" for line in found[2:] if not line.startswith("@@")]

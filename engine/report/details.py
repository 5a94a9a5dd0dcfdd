"""What a page shows of one task on a click: what it was asked, and each attempt's transcript and
log. Read as an executor left it, which nothing here trusts."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from math import isfinite
from typing import Any

from core.bundle import AttemptDir, read_request
from core.errors import BundleError, WorkspaceError
from core.job import JobKey
from core.paths import path_defect
from core.plan import Plan, Task
from core.workspace.confined import ConfinedTree, read_regular
from engine.report.files import tail
from engine.report.timeline import Attempt
from engine.run.rundir import RunDir

LOG_CHARS = 4_000
_TEXT_CHARS = 6_000
_MOST_TURNS = 60
_LONGEST_TRANSCRIPT_BYTES = 16 * 1024 * 1024

Json = dict[str, Any]


def task_details(
    run: RunDir, run_id: str, plan: Plan | None, task: str, attempts: Collection[Attempt], room: int
) -> Json:
    """`room` is how many characters its transcripts may have together; the last attempt's come
    first."""
    told: list[Json] = []
    last = max((attempt.number for attempt in attempts), default=1)
    asked = _asked(plan, task) or _requested(run.attempt(JobKey(run_id, task, last)))
    for attempt in sorted(attempts, key=lambda each: -each.number):
        found = _attempt(run.attempt(JobKey(run_id, task, attempt.number)), attempt, room)
        room -= found.pop("size")
        told.append(found)
    return {**_definition(asked), "attempts": told[::-1]}


def _asked(plan: Plan | None, name: str) -> Task | None:
    return next((task for task in plan.tasks if task.id == name), None) if plan else None


def _requested(place: AttemptDir) -> Task | None:
    """While the plan is written, and of a task besides it."""
    try:
        return read_request(place).task
    except (BundleError, OSError, ValueError):
        return None


def _definition(task: Task | None) -> Json:
    return {
        "instructions": task.instructions if task else "",
        "owns": list(task.owns) if task else [],
        "uses": list(task.uses) if task else [],
        "checks": list(task.checks) if task else [],
    }


def _attempt(place: AttemptDir, attempt: Attempt, room: int) -> Json:
    turns, note = read_turns(place, room)
    return {
        "number": attempt.number,
        "cause": attempt.cause,
        "message": attempt.message,
        "is_void": attempt.is_void,
        "log": tail(place.log, LOG_CHARS),
        "turns": turns,
        "note": note,
        "size": len(json.dumps(turns)),
    }


def read_turns(place: AttemptDir, room: int) -> tuple[list[Json], str]:
    """The turns of a transcript, and what is not shown of it."""
    try:
        data = read_regular(place.transcript, _LONGEST_TRANSCRIPT_BYTES)
    except FileNotFoundError:
        return [], ""
    except (OSError, ValueError) as exc:
        return [], f"The transcript cannot be shown: {exc}. It is at {place.transcript}."
    reader = _Reader(place, max(200, min(_TEXT_CHARS, room // 8)))
    for line in data.decode(errors="replace").splitlines():
        reader.take(line)
    turns = reader.turns
    kept: list[Json] = []
    for turn in turns[:_MOST_TURNS]:
        room -= len(json.dumps(turn))
        if room < 0:
            break
        kept.append(turn)
    if len(kept) < len(turns):
        left = len(turns) - len(kept)
        return kept, f"{left} of {len(turns)} turns are left out: see {place.transcript}."
    return kept, ""


class _Reader:
    """Takes a transcript line by line; a call gets its result from the turn after it."""

    def __init__(self, place: AttemptDir, most_chars: int) -> None:
        self.turns: list[Json] = []
        self._most_chars = most_chars
        self._place = place
        self._calls: dict[str, Json] = {}

    def take(self, line: str) -> None:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(found, dict):
            return
        sent = list(self._sent(_list(found.get("sent"))))
        if "turn" in found:
            usage = found.get("usage")
            self.turns.append(
                {
                    "turn": _number(found["turn"]),
                    "seconds": _number(found.get("duration_s")),
                    "retries": _number(found.get("retries")),
                    "stop": str(found.get("stop_reason") or ""),
                    "out": _number(usage.get("output_tokens") if isinstance(usage, dict) else 0),
                    "items": [*sent, *self._received(_list(found.get("received")))],
                }
            )
        elif sent and self.turns:
            self.turns[-1]["items"] += sent

    def _sent(self, messages: Iterable[Any]) -> Iterator[Json]:
        """What went out and is no tool's result; the model's own words came before."""
        for message in messages:
            if not isinstance(message, dict) or message.get("role") == "assistant":
                continue
            content = message.get("content")
            for block in content if isinstance(content, list) else [content]:
                if isinstance(block, dict) and block.get("type") == "tool_result":
                    self._give_result(block)
                elif text := self._text(block):
                    yield {"kind": "sent", "text": text}

    def _give_result(self, block: Mapping[str, Any]) -> None:
        call = self._calls.get(str(block.get("tool_use_id")))
        if call is not None:
            content = block.get("content")
            parts = content if isinstance(content, list) else [content]
            call["result"] = self._cut("\n".join(filter(None, map(self._text, parts))))
            call["failed"] = bool(block.get("is_error"))

    def _received(self, blocks: Iterable[Any]) -> Iterator[Json]:
        for block in blocks:
            if isinstance(block, dict) and block.get("type") == "tool_use":
                given = block.get("input")
                call = self._call(str(block.get("name")), given if isinstance(given, dict) else {})
                self._calls[str(block.get("id"))] = call
                yield call
            elif text := self._text(block):
                yield {"kind": "text", "text": text}

    def _call(self, tool: str, given: Mapping[str, Any]) -> Json:
        """Files as what is taken away and added; every other input as it is."""
        path = next((str(given[k]) for k in ("path", "file_path") if k in given), "")
        call: Json = {"kind": "call", "tool": tool, "path": path, "given": {}}
        for name, value in given.items():
            if name in ("path", "file_path"):
                continue
            text = self._text(value, path) if value is not None else ""
            if name in ("content", "new", "new_string"):
                call["added"] = text
            elif name in ("old", "old_string"):
                call["removed"] = text
            else:
                call["given"][str(name)] = text
        return call

    def _text(self, value: Any, path: str = "") -> str:
        if isinstance(value, dict):
            if "sha256" in value:
                return self._long_text(value, path)
            return self._text(value.get("text", value.get("thinking", "")))
        if isinstance(value, str):
            return self._cut(value)
        return "" if value is None else self._cut(json.dumps(value))

    def _long_text(self, reference: Mapping[str, Any], path: str) -> str:
        """What a transcript holds only the head of, where the file is still as it was written."""
        files = ConfinedTree(self._place.files)
        try:
            data = b"" if path_defect(path) else files.read(path, _LONGEST_TRANSCRIPT_BYTES)
        except (OSError, WorkspaceError):
            data = b""
        if hashlib.sha256(data).hexdigest() == reference["sha256"]:
            return self._cut(data.decode(errors="replace"))
        return f"{reference.get('head', '')}\n… {reference.get('size')} bytes"

    def _cut(self, text: str) -> str:
        more = len(text) - self._most_chars
        return text if more <= 0 else f"{text[: self._most_chars]}\n… {more:,} more characters"


def _number(value: Any) -> float:
    return value if isinstance(value, int | float) and isfinite(value) else 0


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

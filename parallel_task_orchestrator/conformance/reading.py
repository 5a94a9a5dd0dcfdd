"""What the conformance suite reads out of logs, transcripts and run directories."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.bundle import AttemptDir


def files_holding(root: Path, text: str) -> list[Path]:
    """The files below `root` that hold `text`, in their content or their name."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return [p for p in files if text in p.name or text.encode() in p.read_bytes()]


def progress_lines(lines: Sequence[str]) -> list[str]:
    """Those lines of a log that are a worker's own events."""
    return [line for line in lines if line.startswith("{") and "kind" in json.loads(line)]


def turns_of(attempt: AttemptDir) -> list[dict[str, Any]]:
    """The turns in a transcript that tells of one worker's work, from its begin to its end."""
    lines = [json.loads(line) for line in attempt.transcript.read_text("utf-8").splitlines()]
    assert ["attempt" in line for line in lines] == [True, *[False] * (len(lines) - 1)]
    assert "ended" in lines[-1]
    return lines[1:-1]


def texts_in(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)

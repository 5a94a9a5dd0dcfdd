"""Reads a line of a worker's log."""

import json
from typing import Any

from core.errors import BundleError
from core.events import AnswerBegun, AnswerProgress, Kind, Progress
from core.job import Usage
from core.wire import decode

MOST_CHARS = 2_000
"""Of a line of progress; it is for people."""
MOST_TOKENS, MOST_SILENT_S = 10**7, 86_400.0


def parse_progress(line: str) -> AnswerBegun | AnswerProgress | Progress:
    """A worker's own event, or a line of text. What is no usage is left out."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and found.get("kind") == Kind.ANSWER_BEGUN:
        return AnswerBegun()
    if isinstance(found, dict) and found.get("kind") == Kind.ANSWER_PROGRESS:
        return _answer_progress(found)
    if not isinstance(found, dict) or found.get("kind") != Kind.PROGRESS:
        return Progress(line[:MOST_CHARS])
    # what a command wrote into the log may be of any size
    text = str(found.get("text", ""))[:MOST_CHARS]
    try:
        usage = decode(Usage, json.dumps(found["usage"]), "progress")
    except (KeyError, BundleError):
        usage = None
    return Progress(text, usage)


def _answer_progress(found: dict[str, Any]) -> AnswerProgress:
    del found["kind"]
    try:
        data = decode(AnswerProgress, json.dumps(found), "progress")
    except BundleError:
        return AnswerProgress()
    tokens, silent_s = min(MOST_TOKENS, data.tokens), min(MOST_SILENT_S, data.silent_s)
    return AnswerProgress(max(0, tokens), data.path[:MOST_CHARS], max(0.0, silent_s))

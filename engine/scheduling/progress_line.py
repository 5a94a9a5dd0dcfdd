"""Reads a line of a worker's log."""

import json

from core.errors import BundleError
from core.events import AnswerBegun, Kind, Progress
from core.job import Usage
from core.wire import decode

MOST_CHARS = 2_000
"""Of a line of progress; it is for people."""


def parse_progress(line: str) -> AnswerBegun | Progress:
    """A worker's own event, or a line of text. What is no usage is left out."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and found.get("kind") == Kind.ANSWER_BEGUN:
        return AnswerBegun()
    if not isinstance(found, dict) or found.get("kind") != Kind.PROGRESS:
        return Progress(line[:MOST_CHARS])
    # what a command wrote into the log may be of any size
    text = str(found.get("text", ""))[:MOST_CHARS]
    try:
        usage = decode(Usage, json.dumps(found["usage"]), "progress")
    except (KeyError, BundleError):
        usage = None
    return Progress(text, usage)

"""Regular expressions of a model over the texts of a workspace, in a process that can be ended.

A hostile pattern keeps `re` busy for ever and cannot be interrupted from a thread, so all but plain
text is matched in a child with a deadline, which runs this file alone: standard library only.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from itertools import islice

Match = tuple[str, int, str]
"""Path, line number from 1, the line (cut)."""

MAX_MATCHES = 200
MAX_LINE_CHARS = 400
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()]")


def search_texts(
    pattern: str, texts: Sequence[tuple[str, str]], timeout_s: float
) -> list[Match] | None:
    """The first MAX_MATCHES matching lines; None when the pattern took longer than `timeout_s`. A
    pattern that is no regular expression is looked for as it stands."""
    if not _SPECIAL.search(pattern):
        return find_matches(re.compile(re.escape(pattern)), texts)
    try:
        answer = subprocess.run(  # noqa: S603 - our own interpreter and this very file
            [sys.executable, "-I", "-S", __file__],
            input=json.dumps([pattern, texts]).encode(),
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None
    return [(path, number, line) for path, number, line in json.loads(answer.stdout)]


def find_matches(regex: re.Pattern[str], texts: Iterable[Sequence[str]]) -> list[Match]:
    """Matching lines in order, at most MAX_MATCHES."""
    found = (
        (path, number, line[:MAX_LINE_CHARS])
        for path, text in texts
        for number, line in enumerate(text.split("\n"), 1)
        if regex.search(line)
    )
    return list(islice(found, MAX_MATCHES))


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """`pattern` as a regular expression, or as plain text when it is none."""
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return re.compile(re.escape(pattern))


def answer_question(question: bytes) -> str:
    """The child's whole work: JSON [pattern, [[path, text], ...]] to JSON matches."""
    pattern, texts = json.loads(question)
    return json.dumps(find_matches(compile_pattern(pattern), texts))


if __name__ == "__main__":  # pragma: no cover - runs in the child, where nothing measures
    sys.stdout.write(answer_question(sys.stdin.buffer.read()))

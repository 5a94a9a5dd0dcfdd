"""What matters of a long output: where something failed, and how it ended."""

import re
from collections.abc import Collection, Iterable, Sequence

_FAILURE = re.compile(
    r"^\s*(not ok\b|FAIL|ERROR\b|Traceback|E  |--- FAIL|\u2716|\u2715|\u25cf|\u00d7)"
    r"|\b\w*(Error|Exception)\b:|\berror(\[\w+\])?:|\berror TS\d+|\bpanicked at\b"
)
_BEFORE, _AFTER = 2, 30
"""Lines around one that tells of a failure."""
_SHARE_OF_END = 0.3
_GAP = "[...]"


def excerpt(output: str, most_chars: int) -> str:
    """At most so many characters: the lines around the first failures, in order, and the end.
    `[...]` stands for lines that are left out."""
    text = output.rstrip()
    if len(text) <= most_chars:
        return text
    lines = text.split("\n")
    end = _fitting(reversed(range(len(lines))), lines, most_chars * _SHARE_OF_END)
    room = most_chars - _chars(end, lines)
    kept = sorted({*end, *_fitting(_around_failures(lines), lines, room, end)})
    shown = _with_gaps(kept, lines)
    return shown if kept and len(shown) <= most_chars else text[-most_chars:]


def _around_failures(lines: Sequence[str]) -> Iterable[int]:
    for place, line in enumerate(lines):
        if _FAILURE.search(line):
            yield from range(max(0, place - _BEFORE), min(len(lines), place + _AFTER))


def _fitting(
    places: Iterable[int], lines: Sequence[str], room: float, before: Collection[int] = ()
) -> list[int]:
    """The first of `places` that are not among those `before`, until the room is used up."""
    found: dict[int, None] = {}
    for place in places:
        if place in found or place in before:
            continue
        room -= _chars([place], lines)
        if room < 0:
            break
        found[place] = None
    return list(found)


def _chars(places: Iterable[int], lines: Sequence[str]) -> int:
    """With what a gap beside each might take."""
    return sum(len(lines[place]) + len(_GAP) + 2 for place in places)


def _with_gaps(kept: Sequence[int], lines: Sequence[str]) -> str:
    shown, previous = list[str](), -1
    for place in kept:
        if place > previous + 1:
            shown.append(_GAP)
        shown.append(lines[place])
        previous = place
    return "\n".join(shown)

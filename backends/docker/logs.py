"""A container's log as the lines since a cursor. Pure.

The engine gives lines since a full second only, so a cursor has the last line's time, the number of
lines of that time, and the number of all lines: with that the rest is also found in events.jsonl,
once the container is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backends.base import LogChunk

PIECE_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Cursor:
    """`time` is as the engine writes it (RFC 3339, nanoseconds), empty at the beginning."""

    lines: int = 0
    of_time: int = 0
    time: str = ""

    @classmethod
    def parse(cls, text: str) -> Cursor:
        if not text:
            return cls()
        lines, of_time, time = text.split(" ", 2)
        return cls(int(lines), int(of_time), time)

    def __str__(self) -> str:
        return f"{self.lines} {self.of_time} {self.time}" if self.lines else ""

    @property
    def since_s(self) -> int | None:
        """Unix time from which to ask the engine for lines, some of them again."""
        return int(datetime.fromisoformat(self.time).timestamp()) if self.time else None


def parse_log(data: bytes, cursor: Cursor) -> LogChunk:
    """The lines in `data`, each behind its time, that come after `cursor`."""
    repeated, lines = cursor.of_time, []
    count, of_time, last = cursor.lines, cursor.of_time, cursor.time
    for line in data.split(b"\n")[:-1]:
        stamp, _, rest = line.partition(b" ")
        time, text = stamp.decode(errors="replace"), _whole(stamp, rest)
        if time < cursor.time:
            continue
        if time == cursor.time and repeated:
            repeated -= 1
            continue
        of_time = of_time + 1 if time == last else 1
        count, last = count + 1, time
        lines.append(text)
    return LogChunk(tuple(lines), str(Cursor(count, of_time, last)))


def _whole(stamp: bytes, text: bytes) -> str:
    """A line's text; the engine cuts a long one into pieces, each with the time before it.

    Seen with json-file. https://github.com/moby/moby/blob/master/daemon/logger/copier.go
    """
    repeated, pieces, start = stamp + b" ", [], 0
    while text.startswith(repeated, start + PIECE_BYTES):
        pieces.append(text[start : start + PIECE_BYTES])
        start += PIECE_BYTES + len(repeated)
    return b"".join([*pieces, text[start:]]).decode(errors="replace")


def rest_of(lines: tuple[str, ...], cursor: Cursor) -> LogChunk:
    """The lines after `cursor` when `lines` are all of the log."""
    rest = lines[cursor.lines :]
    return LogChunk(rest, str(Cursor(cursor.lines + len(rest), cursor.of_time, cursor.time)))

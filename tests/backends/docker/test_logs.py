"""Tests for backends.docker.logs: each line once, however a log is split, and whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.docker.logs import PIECE_BYTES, Cursor, parse_log, rest_of

Entry = tuple[int, str]
"""The time of a line in nanoseconds, and its text."""

texts = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=20)
# few different times within few seconds, so that many lines have the same
times = st.integers(0, 3).map(lambda n: n * 500_000_000)
logs = st.lists(st.tuples(times, texts), max_size=12).map(
    lambda entries: sorted(entries, key=lambda e: e[0])
)


def stamp(nanoseconds: int) -> str:
    return f"2026-11-22T13:00:{nanoseconds // 10**9:02}.{nanoseconds % 10**9:09}Z"


def engine_log(entries: list[Entry], since_s: int | None) -> bytes:
    """What the engine gives: it knows whole seconds only, and writes the time before each piece."""
    start = Cursor(1, 1, stamp(0)).since_s or 0
    shown = [e for e in entries if since_s is None or start + e[0] // 10**9 >= since_s]
    return b"".join(_line(nanoseconds, text.encode()) for nanoseconds, text in shown)


def _line(nanoseconds: int, text: bytes) -> bytes:
    count = max(1, -(-len(text) // PIECE_BYTES))
    pieces = [text[n * PIECE_BYTES : (n + 1) * PIECE_BYTES] for n in range(count)]
    return b"".join(stamp(nanoseconds).encode() + b" " + piece for piece in pieces) + b"\n"


@given(logs, st.data())
def test_however_a_log_grows_each_line_is_given_once_and_in_order(
    entries: list[Entry], data: st.DataObject
) -> None:
    given_lines: list[str] = []
    cursor = ""
    ends = data.draw(st.lists(st.integers(0, len(entries)), max_size=6).map(sorted))
    for end in [*ends, len(entries), len(entries)]:
        at = Cursor.parse(cursor)
        chunk = parse_log(engine_log(entries[:end], at.since_s), at)
        given_lines += chunk.lines
        cursor = chunk.cursor
    assert given_lines == [text for _, text in entries]
    assert Cursor.parse(cursor).lines == len(entries)


@given(logs, st.integers(0, 12))
def test_what_is_left_is_found_elsewhere_once_the_container_is_gone(
    entries: list[Entry], seen: int
) -> None:
    lines = tuple(text for _, text in entries)
    chunk = parse_log(engine_log(entries[:seen], None), Cursor())
    rest = rest_of(lines, Cursor.parse(chunk.cursor))
    assert chunk.lines + rest.lines == lines
    assert rest_of(lines, Cursor.parse(rest.cursor)).lines == ()


@pytest.mark.parametrize("size", [PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES])
def test_a_long_line_comes_without_the_times_that_the_engine_puts_into_it(size: int) -> None:
    long = "x" * size
    entries = [(0, "before"), (1, long), (1, long), (2, "after")]
    assert parse_log(engine_log(entries, None), Cursor()).lines == ("before", long, long, "after")


def test_a_line_that_is_not_whole_yet_waits() -> None:
    data = engine_log([(0, "one"), (0, "two")], None)[:-1]
    chunk = parse_log(data, Cursor())
    assert chunk.lines == ("one",)
    whole = parse_log(data + b"\n", Cursor.parse(chunk.cursor))
    assert whole.lines == ("two",)


def test_bytes_that_are_no_text_are_replaced() -> None:
    [line] = parse_log(stamp(0).encode() + b" \xff\xfe\n", Cursor()).lines
    assert line == "\N{REPLACEMENT CHARACTER}" * 2


def test_a_cursor_survives_being_written_down() -> None:
    cursor = Cursor(7, 2, stamp(5))
    assert Cursor.parse(str(cursor)) == cursor
    assert str(Cursor()) == ""
    assert Cursor.parse("") == Cursor()
    assert Cursor().since_s is None

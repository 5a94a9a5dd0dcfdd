"""JSON that is read while it comes: the same as the whole in the end, and never an exception."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.plan import json_pieces
from core.plan.json_pieces import JsonPieces, Piece

texts = st.text() | st.text(alphabet='"\\{}[]:, \n\ud800\udc00é😀')
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(leaves, lambda v: st.lists(v) | st.dictionaries(texts, v), max_leaves=12)
objects = st.dictionaries(texts, values, max_size=5)
around = st.text().map(lambda text: text.replace("{", "("))


@st.composite
def cuts(draw: st.DrawFn, text: str) -> list[str]:
    """The text, cut into any parts."""
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=12)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def read(parts: Iterable[str]) -> tuple[list[Piece], JsonPieces]:
    pieces = JsonPieces()
    return [piece for part in parts for piece in pieces.feed(part)], pieces


def put_together(pieces: Iterable[Piece]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    arrays: dict[str, list[Any]] = {}
    for piece in pieces:
        if piece.kind == "element":
            arrays.setdefault(piece.name, []).append(piece.value)
        elif piece.kind == "end":
            found[piece.name] = arrays.pop(piece.name, [])
        else:
            found[piece.name] = piece.value
    assert not arrays
    return found


@given(
    objects,
    st.booleans(),
    st.sampled_from([None, 0, 3]),
    around,
    st.text(),
    st.data(),
)
def test_any_object_cut_anywhere_is_what_the_whole_text_is(
    value: dict[str, Any],
    is_ascii: bool,
    indent: int | None,
    before: str,
    after: str,
    data: st.DataObject,
) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent)
    found, pieces = read(data.draw(cuts(before + text + after)))
    whole = json.loads(text)
    assert put_together(found) == whole
    assert list(put_together(found)) == list(whole)
    assert pieces.is_over


def test_the_parts_of_a_plan_come_one_by_one() -> None:
    text = 'Here it is:\n```json\n{"title": "T", "tasks": [{"id": "a"}, {"id": "b"}], "x": []}\n```'
    pieces, seen = JsonPieces(), []
    for n, character in enumerate(text):
        seen += [(text[: n + 1], piece) for piece in pieces.feed(character)]
    ends = ['"T",', '"a"},', '"b"}]', '"b"}]', "[]"]
    assert [text[: text.index(end) + len(end)] for end in ends] == [begun for begun, _ in seen]
    assert [piece for _, piece in seen] == [
        Piece("title", "T"),
        Piece("tasks", {"id": "a"}, "element"),
        Piece("tasks", {"id": "b"}, "element"),
        Piece("tasks", None, "end"),
        Piece("x", None, "end"),
    ]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (r'{"a": "\"}{][,"}', ['"}{][,']),
        (r'{"a": "\\", "b": "\\\""}', ["\\", '\\"']),
        (r'{"a": "\ud83d\ude00 \ud83d"}', ["😀 \ud83d"]),
        ('{"a": {"b": [1, {"c": "]"}]}}', [{"b": [1, {"c": "]"}]}]),
        ('{"a": [[1, [2]], "],", {}]}', [[1, [2]], "],", {}, None]),
        ('{"a": [ ]\n}', [None]),
        ("{ }", []),
        ('say "hi, [you] {"a": 1} and {"b": 2}', [1]),
    ],
)
def test_brackets_and_quotes_in_strings_and_values_are_told_apart(
    text: str, values: list[Any]
) -> None:
    for parts in ([text], list(text), [text[: len(text) // 2], "", text[len(text) // 2 :]]):
        found, pieces = read(parts)
        assert [piece.value for piece in found] == values
        assert pieces.is_over


BROKEN = [
    '{"a" 1}',
    '{"a": 1 "b": 2}',
    '{"a": 1,}',
    "{,}",
    '{"a": [1,]}',
    '{"a": [,1]}',
    '{"a": [1,,2]}',
    '{"a": [1 2]}',
    '{"a": [1}',
    '{"a": {"b": 1]}',
    '{"a": [1] 2}',
    '{"a": [1] [2]}',
    '{"a": [1] "b": [2]}',
    '{"a": [1],}',
    '{"a": 1 [2]}',
    '{"a" [1]}',
    "{1: [2]}",
    "{[1]}",
    '{"a": "b\n"}',
    '{"a": \u00a0}',
    '{"a": ' + "[" * 5_000 + "]" * 5_000 + "}",
]


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:20])
def test_what_is_no_json_is_broken_and_nothing_comes_after_it(text: str) -> None:
    found, pieces = read([*text, '"more": 1}'])
    assert pieces.is_broken
    assert "more" not in {piece.name for piece in found}
    assert pieces.feed('{"a": 1}') == []


def is_object(text: str) -> bool:
    """Whether an object stands in the text, from its first brace on."""
    try:
        json.JSONDecoder().raw_decode(text[text.index("{") :])
    except (ValueError, RecursionError):
        return False
    return True


@given(st.text() | st.text(alphabet='{}[]",:\\1a \n') | st.sampled_from(BROKEN), st.data())
@example('{"a": [{}]}', None)
@example("{}}", None)
def test_garbage_never_raises_and_is_never_taken_for_an_object(
    text: str, data: st.DataObject | None
) -> None:
    _, pieces = read(data.draw(cuts(text)) if data else [text])
    assert pieces.is_over == is_object(text)
    assert not (pieces.is_over and pieces.is_broken)


class CountingPattern:
    """A pattern that counts the characters that it has gone over."""

    def __init__(self, pattern: re.Pattern[str], counted: list[int]) -> None:
        self._pattern, self._counted = pattern, counted

    def search(self, text: str, place: int) -> re.Match[str] | None:
        match = self._pattern.search(text, place)
        self._counted.append((match.end() if match else len(text)) - place)
        return match


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The characters of each search and each decoding."""
    found: list[int] = []
    for name in ("_MARKS", "_MARKS_IN_STRING"):
        pattern = CountingPattern(getattr(json_pieces, name), found)
        monkeypatch.setattr(json_pieces, name, pattern)
    loads = json.loads

    def counting(text: str) -> Any:
        found.append(len(text))
        return loads(text)

    monkeypatch.setattr("core.plan.json_pieces.json.loads", counting)
    return found


@pytest.mark.parametrize("size", [1, 7, 1_000, 10**6])
def test_each_character_is_read_once_and_decoded_once(counted: list[int], size: int) -> None:
    content = 'def f():\n    return "{[,]}\\n"\n' * 300
    value = {
        "title": "x" * 5_000,
        "tasks": [{"id": "a", "n": [1, 2]}] * 200,
        "contracts": [content],
    }
    text = json.dumps(value, indent=1)
    got, _ = read([text[n : n + size] for n in range(0, len(text), size)])
    assert put_together(got) == value
    assert sum(counted) <= 2.1 * len(text)

"""Reads a JSON object while it is still being written, each character once."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_MARKS = re.compile(r'["\\{}\[\],:]')


class Piece(NamedTuple):
    """A complete member of the object. The elements of an array come one by one, and then, once
    the array is closed, the member itself with `value` None and `is_end`."""

    name: str
    value: Any
    is_end: bool = True


class JsonPieces:
    """Fed with a text in parts; what stands before its first brace is skipped.

    `is_broken` once it is no JSON: nothing more comes then.
    """

    def __init__(self) -> None:
        self.is_broken = False
        self._text = ""
        self._at = 0
        """Where to go on reading."""
        self._start = 0
        """Where the member or element under way begins."""
        self._depth = 0
        self._in_string = False
        self._array = ""
        """The member whose elements are being read."""

    def feed(self, text: str) -> Iterator[Piece]:
        """The pieces that `text` completes."""
        if self.is_broken:
            return
        self._text += text
        try:
            yield from self._read()
        except (ValueError, RecursionError):
            self.is_broken = True
        self._text, self._at, self._start = self._text[self._start :], self._at - self._start, 0

    def _read(self) -> Iterator[Piece]:
        while (match := _MARKS.search(self._text, self._at)) is not None:
            mark, place = match.group(), match.start()
            if mark == "\\" and place + 1 == len(self._text):
                self._at = place  # what it escapes is not there yet
                return
            self._at = place + (2 if mark == "\\" else 1)
            if self._in_string or mark == "\\":
                self._in_string = self._in_string and mark != '"'
            elif mark == '"':
                self._in_string = self._depth > 0
            elif mark in "{[":
                self._open(mark, place)
            elif mark in "]}":
                yield from self._close(mark, place)
            elif mark == ",":
                yield from self._comma(place)
        self._at = len(self._text)
        if self._depth == 0:
            self._start = self._at

    def _open(self, mark: str, place: int) -> None:
        self._depth += mark == "{" or self._depth > 0
        if self._depth == 1 and mark == "{":
            self._start = place + 1
        elif self._depth == 2 and mark == "[":
            self._array = str(json.loads(self._text[self._start : place].rstrip().rstrip(":")))
            self._start = place + 1

    def _close(self, mark: str, place: int) -> Iterator[Piece]:
        if self._depth == 2 and self._array:
            yield from self._element(place)
            yield Piece(self._array, None)
            self._array, self._start = "", place + 1
        elif self._depth == 1:
            yield from self._member(place)
        self._depth = max(0, self._depth - 1)

    def _comma(self, place: int) -> Iterator[Piece]:
        if self._depth == 2 and self._array:
            yield from self._element(place)
        elif self._depth == 1:
            yield from self._member(place)

    def _element(self, end: int) -> Iterator[Piece]:
        if text := self._text[self._start : end].strip():
            yield Piece(self._array, json.loads(text), is_end=False)
        self._start = end + 1

    def _member(self, end: int) -> Iterator[Piece]:
        if text := self._text[self._start : end].strip():
            [(name, value)] = json.loads(f"{{{text}}}").items()
            yield Piece(name, value)
        self._start = end + 1

"""Reads a JSON object while it is still being written, each character once."""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

_MARKS = re.compile(r'["{}\[\],]')
_MARKS_IN_STRING = re.compile(r'["\\]')
_CLOSERS = {"{": "}", "[": "]"}
_BLANK = " \t\n\r"


class Piece(NamedTuple):
    """A complete member of the object. Where its value is an array, the elements come one by one,
    and then, once the array is closed, its "end" without a value."""

    name: str
    value: Any
    kind: Literal["member", "element", "end"] = "member"


class JsonPieces:
    """Fed with a text in parts; what stands before its first brace is skipped.

    `is_over` once that brace is closed, `is_broken` once it is no JSON: nothing more comes then.
    """

    def __init__(self) -> None:
        self.is_over = self.is_broken = False
        self._closers: list[str] = []
        """What closes all that is open."""
        self._in_string = False
        self._is_escaped = False
        self._held: list[str] = []
        """The member or element under way, as far as it came in earlier parts."""
        self._array: str | None = None
        """The member whose elements are being read."""
        self._is_after_array = False
        self._members = self._elements = 0

    def feed(self, text: str) -> list[Piece]:
        """The pieces that `text` completes."""
        found: list[Piece] = []
        if self.is_over or self.is_broken:
            return found
        try:
            self._read(text, found)
        except (ValueError, RecursionError):
            self.is_broken = True
        return found

    def _read(self, text: str, found: list[Piece]) -> None:
        start = 0
        for mark, place in self._marks(text):
            depth = len(self._closers)
            self._nest(mark)
            if depth == 0:
                start = place + 1
            elif self._separates(mark, depth):
                self._held.append(text[start:place])
                item, self._held, start = "".join(self._held), [], place + 1
                found += self._take(item, mark)
            if not self._closers:
                self.is_over = True
                return
        if self._closers:
            self._held.append(text[start:])

    def _marks(self, text: str) -> Iterator[tuple[str, int]]:
        """Brackets, braces and commas with their places: none in strings, or before the object."""
        place = int(self._is_escaped and bool(text))
        self._is_escaped = self._is_escaped and not text
        while match := (_MARKS_IN_STRING if self._in_string else _MARKS).search(text, place):
            mark, place = match.group(), match.end()
            if mark == "\\":
                place += 1
                self._is_escaped = place > len(text)
            elif mark == '"':
                self._in_string = not self._in_string and bool(self._closers)
            elif self._closers or mark == "{":
                yield mark, match.start()

    def _nest(self, mark: str) -> None:
        if mark in _CLOSERS:
            self._closers.append(_CLOSERS[mark])
        elif mark != "," and mark != self._closers.pop():
            raise ValueError("what is open is closed by something else")

    def _separates(self, mark: str, depth: int) -> bool:
        """Whether a member or element ends there, or an array begins that is read in pieces."""
        if depth == 1:
            return mark != "{"
        return depth == 2 and self._array is not None and mark not in _CLOSERS

    def _take(self, item: str, mark: str) -> list[Piece]:
        if mark == "[":
            if self._is_after_array:
                raise ValueError("a comma is missing")
            self._array, self._elements = _read_member(f"{item}[]").name, 0
            return []
        if self._array is None:
            return self._take_member(item, is_last=mark == "}")
        return self._take_element(self._array, item, is_last=mark == "]")

    def _take_member(self, item: str, *, is_last: bool) -> list[Piece]:
        is_blank = not item.strip(_BLANK)
        if is_blank and (self._is_after_array or (is_last and not self._members)):
            self._is_after_array = False
            return []
        if self._is_after_array:
            raise ValueError("a comma is missing")
        self._members += 1
        return [_read_member(item)]

    def _take_element(self, array: str, item: str, *, is_last: bool) -> list[Piece]:
        found: list[Piece] = []
        if item.strip(_BLANK) or self._elements or not is_last:
            found.append(Piece(array, json.loads(item), "element"))
            self._elements += 1
        if is_last:
            found.append(Piece(array, None, "end"))
            self._array, self._is_after_array = None, True
            self._members += 1
        return found


def _read_member(text: str) -> Piece:
    [(name, value)] = json.loads(f"{{{text}}}").items()
    return Piece(name, value)

"""JavaScript and TypeScript, by their tokens."""

import re
from collections.abc import Collection

from engine.verification.idle_tests.names import ASSERTING

_TOKEN = re.compile(
    r"(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<template>`(?:\\.|[^`\\])*`)"
    r"|(?P<text>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')|(?P<name>[A-Za-z_$][\w$]*)|(?P<other>\S)",
    re.DOTALL,
)
_LITERAL_NAME = re.compile(
    r"^\s*(?:const|let|var)\s+(\w+)\s*=\s*(?:[\d.]+|'[^'\n]*'|\"[^\"\n]*\"|true|false|null);?\s*$",
    re.MULTILINE,
)
_LITERALS = frozenset({"true", "false", "null", "undefined", "NaN", "Infinity"})
_FAILS_ANYHOW = frozenset({"throw", "should", "fail", "screen", "cy"})
_OF_LIBRARIES = frozenset({"assert", "expect", "t"})
_MATCHER = re.compile(
    r"to[A-Z]\w*|not\w*|\w*[eE]qual|ok|is|true|false|be|deep|strict|pass|assertions|hasAssertions"
)


def can_fail(text: str) -> bool:
    tokens = [(m.lastgroup or "", m[0]) for m in _TOKEN.finditer(text) if m.lastgroup != "comment"]
    literals = _LITERALS | set(_LITERAL_NAME.findall(text))
    return any(
        kind == "name" and _fails(tokens, place, literals) for place, (kind, _) in enumerate(tokens)
    )


def _fails(tokens: list[tuple[str, str]], place: int, literals: Collection[str]) -> bool:
    """Whether what begins here is a call that fails by something of the project."""
    name, after = tokens[place][1], [text for _, text in tokens[place + 1 : place + 4]]
    is_method = bool(place) and tokens[place - 1][1] == "."
    is_called = after[:1] == ["("]
    if name in _FAILS_ANYHOW or (name == "expect" and is_method and is_called):
        return True
    if name not in _OF_LIBRARIES:
        return is_called and not is_method and ASSERTING.search(name) is not None
    if after[:1] not in (["("], ["."]):
        return False
    depth, chained = 0, False
    for kind, text in tokens[place + 1 :]:
        if depth == 0 and (text == ";" or (kind in ("name", "text") and not chained)):
            return False
        depth += (text in "([{") - (text in ")]}")
        if depth < 0:
            return False
        if kind == "name" and not (chained and depth == 0) and text not in literals:
            return True
        if kind == "template" and "${" in text:
            return True
        if chained and depth == 0 and kind == "name" and not _MATCHER.fullmatch(text):
            return True
        chained = text == "."
    return False

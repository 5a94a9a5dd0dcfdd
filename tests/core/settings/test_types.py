"""How each type of setting reads a value that was typed, or that a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from core.credentials import MASK
from core.settings.types import Count, Cpus, Kind, Name, Positive, Secret, Speed, kind_of

HUGE = 2**62 + 1


@pytest.mark.parametrize(
    ("hint", "value", "parsed"),
    [
        *((bool, text, True) for text in ("1", "true", "YES", " on ", 1, True)),
        *((bool, text, False) for text in ("0", "False", "no", "off", 0, False)),
        (int, " -7 ", -7),
        (int, HUGE, HUGE),
        (int, str(HUGE), HUGE),
        (int, 2.0, 2),
        (Count, "5", 5),
        (Positive, "0.5", 0.5),
        (Positive | None, 3, 3.0),
        (Speed, "0", 0.0),
        (str, " a b ", "a b"),
        (Path | None, "a/b", Path("a/b")),
        (Literal["api", "claude-code"], "api", "api"),
        (tuple[Name, ...], ["a", "b"], ("a", "b")),
        (tuple[Name, ...], '["a", "b"]', ("a", "b")),
        (tuple[str, ...], (), ()),
        (tuple[str, ...], "null", ()),
        (int, "0e5", 0),
        (Annotated[Secret | None, "more"], "s", Secret("s")),
    ],
)
def test_a_value_gets_its_type(hint: Any, value: object, parsed: object) -> None:
    found = kind_of(hint).parse(value)
    assert (found, type(found)) == (parsed, type(parsed))


@pytest.mark.parametrize(
    ("hint", "value", "reason"),
    [
        *((bool, value, "true or false") for value in ("perhaps", "", 2, 1.0, [True], None)),
        *(
            (int, value, "a whole number")
            for value in ("1.5", "x", "", True, None, [1], "9" * 9_999, "1e-400", "0.1E-999")
        ),
        *((Count, value, "a whole number of at least 1") for value in ("0", "-3", 0)),
        *((Positive, value, "a number above 0") for value in ("0", "inf", "1e300", "-1", True)),
        *((Speed, value, "0, or a number from 0.01") for value in ("1e-300", "nan", "-1")),
        (Cpus, "0", "a number from 0.01 to 1,000,000"),
        *((str, value, "a text") for value in (5, None, ["a"])),
        *((Name, value, "a name without white space") for value in ("", "a b")),
        *((Path, value, "a path") for value in ("", " ", "a\0b", 5, True, "d/" * 2_000)),
        *((kind, "a\udc80b", "in UTF-8") for kind in (Path, str)),
        (Literal["api"], "sdk", "'api'"),
        *((tuple[str, ...], value, "a list") for value in ("a", '"a"', "[", 5, {"a": 1})),
        (tuple[Name, ...], ["a", "b c"], "a name"),
    ],
)
def test_what_is_none_of_its_kind_is_refused_in_words(
    hint: Any, value: object, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        kind_of(hint).parse(value)


def test_a_secret_never_shows_by_accident() -> None:
    secret = Secret("canary")
    assert "canary" not in f"{secret} {secret!r}"
    assert str(secret) == MASK
    assert (bool(secret), bool(Secret(""))) == (True, False)


def test_flags_lists_and_choices_are_known_as_such() -> None:
    kinds: list[Kind] = [kind_of(h) for h in (bool, tuple[str, ...], Literal["a", "b"], int)]
    assert [k.is_flag for k in kinds] == [True, False, False, False]
    assert [k.is_list for k in kinds] == [False, True, False, False]
    assert [k.choices for k in kinds] == [(), (), ("a", "b"), ()]

"""Types of settings: how each reads a value that was typed, or that a file holds."""

import json
import math
import re
import types
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import urlsplit

from core.credentials import MASK
from core.models import EFFORTS
from core.settings.size import check_size

_DEEPEST = 400
_ON = frozenset({"1", "true", "t", "yes", "y", "on"})
_OFF = frozenset({"0", "false", "f", "no", "n", "off"})


@dataclass(frozen=True, slots=True)
class Kind:
    """`parse` takes text or a value of TOML or JSON; raises ValueError with what it must be."""

    parse: Callable[[Any], object]
    choices: tuple[str, ...] = ()
    is_flag: bool = False
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that never shows by accident."""

    value: str = field(repr=False)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __str__(self) -> str:
        return MASK if self.value else ""


def checked(check: Callable[[str], str]) -> Kind:
    """A text that `check` gives back or refuses with ValueError."""
    return Kind(lambda value: check(parse_text(value)))


def matching(pattern: str, wanted: str) -> Kind:
    """A text that is all of `pattern`; `wanted` says in words what that is."""

    def check(text: str) -> str:
        if re.fullmatch(pattern, text) is None:
            raise ValueError(f"it must be {wanted}")
        return text

    return checked(check)


_MOST_EXACT = 2.0**53  # above it a float no longer tells whole numbers apart


def whole_number(least: float = -math.inf, most: float = math.inf) -> Kind:
    bounds = f" from {least:,g} to {most:,g}" if most < math.inf else f" of at least {least:g}"
    wanted = "a whole number" + ("" if least == -math.inf else bounds)
    return _number_kind(wanted, lambda n: n == int(n) and least <= n <= most, int)


def _number_kind(
    wanted: str, fits: Callable[[float], bool], convert: Callable[[float], object]
) -> Kind:
    def parse(value: Any) -> object:
        with suppress(TypeError, ValueError, OverflowError):
            if isinstance(value, str) and not value.isascii():
                raise ValueError
            text = str(value)
            is_integer = isinstance(value, int) or re.fullmatch(r"\s*[+-]?\d+\s*", text)
            number = int(value) if is_integer else float(value)
            is_inexact = abs(number) > _MOST_EXACT or (not number and re.match(r"[^e]*[1-9]", text))
            if not is_integer and convert is int and is_inexact:
                raise ValueError
            if not isinstance(value, bool) and math.isfinite(number) and fits(number):
                return convert(number)
        raise ValueError(f"it must be {wanted}")

    return Kind(parse)


def choice(*names: str) -> Kind:
    def parse(value: Any) -> str:
        if value not in names:
            raise ValueError("it must be " + " or ".join(map(repr, names)))
        return str(value)

    return Kind(parse, choices=names)


def list_of(kind: Kind) -> Kind:
    """Several values; as one text they are written in JSON."""

    def parse(value: Any) -> tuple[object, ...]:
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            found = value
        if found is None:
            return ()
        if not isinstance(found, list | tuple):
            raise ValueError('it must be a list, such as ["a", "b"]')
        return tuple(map(kind.parse, found))

    return Kind(parse, is_list=True)


def parse_text(value: Any) -> str:
    """Only what can be written down in UTF-8."""
    if not isinstance(value, str) or not is_utf8(value):
        raise ValueError("it must be a text in UTF-8")
    return value.strip()


def is_utf8(text: str) -> bool:
    """Whether it can be written down; what comes from the system may hold other bytes."""
    return text == text.encode(errors="replace").decode()


def parse_flag(value: Any) -> bool:
    text = str(value).strip().lower()
    if not isinstance(value, bool | int | str) or text not in _ON | _OFF:
        raise ValueError("it must be true or false")
    return text in _ON


def parse_path(value: Any) -> Path:
    """Without NUL, and with a name that can be written down in JSON."""
    text = str(value) if isinstance(value, str | Path) else ""
    if not text.strip() or "\0" in text:
        raise ValueError("it must be a path")
    if text.count("/") > _DEEPEST:  # directories are made one inside the other
        raise ValueError(f"it must be a path of at most {_DEEPEST} directories")
    if not is_utf8(text):
        raise ValueError("its name must be in UTF-8")
    # a directory that is named ~, which would otherwise be the home directory
    return Path.cwd() / text if text.startswith("./~") else Path(text)


def parse_secret(value: Any) -> Secret:
    return value if isinstance(value, Secret) else Secret(parse_text(value))


def check_base_url(url: str) -> str:
    """The address of an API, which may be empty: paths are added to it. Raises ValueError with
    what it must be."""
    try:
        parts = urlsplit(url)
    except ValueError:  # whose text may show a password
        raise ValueError("it must be a URL that begins with http:// or https://") from None
    if re.search(r"\s", url):
        raise ValueError("it must not hold white space")
    if url and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError("it must be a URL that begins with http:// or https://")
    if parts.username or parts.password:
        raise ValueError("it must not hold a user name or password")
    if parts.query or parts.fragment:
        raise ValueError("it must not hold a query or a fragment, since paths are added to it")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("its port must be a number from 0 to 65535") from None
    return url


TEXT = Kind(parse_text)
_PLAIN = {
    bool: Kind(parse_flag, is_flag=True),
    int: whole_number(),
    str: TEXT,
    Path: Kind(parse_path),
    Secret: Kind(parse_secret),
}


def kind_of(hint: Any) -> Kind:
    """The Kind of an annotation: the one it carries, else that of its type."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        carried = next((part for part in arguments if isinstance(part, Kind)), None)
        return carried or kind_of(arguments[0])
    if origin in (Union, types.UnionType):
        return kind_of(next(part for part in arguments if part is not types.NoneType))
    if origin is Literal:
        return choice(*arguments)
    return list_of(kind_of(arguments[0])) if origin is tuple else _PLAIN[hint]


Name = Annotated[str, matching(r"\S+", "a name without white space")]
# becomes part of host names
Region = Annotated[str, matching(r"[a-z0-9-]+", "the name of a region, such as eu-central-1")]
Url = Annotated[str, checked(check_base_url)]
Size = Annotated[str, checked(check_size)]
Effort = Annotated[str, choice(*EFFORTS)]
Count = Annotated[int, whole_number(1)]
# More than this is a slip, and would overflow where it is multiplied.
_MOST = 1e9
_above_0 = _number_kind(f"a number above 0, at most {_MOST:,.0f}", lambda n: 0 < n <= _MOST, float)
Positive = Annotated[float, _above_0]
Cpus = Annotated[
    float, _number_kind("a number from 0.01 to 1,000,000", lambda n: 0.01 <= n <= 1e6, float)
]
_speed = _number_kind("0, or a number from 0.01", lambda n: n == 0 or n >= 0.01, float)
Speed = Annotated[float, _speed]

"""Checks of the values that people and programs send, one function a kind of field."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from shop_app.contract import MAX_TEXT_CHARS, Invalid

Check = Callable[[str, Any], Any]
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def check(checks: Mapping[str, Check], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values in their proper form; raises Invalid on the first that has none."""
    if not values:
        raise Invalid(f"no value was given; expected {', '.join(checks)}")
    return {name: checks[name](name, value) for name, value in values.items()}


def text(name: str, value: Any) -> str:
    """Text that must not be blank."""
    if not (cleaned := note(name, value)):
        raise Invalid(f"{name} must not be empty")
    return cleaned


def note(name: str, value: Any) -> str:
    """Text that may be left out, without white space around it."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Invalid(f"{name} must be text")
    if len(value) > MAX_TEXT_CHARS:
        raise Invalid(f"{name} is longer than {MAX_TEXT_CHARS} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Invalid(f"{name} is not valid Unicode") from error
    return value.strip()


def email(name: str, value: Any) -> str:
    """Text of the form name@host."""
    if not _EMAIL.fullmatch(address := text(name, value)):
        raise Invalid(f"{name} must be an address like ada@example.org")
    return address


def number(name: str, value: Any) -> int:
    """A whole number from 0; digits in text count as one."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value.strip()):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**15:
        raise Invalid(f"{name} must be a whole number from 0")
    return value


def count(name: str, value: Any) -> int:
    """A whole number from 1."""
    if (parsed := number(name, value)) == 0:
        raise Invalid(f"{name} must be at least 1")
    return parsed

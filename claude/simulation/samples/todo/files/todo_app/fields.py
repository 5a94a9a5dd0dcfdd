"""Checks of the values that people and programs send, one function a kind of field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from todo_app.contract import MAX_TEXT_CHARS, Invalid

Check = Callable[[str, Any], Any]


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

"""Answers of a head node as values.

Nobody vouches for that host: what does not fit is damage, which is told, and nothing is taken that
was not asked for. Its texts may hold what is no Unicode: names, and what jobs print, are as they
are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from backends.parallelcluster.head_node.names import NAMES
from backends.slurm.host import CommandResult
from core.errors import BackendError

T = TypeVar("T")


def damaged() -> BackendError:
    return BackendError(
        "The head node's answer is damaged.",
        "Sign in there and see whether its python3 works and its disk has room.",
    )


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the head node says of itself: `missing` are commands, `lacking` packages of Python;
    and whether the run was cleaned up there."""

    root: str
    python: tuple[int, ...]
    missing: tuple[str, ...]
    lacking: tuple[str, ...]
    has_code: bool
    cleaned_up: bool


@dataclass(frozen=True, slots=True)
class AttemptFiles:
    """What an attempt has left, and the new lines of its events."""

    claimed: bool
    has_result: bool
    lines: bytes


# Each raises BackendError when an answer holds something else.


def read_greeting(answer: Mapping[str, Any]) -> Greeting:
    return Greeting(
        _one(answer, "root", str),
        tuple(_each(answer, "python", int)),
        tuple(_each(answer, "missing", str)),
        tuple(_each(answer, "lacking", str)),
        _one(answer, "has_code", bool),
        _one(answer, "cleaned_up", bool),
    )


def read_finished(answer: Mapping[str, Any]) -> CommandResult:
    return CommandResult(
        _one(answer, "exit_code", int), _one(answer, "stdout", str), _one(answer, "stderr", str)
    )


def read_seen(answer: Mapping[str, Any], attempts: Iterable[str]) -> dict[str, AttemptFiles]:
    """Of every one of `attempts`."""
    traces, found = _one(answer, "traces", dict), {}
    for attempt in attempts:
        trace = traces.get(attempt)
        if not isinstance(trace, list) or [type(v) for v in trace] != [bool, bool, str]:
            raise damaged()
        try:
            found[attempt] = AttemptFiles(trace[0], trace[1], trace[2].encode(**NAMES))
        except UnicodeEncodeError as exc:
            raise damaged() from exc
    return found


def read_texts(answer: Mapping[str, Any], name: str) -> dict[str, str]:
    """A table of texts by text."""
    found = _one(answer, name, dict)
    if not all(isinstance(value, str) for value in found.values()):
        raise damaged()
    return found


def _one(answer: Mapping[str, Any], name: str, kind: type[T]) -> T:
    if type(value := answer.get(name)) is not kind:
        raise damaged()
    return value


def _each(answer: Mapping[str, Any], name: str, kind: type[T]) -> list[T]:
    found = _one(answer, name, list)
    if any(type(value) is not kind for value in found):
        raise damaged()
    return found

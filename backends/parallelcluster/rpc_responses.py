"""Answers of a head node as values.

That host is not trusted: an answer that does not fit is damaged, and nothing is taken that was not
requested. Texts may hold what is not Unicode, since names and outputs of jobs are passed unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from backends.parallelcluster.head_node.paths import ENCODING
from backends.slurm.host import AttemptTrace, CommandResult
from core.errors import BackendError

T = TypeVar("T")


def damaged_answer() -> BackendError:
    return BackendError(
        "The head node's answer is damaged.",
        "Check that python3 works on the head node and that its disk has room.",
    )


@dataclass(frozen=True, slots=True)
class HeadNodeInfo:
    root: str
    python: tuple[int, ...]
    missing_commands: tuple[str, ...]
    missing_packages: tuple[str, ...]
    has_code: bool
    cleaned_up: bool


# Each raises BackendError when an answer holds something else.


def read_info(answer: Mapping[str, Any]) -> HeadNodeInfo:
    return HeadNodeInfo(
        _field(answer, "root", str),
        _items(answer, "python", int),
        _items(answer, "missing_commands", str),
        _items(answer, "missing_packages", str),
        _field(answer, "has_code", bool),
        _field(answer, "cleaned_up", bool),
    )


def read_command_result(answer: Mapping[str, Any]) -> CommandResult:
    stdout, stderr = _field(answer, "stdout", str), _field(answer, "stderr", str)
    return CommandResult(_field(answer, "exit_code", int), stdout, stderr)


def read_traces(
    answer: Mapping[str, Any], attempts: Iterable[str]
) -> dict[str, tuple[AttemptTrace, bytes]]:
    """What each attempt has left, and the new lines of its events."""
    traces, found = _field(answer, "traces", dict), {}
    for attempt in attempts:
        trace = traces.get(attempt)
        if not isinstance(trace, list) or [type(v) for v in trace] != [bool, bool, str]:
            raise damaged_answer()
        try:
            found[attempt] = AttemptTrace(*trace[:2]), trace[2].encode(**ENCODING)
        except UnicodeEncodeError as exc:
            raise damaged_answer() from exc
    return found


def read_texts(answer: Mapping[str, Any], name: str) -> dict[str, str]:
    found = _field(answer, name, dict)
    if not all(isinstance(value, str) for value in found.values()):
        raise damaged_answer()
    return found


def _field(answer: Mapping[str, Any], name: str, kind: type[T]) -> T:
    if type(value := answer.get(name)) is not kind:
        raise damaged_answer()
    return value


def _items(answer: Mapping[str, Any], name: str, kind: type[T]) -> tuple[T, ...]:
    found = _field(answer, name, list)
    if any(type(value) is not kind for value in found):
        raise damaged_answer()
    return tuple(found)

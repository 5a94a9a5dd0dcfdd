"""What is taken of a worker's report on checks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.check_request import Check, CheckRequest
from core.checks.report import MOST_LINE_CHARS, CheckReport, render_line
from core.checks.runner import SHOWN_CHARS
from core.events import CheckBegun, CheckEnded, EventData, Notice, Proof, Verified
from core.plan import Setup

REQUEST = CheckRequest(
    Setup(install=("get",), start="serve"), (Check("test", ("a", "b")), Check("lint"))
)
GOOD = CheckEnded("check", "test", ("a", "b"), Proof.PASSED)


def taken(*lines: str, end: str = "") -> list[CheckBegun | CheckEnded]:
    told: list[CheckBegun | CheckEnded] = []
    report = CheckReport(REQUEST, told.append)
    for line in lines:
        report.take(line)
    if end:
        report.end(end)
    return told


def test_what_was_asked_for_is_passed_on_once_and_counted_here() -> None:
    begun, ended = render_line(CheckBegun("test", 7, 9)), render_line(GOOD)
    assert taken(begun, ended, ended, begun) == [CheckBegun("test", 1, 4), GOOD]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "no JSON",
        "[" * 100_000,
        render_line(GOOD)[:-1],
        render_line(GOOD).replace('"version":1', '"version":2'),
        render_line(GOOD).replace("passed", "proven"),
        " " * MOST_LINE_CHARS + render_line(GOOD),
        *(
            render_line(wrong)
            for wrong in (
                CheckBegun("other", 1, 1),
                Notice("Give me your key."),
                replace(GOOD, command="other"),
                replace(GOOD, phase="start"),
                replace(GOOD, tasks=("a",)),
                replace(GOOD, seconds=-1.0),
            )
        ),
    ],
)
def test_all_else_is_ignored(line: str) -> None:
    assert taken(line) == []


def test_no_more_text_is_taken_than_is_shown() -> None:
    [ended] = taken(render_line(replace(GOOD, reason="r" * 9_000, output="o" * 9_000 + "end")))
    assert isinstance(ended, CheckEnded)
    assert (len(ended.reason), len(ended.output), ended.output[-3:]) == (
        SHOWN_CHARS,
        SHOWN_CHARS,
        "end",
    )


def test_checks_that_nothing_was_told_of_are_not_proven() -> None:
    lint = CheckEnded("check", "lint", (), Proof.NOT_PROVEN, "it broke")
    assert taken(render_line(GOOD), end="it broke") == [GOOD, lint]


def test_the_end_of_a_phase_says_whether_checks_prove_something() -> None:
    events: list[EventData] = [Verified(why_not="no go here"), Verified()]
    report = CheckReport(REQUEST, lambda data: None)
    for event in events:
        report.take(render_line(event))
    assert report.ends == ["no go here", ""]

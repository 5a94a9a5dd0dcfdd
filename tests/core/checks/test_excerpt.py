"""What is kept of a long output."""

from __future__ import annotations

import pytest

from core.checks.excerpt import excerpt

PASSED = [f"ok {number} - something that works" for number in range(1, 200)]
TAP = [*PASSED, "not ok 200 - it waits", "  error: 1000 !== 2000", *PASSED, "# fail 1"]


def test_a_short_output_is_whole() -> None:
    assert excerpt("one\ntwo\n\n", 100) == "one\ntwo"


def test_the_failure_in_the_middle_and_the_end_are_kept() -> None:
    shown = excerpt("\n".join(TAP), 2_000)
    assert len(shown) <= 2_000
    assert shown.startswith("[...]\nok 198")
    assert "\nnot ok 200 - it waits\n  error: 1000 !== 2000\n" in shown
    assert shown.endswith("\n# fail 1")
    assert shown.count("[...]") == 2


@pytest.mark.parametrize(
    "line",
    [
        "FAIL: test_a (tests.test_app.AppTest)",
        "Traceback (most recent call last):",
        "E       assert 2 == 3",
        "src/app.ts(3,5): error TS2322: Type 'string' is not assignable",
        "error[E0308]: mismatched types",
        "thread 'main' panicked at src/main.rs:2:5",
        "ModuleNotFoundError: No module named 'x'",
        "main.c:3:5: error: expected ';'",
        "--- FAIL: TestAdd (0.00s)",
        "  \u2716 adds (1.2ms)",
    ],
)
def test_failures_of_many_tools_are_seen(line: str) -> None:
    assert line in excerpt("\n".join([*PASSED, line, *PASSED]), 2_000)


def test_the_first_failures_go_before_later_ones() -> None:
    failures = [f"FAIL: test_{number}" for number in range(1_000)]
    shown = excerpt("\n".join(failures), 1_000).split("\n")
    assert shown[0] == "FAIL: test_0"
    assert shown[-1] == "FAIL: test_999"


@pytest.mark.parametrize("text", ["x" * 5_000, "FAIL " + "x" * 5_000 + "\n" + "y" * 5_000])
def test_long_lines_are_cut(text: str) -> None:
    assert 0 < len(excerpt(text, 1_000)) <= 1_000

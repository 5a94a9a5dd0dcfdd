"""What a worker printed, as one line."""

from __future__ import annotations

import pytest

from backends.shared.output import MOST_CHARS, cause_first

TRACEBACK = """Traceback (most recent call last):
  File "batch_executor.py", line 3, in <module>
    import anthropic
ModuleNotFoundError: No module named 'anthropic'
"""


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("", ""),
        ("\n  \n", ""),
        ("error: The disk is full.\n", "The disk is full"),
        ("Welcome.\nerror: It broke.\nslurmstepd: done\n", "It broke; Welcome; slurmstepd: done"),
        (TRACEBACK, "ModuleNotFoundError: No module named 'anthropic'"),
        ("the same\r\nthe same\r\n", "the same"),
    ],
)
def test_the_cause_comes_first(output: str, line: str) -> None:
    assert cause_first(output) == line


def test_a_long_output_is_cut_behind_the_cause() -> None:
    line = cause_first("word " * 1_000 + "\nerror: It broke.")
    assert line.startswith("It broke; word word")
    assert len(line) == MOST_CHARS

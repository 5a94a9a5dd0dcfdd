"""Simulated mistakes in a project, and what a run has to say of each, on whatever backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Mistake(NamedTuple):
    prompt: str
    faults: str
    said: tuple[str, ...]

    @property
    def options(self) -> Sequence[str]:
        return (self.prompt, "--sim-faults", self.faults, "--sim-speed", "0", "--output-dir", "out")

    def lacking(self, output: str) -> list[str]:
        """What is not said."""
        words = " ".join(output.split())
        return [text for text in self.said if text not in words]


CHEAT = Mistake(
    "a script that counts words",
    "broken_code=1,cheat=1",
    (
        "round 1 was not kept: tests/test_word_count.py",
        "repaired round 2: word_count.py (task build)",
    ),
)
"""The first repair takes away the test that fails."""
DISAGREEMENT = Mistake(
    "a todo app",
    "mismatch=1,flaky_check=1,lying_check=1",
    (
        "checks 13 of 15 passed, 2 not proven",
        "repaired round 1: todo_app/pages.py (task pages)",
        "unproven flaky: it failed once and passed once",
        "unproven it cannot fail, whatever the project does",
    ),
)
"""Two tasks do not fit together, and two checks show nothing."""

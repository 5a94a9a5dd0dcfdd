"""What a command opens before its run begins is closed, whatever comes between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

import orchestrator
from backends.threading_backend import ThreadingBackend
from core.errors import Problem

NAME = f"{__name__}:Counted"


class Counted(ThreadingBackend):
    """One whose preflight is the test's own; knows how many are open."""

    name = NAME
    opened: ClassVar[set[int]] = set()
    look: ClassVar[Callable[[], list[Problem]]]

    def preflight(self) -> list[Problem]:
        self.opened.add(id(self))
        return type(self).look()

    def close(self) -> None:
        self.opened.discard(id(self))
        super().close()


def interrupt() -> list[Problem]:
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Counted.opened.clear()


def test_a_refused_preflight_leaves_no_connection(tmp_path: Path) -> None:
    Counted.look = lambda: [Problem("It is closed.", "Open it.")]
    assert orchestrator.main(["run", "x", "--backend", NAME]) == 3
    assert not Counted.opened
    assert not (tmp_path / ".orchestrator").exists()


def test_a_preflight_that_is_interrupted_leaves_no_connection() -> None:
    Counted.look = interrupt
    assert orchestrator.main(["run", "x", "--backend", NAME]) == 130
    assert not Counted.opened


def test_a_run_that_cannot_be_written_down_leaves_no_connection(tmp_path: Path) -> None:
    def taken() -> list[Problem]:
        (tmp_path / ".orchestrator").write_text("a file")
        return []

    Counted.look = taken
    assert orchestrator.main(["run", "x", "--backend", NAME]) == 2
    assert not Counted.opened


def test_what_cannot_be_written_beside_the_target_is_told_with_its_option(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Counted.look = list
    (tmp_path / ".out.reserved").mkdir()
    told = f"The output directory {tmp_path / 'out'} cannot be used: nothing can be written beside"
    assert orchestrator.main(["run", "x", "--backend", NAME, "--output-dir", "out"]) == 2
    assert told in capsys.readouterr().err

"""Standard output that takes nothing more, or whose reader has gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest

import orchestrator
from engine.planning.plan_file import read_plan

pytestmark = pytest.mark.usefixtures("here")
COMMANDS = [
    ("--help",),
    ("--help-all",),
    ("--version",),
    ("run", "--help"),
    ("run", "--show-config"),
    ("doctor", "--show-config", "--json"),
    ("runs",),
    ("clean",),
]
PLAN = ("plan", "Build it", "--sim-speed", "0", "--sim-tasks", "2", "--quiet")
RUN = ("Build it", "--sim-speed", "0", "--sim-tasks", "2", "--output-dir", "out")


@pytest.fixture
def full() -> Iterator[TextIO]:
    with open("/dev/full", "w") as stream:
        yield stream


@pytest.fixture
def unread() -> Iterator[TextIO]:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        yield stream


def orchestrate(stdout: TextIO, monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr("sys.stdout", stdout)
    return orchestrator.main(list(args))


@pytest.mark.parametrize("args", [*COMMANDS, PLAN, (*PLAN, "--json")], ids=" ".join)
def test_a_full_disk_is_told_and_the_exit_code_is_3(
    args: tuple[str, ...],
    full: TextIO,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert orchestrate(full, monkeypatch, *args) == 3
    told = capsys.readouterr().err
    assert "error: Standard output could not be written: No space left on device." in told
    if args[0] == "plan":
        (kept,) = Path(".orchestrator/runs").glob("plan-*.json")
        assert f"The plan is kept in {kept.absolute()}" in told
        assert len(read_plan(kept).tasks) == 2


@pytest.mark.parametrize("args", [*COMMANDS, PLAN], ids=" ".join)
def test_a_reader_that_has_gone_is_no_error(
    args: tuple[str, ...],
    unread: TextIO,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert orchestrate(unread, monkeypatch, *args) == 0
    assert "error" not in capsys.readouterr().err
    assert not Path(".orchestrator").exists()


@pytest.mark.parametrize("shown", ["--quiet", "--verbose", "--json"])
def test_a_run_on_a_full_disk_goes_on_and_tells_how_it_ended(
    shown: str, full: TextIO, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrate(full, monkeypatch, *RUN, shown) == 3
    told = capsys.readouterr().err
    assert "Standard output could not be written" in told
    assert shown == "--json" or "succeeded, 2 of 2 tasks" in told
    assert any(Path("out").iterdir())

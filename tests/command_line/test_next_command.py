"""A command that a message names works exactly as it is printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from core.bundle import build_manifest
from engine.delivery.deliver import deliver
from engine.run.rundir import reserved

ROOT = Path(__file__).parents[2]
RUN = ("Build it", "--sim-speed", "0", "--sim-tasks", "4", "--output-dir", "out")
AS_PRINTED = re.compile(r"(?:^  continue +|`)([^`\n]*orchestrator\.py[^`\n]*)", re.MULTILINE)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "a place"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", [str(ROOT / "orchestrator.py")])
    for name in list(os.environ):
        if name.startswith("ORCHESTRATOR_"):
            monkeypatch.delenv(name)


def orchestrate(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    code = orchestrator.main(list(args))
    return code, "".join(capsys.readouterr())


def printed(told: str) -> str:
    (command,) = AS_PRINTED.findall(told)
    return str(command)


def paste(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, str]:
    """What a shell would do, without a process."""
    python, script, *args = shlex.split(command)
    assert Path(shutil.which(python) or "").samefile(sys.executable)
    assert Path(script).samefile(ROOT / "orchestrator.py")
    return orchestrate(capsys, *args)


@pytest.mark.parametrize(
    "options",
    [
        {"--max-cost": "0.02"},
        {"--max-tokens": "2000", "--no-early-start": None},
        {"--max-cost": "0.001", "--work-dir": "it's kept/here"},
    ],
    ids=str,
)
def test_a_spent_budget_names_caps_with_which_the_run_gets_further_each_time(
    options: Mapping[str, str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word for pair in options.items() for word in pair if word is not None]
    code, told = orchestrate(capsys, *RUN, *given)
    commands = []
    while code == 4:
        commands.append(printed(told))
        assert len(commands) < 4, commands
        code, told = paste(capsys, commands[-1])
    assert code == 0, told
    assert commands
    assert any(Path("out").iterdir())


def test_a_target_that_was_taken_meanwhile_is_left_and_another_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def taken(*args: Any) -> Any:
        Path("out").mkdir()
        Path("out/mine.txt").write_text("mine")
        return deliver(*args)

    monkeypatch.setattr("engine.pipeline.deliver", taken)
    code, told = orchestrate(capsys, *RUN)
    assert code == 1
    assert "out is not empty" in told
    monkeypatch.setattr("engine.pipeline.deliver", deliver)
    code, refused = orchestrate(capsys, "resume", "last")
    assert code == 2
    assert "out is not empty" in refused  # and was not "changed after its delivery"
    command = printed(told)
    code, told = paste(capsys, command)
    assert code == 0, told
    assert Path("out/mine.txt").read_text() == "mine"
    assert any(Path(shlex.split(command)[-1]).iterdir())


def test_a_run_whose_directory_was_moved_builds_where_that_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrate(capsys, *RUN)[0] == 0
    expected = build_manifest(Path("out"))
    code, told = orchestrate(capsys, *RUN[:-1], "stopped", "--max-tokens", "20000")
    assert code == 4
    (tmp_path / "a place").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    code, told = orchestrate(capsys, "resume", "last", "--max-tokens", "9000000")
    assert code == 2
    assert f"was moved from {tmp_path / 'a place'} to {tmp_path / 'moved'}" in told
    code, told = paste(capsys, f"{printed(told)} --max-tokens 9000000")
    assert code == 0, told
    assert build_manifest(tmp_path / "moved" / "stopped") == expected
    assert not (tmp_path / "a place").exists()


def test_a_target_that_another_run_works_for_is_refused_before_anything_is_spent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with reserved(Path("out").absolute(), "the-other"):
        code, told = orchestrate(capsys, *RUN)
    assert code == 2
    assert "is that of the run the-other, which is at work" in told
    assert os.listdir() == []

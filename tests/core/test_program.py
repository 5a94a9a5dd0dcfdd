"""A command that is printed is called as this process was."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from core.program import program_line
from engine.run.rundir import RunDir


@pytest.mark.parametrize("called", ["orchestrator.py", "/a place/it's/orchestrator.py"])
def test_a_script_is_called_by_its_python(called: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    python, *words = shlex.split(program_line("resume", "a b"))
    assert words == [called, "resume", "a b"]
    assert Path(shutil.which(python) or "").resolve() == Path(sys.executable).resolve()


def test_an_installed_program_is_named_alone_only_where_the_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "parallel-orchestrator"
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(installed)])
    monkeypatch.setenv("PATH", "/bin")
    assert program_line("runs") == f"{installed} runs"
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert program_line("runs") == "parallel-orchestrator runs"


def test_a_command_can_be_named_where_the_current_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "gone"
    place.mkdir()
    monkeypatch.chdir(place)
    place.rmdir()
    run = RunDir(place / ".orchestrator" / "runs" / "r1")
    assert shlex.split(run.command("resume"))[-2:] == ["--work-dir", str(place / ".orchestrator")]


def test_the_work_directory_is_named_unless_the_command_would_take_it_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    work_dir = Path.cwd() / ".orchestrator"
    here = RunDir(work_dir / "runs" / "r1")
    assert here.command("resume") == program_line("resume", "r1")
    named = program_line("resume", "r1", "--work-dir", str(work_dir))
    monkeypatch.setenv("ORCHESTRATOR_WORK_DIR", "/elsewhere")
    assert here.command("resume") == named
    monkeypatch.delenv("ORCHESTRATOR_WORK_DIR")
    Path("orchestrator.toml").write_text('work_dir = "/elsewhere"')
    assert here.command("resume") == named

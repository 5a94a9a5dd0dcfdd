"""Completion as the shells ask for it, and in a real bash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli.completion import COMPLETE
from engine.run.rundir import RunDir, RunFacts, create_run

ROOT = Path(__file__).resolve().parents[3]
RUNS = ("20260101-000000-aaaa", "20260102-000000-bbbb")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with two runs, and the installed command on the path."""
    for run in RUNS:
        create_run(tmp_path / ".orchestrator", RunFacts(run, "p", "/o", 1.0, {}, True))
    (RunDir(tmp_path / ".orchestrator/runs" / RUNS[1]).tasks / "store").mkdir()
    command = tmp_path / "bin" / "parallel-orchestrator"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT / "orchestrator.py"} "$@"\n')
    command.chmod(0o755)
    return tmp_path


def run(place: Path, *args: str, **environ: str) -> str:
    path = f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        args,
        cwd=place,
        env={**os.environ, "PATH": path, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def completed(place: Path, line: str, shell: str = "zsh") -> list[str]:
    """What is offered for the last word of a line."""
    words = f"parallel-orchestrator {line}"
    word = line.rpartition(" ")[2] if shell == "fish" else str(words.count(" "))
    asked = {COMPLETE: f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": word}
    lines = run(place, "parallel-orchestrator", **asked).splitlines()
    if shell == "zsh":
        return lines[1::3]
    return [line.partition(",")[2].partition("\t")[0] for line in lines if line]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("re", {"resume", "report"}),
        ("--max-e", {"--max-executors"}),
        ("doctor --prob", {"--probe"}),
        ("show 2026", set(RUNS)),
        ("resume 20260102", {RUNS[1]}),
        ("logs last s", {"store"}),
        ("show nothing s", set()),
    ],
)
def test_commands_options_runs_and_tasks_are_offered(
    place: Path, line: str, offered: set[str]
) -> None:
    assert set(completed(place, line)) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script_and_its_answers(place: Path, shell: str) -> None:
    script = run(place, "parallel-orchestrator", **{COMPLETE: f"{shell}_source"})
    assert f"{COMPLETE}={shell}_complete" in script
    assert "parallel-orchestrator" in script
    assert completed(place, "resu", shell) == ["resume"]


COMPLETING = {
    "bash": "{line}\nCOMP_WORDS=(parallel-orchestrator show 20260101); COMP_CWORD=2\n"
    '_parallel_orchestrator_completion parallel-orchestrator; echo "${{COMPREPLY[@]}}"',
    # in place of the functions that draw a list, one that prints what is in it
    "zsh": "autoload -Uz compinit && compinit -u -D\n{line}\n"
    "compadd() {{ print -l -- ${{(P)@[-1]}} }}\n"
    "words=(parallel-orchestrator show 20260101); CURRENT=3\n"
    "${{_comps[parallel-orchestrator]}}",
    "fish": '{line}\ncomplete -C "parallel-orchestrator show 20260101"',
}


@pytest.mark.parametrize(
    "shell",
    ["bash", *(pytest.param(name, marks=pytest.mark.shells) for name in ("zsh", "fish"))],
)
def test_each_shell_completes_with_the_line_of_the_documentation(place: Path, shell: str) -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    (row,) = (row for row in page.splitlines() if row.startswith(f"| {shell},"))
    line = row.replace("\\|", "|").split("`")[-2]
    own = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    asking = COMPLETING[shell].format(line=line)
    assert run(place, shell, *own, "-c", asking, HOME=str(place)).split() == [RUNS[0]]

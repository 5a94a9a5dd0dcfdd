"""--git: a new project is delivered as a repository with one commit a task."""

from __future__ import annotations

from pathlib import Path

import pytest

import orchestrator
from claude.prices import kept_pricing
from core.paths import is_owned
from core.plan import parse_plan
from engine.money.usage import cost_text
from engine.run.run_view import read_run_view
from engine.run.rundir import find_run
from tests.engine.repository.repos import git

RUN = ("Build a landing page with contact form", "--sim-speed", "0", "--output-dir", "out")
WORDS = ("Write a script that counts words", "--sim-speed", "0", "--output-dir", "out")
OWNERS = "--format=%(trailers:key=Orchestrator-Task,valueonly,separator=)"


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ORCHESTRATOR_VERIFY", raising=False)
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Ada")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "ada@example.org")
    return tmp_path / "out"


def owners(out: Path) -> list[str]:
    return git(out, "log", "--reverse", OWNERS).splitlines()


def test_each_task_is_a_commit_in_the_order_of_the_plan(out: Path) -> None:
    assert orchestrator.main([*RUN, "--git", "--no-verify"]) == 0
    plan = parse_plan(find_run(Path(".orchestrator"), "last").plan.read_text(), "the plan")
    assert owners(out) == ["contracts", *(task.id for task in plan.tasks)]
    for task in plan.tasks:
        commit = git(out, "log", "--format=%H", f"--grep=^Orchestrator-Task: {task.id}$")
        changed = git(out, "show", "--format=", "--name-only", commit).splitlines()
        assert changed
        assert all(is_owned(task.owns, path) for path in changed)
    assert git(out, "log", "-1", "--format=%an <%ae>|%cn") == "Ada <ada@example.org>|Ada"
    assert git(out, "status", "--short", "--branch") == "## main"
    assert git(out, "fsck", "--strict") == ""


def test_a_repair_that_was_kept_is_the_last_commit(out: Path) -> None:
    assert orchestrator.main([*WORDS, "--git", "--sim-faults", "broken_code=1"]) == 0
    assert owners(out) == ["build", "repair-1"]
    assert git(out, "status", "--short") == ""
    before = git(out, "rev-parse", "HEAD")
    assert orchestrator.main(["resume", "last"]) == 0
    assert git(out, "rev-parse", "HEAD") == before


def test_each_commit_names_what_its_task_cost(out: Path) -> None:
    faults = ("--git", "--sim-faults", "broken_code=1")
    assert orchestrator.main([*WORDS, *faults]) == 0
    run = find_run(Path(".orchestrator"), "last")
    view = read_run_view(run, kept_pricing(run.read_facts().settings))
    spends = [view.tasks[owner].spend for owner in ("build", "repair-1")]
    told = git(out, "log", "--reverse", "--format=%(trailers:key=Orchestrator-Cost,valueonly)")
    assert told.strip().split("\n\n") == [cost_text(spend, simulated=True) for spend in spends]
    assert "$0.0000" not in told


def test_a_run_that_goes_on_replaces_its_own_history_and_nobody_elses(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrator.main([*WORDS, "--no-verify"]) == 0
    assert not (out / ".git").exists()
    assert orchestrator.main(["resume", "last", "--git"]) == 0
    assert owners(out) == ["build"]
    git(out, "gc", "--quiet")
    assert orchestrator.main(["resume", "last"]) == 0
    git(out, "commit", "--quiet", "--allow-empty", "-m", "mine")
    before = git(out, "rev-parse", "HEAD")
    capsys.readouterr()
    assert orchestrator.main(["resume", "last"]) == 2
    assert "was changed after its delivery (1 file(s) differ, first '.git')" in " ".join(
        capsys.readouterr().err.split()
    )
    assert git(out, "rev-parse", "HEAD") == before


def test_existing_code_needs_no_history_of_its_own(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir()
    (out / "app.py").write_text("PORT = 1\n")
    assert orchestrator.main(["Change it", "--into", "out", "--git"]) == 2
    assert "--into and --git were both given" in capsys.readouterr().err
    assert orchestrator.main(["Change it", "--into", "out", "--sim-speed", "0"]) == 0
    assert orchestrator.main(["resume", "last", "--git"]) == 2
    assert "--into and --git were both given" in capsys.readouterr().err


def test_a_missing_git_is_told_before_the_run(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(out))
    assert orchestrator.main([*WORDS, "--git"]) == 3
    assert "git is not installed" in capsys.readouterr().err
    assert not Path(".orchestrator/runs").exists()

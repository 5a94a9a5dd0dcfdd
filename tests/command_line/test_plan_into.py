"""plan --into: a plan for existing code, looked at before anything is paid for its tasks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import orchestrator
from core.plan import Plan
from core.program import program
from engine.planning.plan_file import read_plan
from tests.command_line.test_approve import Typed
from tests.command_line.test_into import CHECK, FILES, branch
from tests.engine.repository.repos import (
    commit_files,
    fingerprint,
    git,
    make_repository,
    write_files,
)

ASK = ("plan", "Add a line", "--into", "repo", "--sim-speed", "0")


@pytest.fixture(autouse=True)
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_repository(tmp_path / "repo", FILES)


def planned(*more: str) -> Plan:
    assert orchestrator.main([*ASK, *more, "-o", "plan.json"]) == 0
    return read_plan(Path("plan.json"))


def owned(plan: Plan) -> list[str]:
    return [path for task in plan.tasks for path in task.owns]


def test_it_shows_what_a_run_would_and_leaves_no_trace(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(repo, {"app/calc.py": "# not committed\n"})
    before = fingerprint(repo)
    assert orchestrator.main([*ASK]) == 0
    out, err = capsys.readouterr()
    assert "Mark app/calc.py" in out
    assert "Forecast" in out
    assert f"Changing {repo}, main " in err
    assert "Left out, and kept as they are: .env (looks like a secret)." in err
    assert "not committed are not used and not touched: app/calc.py." in err
    assert [path.name for path in Path.cwd().iterdir()] == ["repo"]
    assert fingerprint(repo) == before


@pytest.mark.parametrize("name", ["plan.json", "plan.toml"])
@pytest.mark.parametrize("plain", [False, True], ids=["repository", "plain directory"])
def test_a_run_takes_it(name: str, plain: bool, repo: Path) -> None:
    if plain:
        (repo / ".git").rename("elsewhere")
    assert orchestrator.main([*ASK, "-o", name]) == 0
    assert orchestrator.main(["--plan", name, "--into", "repo", "--sim-speed", "0"]) == 0
    if plain:
        assert "Simulated" in (repo / "app/calc.py").read_text()
    else:
        assert "Simulated" in git(repo, "show", f"{branch(repo)}:app/calc.py")


def test_the_base_is_the_one_that_is_named(repo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commit_files(repo, {"zebra.py": "later = 1\n"})
    assert "zebra.py" in owned(planned())
    Path("plan.json").unlink()
    assert "zebra.py" not in owned(planned("--base", "main~1"))
    assert orchestrator.main([*ASK, "--base", "nothing"]) == 2
    assert orchestrator.main(["plan", "Add a line", "--base", "main"]) == 2
    assert "--base was given without existing code" in capsys.readouterr().err


@pytest.mark.bubblewrap
def test_a_failure_that_the_prompt_reports_is_tried(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ORCHESTRATOR_VERIFY")
    commit_files(repo, {"app/calc.py": "def add(a, b):\n    return a - b\n"})
    asked = ["plan", f"`{CHECK}` fails, mend it", *ASK[2:], "-o", "plan.json"]
    assert orchestrator.main(asked) == 0
    assert f"Reproduced: {CHECK} fails" in capsys.readouterr().err
    criteria = read_plan(Path("plan.json")).acceptance_criteria
    assert CHECK in [criterion.command for criterion in criteria]


@pytest.mark.parametrize("base", [(), ("--base", "main~1")], ids=["HEAD", "a base"])
def test_what_approve_advises_without_a_terminal_works_as_it_is_printed(
    base: tuple[str, ...],
    repo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    commit_files(repo, {"more.py": "x = 1\n"})
    monkeypatch.setattr("sys.stdin", Typed())
    assert orchestrator.main([*ASK[1:], *base, "--approve"]) == 2
    printed = re.findall("`(.*?)`", capsys.readouterr().err)
    monkeypatch.setenv("ORCHESTRATOR_SIM_SPEED", "0")
    for command in printed:
        assert orchestrator.main(shlex.split(command.removeprefix(program()))) == 0
    assert len(printed) == 2
    start = git(repo, "rev-parse", base[1] if base else "main")
    assert git(repo, "merge-base", branch(repo), "main") == start

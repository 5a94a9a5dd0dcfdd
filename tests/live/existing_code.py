"""A change of a small repository, checked, by a whole run on any backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.plan import Plan, Task, render_plan
from tests.engine.repository.repos import fingerprint, git, make_repository

WISH = ("Change it", "--plan", "plan.json", "--into", "repo", "--sim-speed", "0", "--verify")
CHECK = "grep -q Simulated app/calc.py && test -x run.sh && ! test -e out"


def change_repository(here: Path, run: Callable[..., str]) -> str:
    """The tree of the branch after `run` was called with WISH: it works in `here`, and gives what
    was said."""
    here.mkdir()
    files = {"app/calc.py": "def add(a, b):\n    return a + b\n", "run.sh": "#!/bin/sh\n"}
    repo = make_repository(here / "repo", files)
    (repo / "run.sh").chmod(0o755)
    git(repo, "commit", "--quiet", "--all", "-m", "It can be run")
    owned = ("app/calc.py", "app/more.py")
    tasks = tuple(
        Task(id=f"t{n}", instructions="Change it.", owns=(path,), checks=(CHECK,) if n == 0 else ())
        for n, path in enumerate(owned)
    )
    (here / "plan.json").write_text(render_plan(Plan(title="Change", tasks=tasks)))
    before = fingerprint(repo)
    said = run(*WISH)
    assert "1 of 1 passed" in " ".join(said.split())
    assert fingerprint(repo) == before
    [branch] = git(repo, "for-each-ref", "--format=%(refname)", "refs/heads/orchestrator").split()
    assert git(repo, "diff", "--name-only", "main", branch).split() == [*owned]
    return git(repo, "rev-parse", f"{branch}^{{tree}}")


FAILING = ("`sh check.sh` fails, mend it", "--into", "repo", "--sim-speed", "0", "--verify")
MENDED_BY_ONE = ("--parallel", "never", "--no-color")
"""What a simulated executor of the whole adds is what the command wants."""


def make_failing(here: Path) -> Path:
    return make_repository(here / "repo", {"app.py": "X = 1\n", "check.sh": "test -e SIMULATED.md"})


def check_reproduced(said: str, where: str) -> None:
    """`said` is what a run with FAILING and MENDED_BY_ONE told, whose checks had to run `where`."""
    words = " ".join(said.split())
    assert "Reproduced: sh check.sh fails on the code as it is (exit code 1)." in words
    assert f"1 of 1 passed, in {where}" in words
    assert "criteria 1 of 1 passed" in words

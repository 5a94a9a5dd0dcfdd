"""--into: existing code is changed on a branch of its own, or in place where there is no git."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

import orchestrator
from core.bundle import build_manifest
from core.plan import Plan, Task, parse_plan, render_plan
from engine.merging import lock_files
from engine.repository import packed_base
from engine.repository.part import SendLimit
from engine.run.rundir import find_run, held_alone
from tests.engine.repository.repos import (
    commit_files,
    fingerprint,
    git,
    make_repository,
    write_files,
)
from tests.fakes.dying_runs import DyingRuns

FILES = {
    "README.md": "# Calc\r\n",
    "app/__init__.py": "",
    "app/calc.py": "def add(a, b):\n    return a + b\n",
    "tests/__init__.py": "",
    "tests/test_calc.py": (
        "import unittest\n\nfrom app.calc import add\n\n\nclass T(unittest.TestCase):\n"
        "    def test_add(self):\n        self.assertEqual(add(1, 2), 3)\n"
    ),
    ".env": "KEY=1\n",
}
CHECK = "python3 -m unittest discover -s tests -t ."
SHARES = 4
"""Each of so many tests has every fourth line, so that none takes long."""
RUN = ("Add a line", "--into", "repo", "--sim-speed", "0", "--no-color")
CHECKED = ("--into", "repo", "--sim-speed", "0", "--verify", "--repair-rounds", "0")


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_repository(tmp_path / "repo", FILES)


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path / "repo", FILES)
    return tmp_path / "repo"


def run_id() -> str:
    [run] = Path(".orchestrator/runs").glob("2*")
    return run.name


def branch(repo: Path) -> str:
    return f"orchestrator/{run_id()}"


def write_plan(*tasks: Task, **more: object) -> str:
    Path("plan.json").write_text(render_plan(Plan(title="Change", tasks=tasks, **more)))  # type: ignore[arg-type]
    return "plan.json"


def task(name: str, *owns: str, checks: tuple[str, ...] = ()) -> Task:
    return Task(id=name, title=f"Do {name}", instructions="Change it.", owns=owns, checks=checks)


def test_the_result_is_a_branch_and_nothing_else_is_touched(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(repo, {"app/calc.py": "# not committed\n", "new.txt": "not tracked\n"})
    before = fingerprint(repo)
    assert orchestrator.main([*RUN]) == 0
    assert fingerprint(repo) == before
    printed = "".join(capsys.readouterr())
    assert len(printed.partition("\nSimulated run")[2].splitlines()) <= 10
    told = " ".join(printed.split())
    assert "Left out, and kept as they are: .env (looks like a secret)." in told
    assert "are not used and not touched: app/calc.py, new.txt." in told
    assert "(4 files changed)" in told
    take = f"git -C {repo} merge --ff-only {branch(repo)}"
    assert f"take it {take}" in told
    form = "--format=%s|%an|%(trailers:key=Orchestrator-Task,valueonly,separator=)"
    assert git(repo, "log", form, branch(repo)).splitlines() == [
        "Mark app/calc.py|Ada|change-3",
        "Mark app/__init__.py|Ada|change-2",
        "Mark README.md|Ada|change-1",
        "Contracts: Simulated change|Ada|contracts",
        "files|Ada|",
    ]
    costs = git(repo, "log", "--format=%(trailers:key=Orchestrator-Cost,separator=)", branch(repo))
    told_cost = r"Orchestrator-Cost: \$0\.\d{4} \(simulated: nothing is billed\)"
    assert re.fullmatch(rf"(?:{told_cost}\n){{3}}\n\n", f"{costs}\n")
    mark = "# Simulated: a change by the task change-3."
    assert git(repo, "show", f"{branch(repo)}:app/calc.py") == FILES["app/calc.py"] + mark
    assert git(repo, "show", f"{branch(repo)}:.env") == "KEY=1"
    git(repo, "fsck", "--strict")


def test_apply_brings_the_checked_out_branch_there(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrator.main([*RUN, "--apply"]) == 0
    told = " ".join("".join(capsys.readouterr()).split())
    assert f"main in {repo} is at the result now." in told
    assert f"target {repo} (4 files)" in told
    assert "take it" not in told
    assert git(repo, "rev-parse", "main") == git(repo, "rev-parse", branch(repo))
    assert git(repo, "status", "--short") == ""
    assert "Simulated" in (repo / "app/calc.py").read_text()


def test_apply_tells_why_it_cannot_and_the_branch_stays(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(repo, {"app/calc.py": "# not committed\n"})
    assert orchestrator.main([*RUN, "--apply", "--quiet"]) == 1
    told = "".join(capsys.readouterr())
    assert "\n  reason    Not applied: " in told
    assert git(repo, "log", "-1", "--format=%s", branch(repo)) == "Mark app/calc.py"
    assert (repo / "app/calc.py").read_text() == "# not committed\n"


@pytest.mark.parametrize(
    ("new", "named", "added"),
    [
        (("a/new.bin",), "a/new.bin", "a/new.bin"),
        (("1.bin", "2.bin", "3.bin", "4.bin"), "1.bin 2.bin 3.bin and 1 more", "."),
    ],
)
def test_new_files_that_git_lfs_should_have_are_named(
    repo: Path, capsys: pytest.CaptureFixture[str], new: tuple[str, ...], named: str, added: str
) -> None:
    commit_files(repo, {".gitattributes": "*.bin filter=lfs\n", "old.bin": "old\n"})
    plan = write_plan(task("data", "old.bin", *new, "a/new.txt"))
    assert orchestrator.main([*RUN, "--plan", plan]) == 0
    told = " ".join("".join(capsys.readouterr()).split())
    assert f"no LFS {named}: .gitattributes wants Git LFS" in told
    assert f"git add --renormalize {added}, then commit" in told


def test_of_large_code_jobs_get_a_part_and_the_branch_has_the_whole(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packed_base, "SendLimit", partial(SendLimit, files=3))
    lost = write_plan(task("calc", "app/calc.py", checks=(CHECK,)), reads=("lost.py",))
    assert orchestrator.main(["Change", *CHECKED, "--plan", lost]) != 0
    told = "".join(capsys.readouterr())
    assert "'lost.py' in reads is not there, or was left out of the code" in told
    shutil.rmtree(".orchestrator")
    wish = write_plan(task("calc", "app/calc.py", checks=(CHECK,)), reads=("README.md",))
    assert orchestrator.main(["Change", *CHECKED, "--plan", wish]) == 0
    told = " ".join("".join(capsys.readouterr()).split())
    assert "executors get 3 files of it that the plan needs, 0.0 MB; of 2 only the names." in told
    assert "so not sent, though plan or prompt name it: README.md." in told
    assert "1 passed" in told, "checks have the whole"
    with tarfile.open(next(Path(".orchestrator/runs").glob("2*/base.tar.gz"))) as archive:
        assert set(archive.getnames()) == {"/unsent.json", "app/calc.py"} | {
            *("tests/__init__.py", "tests/test_calc.py")
        }
    assert git(repo, "diff", "--name-only", "main", branch(repo)) == "app/calc.py"


def test_a_subfolder_limits_the_work_to_it(repo: Path) -> None:
    assert orchestrator.main(["Add", "--into", "repo/app", "--sim-speed", "0"]) == 0
    changed = git(repo, "diff", "--name-only", "main", branch(repo)).split()
    assert changed == ["app/SIMULATED.md", "app/__init__.py", "app/calc.py"]


@pytest.mark.parametrize("prompt", ["a script that counts words", "Build a landing page"])
def test_in_a_new_folder_a_new_project_is_built_and_committed(prompt: str, repo: Path) -> None:
    before = fingerprint(repo)
    assert orchestrator.main([prompt, "--into", "repo/new/app", "--sim-speed", "0"]) == 0
    assert fingerprint(repo) == before
    changed = git(repo, "diff", "--name-only", "main", branch(repo)).split()
    assert changed
    assert all(path.startswith("new/app/") for path in changed)
    assert not any("SIMULATED" in path for path in changed)


def test_a_plain_directory_is_changed_in_place_and_undone(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = build_manifest(plain)
    assert orchestrator.main([*RUN]) == 0
    assert "Simulated" in (plain / "app/calc.py").read_text()
    assert f"undo {run_id()}" in "".join(capsys.readouterr())
    assert not (plain / ".git").exists()
    assert orchestrator.main(["undo", "last"]) == 0
    assert f"Given back in {plain}, as before the run:\n  README.md\n" in capsys.readouterr().out
    assert build_manifest(plain) == before


@pytest.mark.parametrize(
    ("shared", "code", "kept"),
    [("app/calc.py", 0, ["one", "two"]), ("README.md", 1, ["one"])],
    ids=["merged", "in conflict"],
)
def test_versions_of_a_shared_file_are_merged_or_named(
    shared: str, code: int, kept: list[str], repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = write_plan(task("one", shared), task("two", shared), shared=(shared,))
    args = ["Change it", "--plan", plan, "--into", "repo", "--sim-speed", "0"]
    assert orchestrator.main(args) == code
    text = git(repo, "show", f"{branch(repo)}:{shared}")
    assert [name for name in ("one", "two") if f"by the task {name}." in text] == kept
    told = " ".join("".join(capsys.readouterr()).split())
    two = f"{branch(repo)}-two"
    assert (f"{shared} of one and two: both changed; kept as {two}" in told) == (code == 1)
    look = f"git -C {repo} diff {branch(repo)}...{two} -- {shared}"
    assert (f" compare {look} " in told) == (code == 1)
    run = find_run(Path(".orchestrator"), "last")
    assert (look in run.provenance.read_text()) == (code == 1)
    assert (look in run.report.read_text()) == (code == 1)


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        (
            "cp package.json pnpm-lock.yaml",
            0,
            "lock file pnpm-lock.yaml was made anew by {}, in a sandbox",
        ),
        ("no-pnpm lock", 1, "make it anew: {} (not done here: no-pnpm is not here); kept as"),
    ],
    ids=["made anew", "without its tool"],
)
def test_a_lock_file_that_collides_is_made_anew_before_the_checks(
    command: str,
    code: int,
    told: str,
    repo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(lock_files._COMMANDS, "pnpm-lock.yaml", command)
    commit_files(repo, {"package.json": "{}\n", "pnpm-lock.yaml": "locked = 1\n"})
    tasks = (
        task("one", "pnpm-lock.yaml", checks=("cmp pnpm-lock.yaml package.json",)),
        task("two", "pnpm-lock.yaml"),
    )
    plan = write_plan(*tasks, shared=("pnpm-lock.yaml",))
    assert orchestrator.main(["Change", "--plan", plan, *CHECKED]) == code
    printed = " ".join("".join(capsys.readouterr()).split())
    assert told.format(command) in printed
    assert ("checks 2 of 2 passed" in printed) == (code == 0)


@pytest.mark.parametrize("where", ["absent", "a file", "no commit"])
def test_what_cannot_be_changed_is_refused_before_anything_is_written(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "repo"
    if where == "a file":
        place.touch()
    elif where == "no commit":
        place.mkdir()
        git(place, "init", "--quiet")
    assert orchestrator.main([*RUN]) in (2, 3)
    assert not Path(".orchestrator").exists()
    assert "error: " in capsys.readouterr().err


def test_into_and_an_output_directory_exclude_each_other(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrator.main([*RUN, "--output-dir", "out"]) == 2
    assert "--into and --output-dir were both given" in capsys.readouterr().err


def test_a_plan_that_does_not_fit_is_refused_before_its_tasks_are_paid_for(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["Add", "--plan", write_plan(task("a", ".env", "App/x.py", "new.py")), "--into", "repo"]
    assert orchestrator.main([*args, "--sim-speed", "0"]) == 1
    told = capsys.readouterr().err
    assert "task 'a' owns '.env', but '.env' was left out" in told
    assert "task 'a' owns 'App/x.py', but 'App' differs only in case from 'app'" in told
    run = find_run(Path(".orchestrator"), "last")
    assert not list(run.tasks.iterdir())
    run.plan.write_text(Path(write_plan(task("a", "new.py"))).read_text())
    assert orchestrator.main(["resume", "last", "--sim-speed", "0"]) == 0


@pytest.mark.parametrize("options", [("--base", "main"), ("--apply",)], ids=str)
def test_what_is_for_existing_code_is_refused_without_it(
    options: tuple[str, ...], repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert orchestrator.main(["Add a line", *options]) == 2
    assert f"{options[0]} was given without" in capsys.readouterr().err
    assert not Path(".orchestrator").exists()


def test_two_runs_do_not_change_one_plain_directory_at_a_time(
    plain: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held_alone(plain):
        assert orchestrator.main([*RUN]) == 2
    assert "is changed by another run" in capsys.readouterr().err
    assert not Path(".orchestrator").exists()
    assert orchestrator.main([*RUN]) == 0


@pytest.mark.parametrize("what", ["repo", "work"])
def test_what_a_resumed_run_changes_has_to_be_where_it_was(
    what: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    request.getfixturevalue("repo" if what == "repo" else "plain")
    assert orchestrator.main([*RUN, "--work-dir", "work", "--max-cost", "0.001"]) == 4
    Path(what).rename("moved")
    where = "moved" if what == "work" else "work"
    again = ["resume", "last", "--work-dir", where, "--max-cost", "2"]
    capsys.readouterr()
    assert orchestrator.main(again) == 2
    assert "is no longer there, and the run needs it" in capsys.readouterr().err
    Path("moved").rename(what)
    again[3] = "work"
    assert orchestrator.main([*again, "--output-dir", "else"]) == 2
    assert "changes repo" in capsys.readouterr().err.replace(f"{Path.cwd()}/", "")
    assert orchestrator.main(again) == 0


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("broken", "code", "told"),
    [
        ({}, 0, "1 of 1 passed"),
        ({"tests/test_calc.py": FILES["tests/test_calc.py"].replace(", 3)", ", 4)")}, 0, "before"),
    ],
    ids=["passes", "failed before"],
)
def test_checks_compare_with_the_base(
    broken: Mapping[str, str],
    code: int,
    told: str,
    repo: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if broken:
        write_files(repo, broken)
        git(repo, "commit", "--quiet", "--all", "-m", "broken")
    plan = write_plan(task("a", "app/calc.py", checks=(CHECK,)))
    assert orchestrator.main(["Add", "--plan", plan, *CHECKED]) == code
    assert told in " ".join("".join(capsys.readouterr()).split())


@pytest.mark.bubblewrap
def test_a_regression_fails_the_run_and_is_named(
    repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check = "! grep -q Simulated app/calc.py"
    plan = write_plan(task("a", "app/calc.py", checks=(check,)))
    assert orchestrator.main(["Add", "--plan", plan, *CHECKED]) == 1
    assert "it passed before this change" in " ".join("".join(capsys.readouterr()).split())


@pytest.mark.slow
@pytest.mark.parametrize("share", range(1, SHARES + 1))
def test_a_run_that_dies_after_any_line_ends_in_the_same_tree(
    share: int, program: DyingRuns, tmp_path: Path
) -> None:
    def log(place: Path) -> str:
        git(place / "repo", "fsck", "--strict")
        [run] = place.glob(".orchestrator/runs/2*")
        return git(place / "repo", "log", "--format=%T %s", f"orchestrator/{run.name}")

    place, whole = tmp_path / "place", tmp_path / "whole"
    before = fingerprint(make_repository(place / "repo", FILES))
    shutil.copytree(place, whole)
    assert program(whole, "", *RUN) == 0
    for lines in program.deaths(range(share, 60, SHARES), place, "", *RUN):
        assert program(place, "", "resume", "last") == 0
        assert fingerprint(place / "repo") == before
        assert log(place) == log(whole), f"after line {lines}"
    assert 8 < lines < 60 - SHARES


@pytest.mark.bubblewrap
@pytest.mark.parametrize(
    ("result", "told"),
    [("a + b", "Not reproduced: {} passes"), ("a - b", "Reproduced: {} fails")],
)
def test_a_failure_that_the_prompt_reports_is_tried_first(
    repo: Path, capsys: pytest.CaptureFixture[str], result: str, told: str
) -> None:
    write_files(repo, {"app/calc.py": f"def add(a, b):\n    return {result}\n"})
    git(repo, "commit", "-qam", "More", "--allow-empty")
    orchestrator.main([f"`{CHECK}` fails, mend it", *RUN[1:], "--verify", "--parallel", "never"])
    printed = " ".join("".join(capsys.readouterr()).split())
    assert told.format(CHECK) in printed
    plan = parse_plan(find_run(Path(".orchestrator"), "last").plan.read_text(), "the plan")
    assert (plan.tasks[0].checks == (CHECK,)) is (result == "a - b")

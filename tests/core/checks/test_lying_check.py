"""What a check says of itself: that it cannot fail, or ran no test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from core.check_request import PROGRAMS
from core.checks.lying_check import (
    cannot_fail,
    in_empty_directories,
    is_decided_by_empty_directory,
    ran_no_test,
)

UNITTEST = "python3 -m unittest discover -s tests"


@pytest.mark.parametrize(
    "command",
    [
        "true",
        ":",
        "/bin/true",
        "exit 0",
        "echo 'all tests passed; really'",
        "A=1 printf ok",
        "pytest || true",
        "pytest -q || :",
        "pytest||exit 0",
        "pytest; true",
        "pytest\ntrue",
        "npm test > log 2>&1; echo done",
        "test -f app.py && echo yes || echo no",
        "pytest | tee log",
        "python3 app.py | cat",
        "python3 app.py &",
        "(cd web && npm test) || true",
        "(pytest || true)",
        "true && (echo a; echo b)",
        "bash -c 'pytest || true'",
        "sh -ec 'true'",
        "set -e; echo a; true",
        "ruff check --exit-zero .",
        "timeout 60 sh -c 'pytest || true'",
        "env -i CI=1 timeout --foreground 5s /bin/true",
        "trap 'rm -f log; exit 0' EXIT; pytest",
        "trap 'exit 0' ERR\npytest || exit 1",
        "make -i test",
        "make -ki test",
        "make --ignore-errors test",
        "make -n test",
        "pytest & wait",
        "pytest || true # whatever it's called",
        "# checks\npytest; exit 0",
    ],
)
def test_a_command_that_cannot_fail_is_seen(command: str) -> None:
    assert cannot_fail(command)


@pytest.mark.parametrize(
    "command",
    [
        "",
        "pytest",
        "echo x | grep y",
        "pytest && true",
        "pytest || exit 1",
        "true; pytest",
        "cd web; npm test",
        "true && pytest",
        "(true; pytest)",
        "pytest 'a || true'",
        "python3 -c 'x = 1; print(x); true'",
        "set -e; pytest; true",
        "set -o pipefail; pytest | tee log",
        "echo 'open",
        "x=$(python3 app.py)",
        "test -f a || test -f b",
        "cat app.py",
        "bash -c 'true; pytest'",
        "pytest 2>&1",
        "pytest || exit 1; echo passed",
        "pytest || { echo failed; exit 1; }; true",
        "if ! pytest; then exit 1; fi; exit 0",
        "cd web; set -eu; npm test; true",
        "set -o errexit; pytest; true",
        "bash -ec 'pytest; true'",
        "true # it's the first\npytest",
        "echo a#b | grep b",
        "echo ' # ' && pytest",
        "timeout 60 pytest",
        "env CI=1 npm test",
        "trap 'rm -f log' EXIT; pytest",
        "make test",
        "make -k -j2 -Cbin -fMakefile test",
        "wait $pid",
    ],
)
def test_a_command_that_may_fail_is_not_blamed(command: str) -> None:
    assert not cannot_fail(command)


@pytest.mark.parametrize(
    ("command", "output", "is_so"),
    [
        (UNITTEST, "\n-----\nRan 0 tests in 0.000s\n\nOK\n", True),
        (UNITTEST, "..\nRan 1 test in 0.000s\n\nOK\n", False),
        (UNITTEST, "ss\nRan 2 tests in 0.000s\n\nOK (skipped=2)\n", True),
        (UNITTEST, "s.\nRan 2 tests in 0.000s\n\nOK (skipped=1)\n", False),
        (
            f"{UNITTEST}; {UNITTEST}",
            "Ran 0 tests in 0.0s\n\nOK\nRan 3 tests in 0.0s\n\nOK\n",
            False,
        ),
        ("pytest -q", "no tests ran in 0.01s\n", True),
        ("pytest --co", "tests/test_a.py::test_a\n\n1 test collected in 0.01s\n", True),
        ("pytest", "===== \x1b[32m5 passed\x1b[0m, 1 skipped in 0.12s =====\n", False),
        ("python -m pytest", "===== 4 skipped in 0.12s =====\n", True),
        ("node --test", "TAP version 13\n1..0\n# tests 0\n# pass 0\n# skipped 0\n", True),
        ("npm test", "ℹ tests 12\nℹ suites 2\nℹ pass 11\nℹ skipped 1\n", False),
        ("npx jest", "Tests:       2 skipped, 7 passed, 9 total\n", False),
        ("npx jest --passWithNoTests", "No tests found, exiting with code 0\n", True),
        ("npx vitest run", " Test Files  1 passed (1)\n      Tests  3 passed (3)\n", False),
        ("npx vitest run", "No test files found, exiting with code 0\n", True),
        ("npx mocha", "  0 passing (1ms)\n", True),
        ("go test ./...", "?   \tapp\t[no test files]\n", True),
        ("go test ./...", "ok  \tapp\t0.004s [no tests to run]\n", True),
        ("go test ./...", "?   \tapp/cmd\t[no test files]\nok  \tapp/store\t0.004s\n", False),
        ("go test ./...", "ok  \tapp/store\t(cached)\n", False),
        ("cargo test", "running 0 tests\n\ntest result: ok. 0 passed; 0 failed\n", True),
        ("cargo test", "running 2 tests\ntest result: ok. 2 passed; 0 failed\n", False),
        ("mvn test", "Tests run: 3, Failures: 0, Errors: 0, Skipped: 3\n", True),
        ("npm run build", "built in 12 ms\n", False),
        ("python3 -c 'print(\"Ran 5\")'", "Ran 5 tests in 0.1s\n", False),
    ],
)
def test_a_runner_without_a_test_is_seen(command: str, output: str, is_so: bool) -> None:
    assert ran_no_test(command, output) == is_so


def test_commands_run_with_nothing_of_the_project(tmp_path: Path) -> None:
    home, project = tmp_path / "home", tmp_path / "project"
    tool = home / "bin/tool"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    project.mkdir()
    project.joinpath("app.py").touch()
    commands = [
        "python3 -c pass",
        "test -e app.py",
        'test -z "$(ls -A)$(ls -A ~)"',
        "echo 1; touch left; exit 3",
        "tool",
        "test 'a b' = \"a b\"",
    ]
    done = subprocess.run(
        ["/bin/sh", "-c", in_empty_directories(commands)],
        cwd=project,
        env={"HOME": str(home), "PATH": f"{home}/bin:/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert sorted(done.stdout.split()) == ["0", "2", "5"]
    assert [path.name for path in project.iterdir()] == ["app.py"]
    assert not list(Path("/tmp").glob("empty-*/*/left"))


def test_programs_of_criteria_are_tried_without_the_project(tmp_path: Path) -> None:
    programs = tmp_path / PROGRAMS
    programs.mkdir()
    programs.joinpath("1.sh").write_text("exit 0")
    programs.joinpath("2.sh").write_text("test -e app.py")
    tmp_path.joinpath("app.py").touch()
    commands = [f"sh {PROGRAMS}/{number}.sh" for number in (1, 2)]
    done = subprocess.run(
        ["/bin/sh", "-c", in_empty_directories(commands)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["0"]


@pytest.mark.parametrize(
    ("command", "is_decided"),
    [
        ("python3 app.py", True),
        ("npm run build", True),
        ("npm test", False),
        ("python3 -m unittest", False),
        ("ruff check .", False),
        ("python3 -m compileall .", False),
        ("! grep -r TODO .", False),
        ("true", False),
    ],
)
def test_only_what_nothing_else_decides_on_is_tried(command: str, is_decided: bool) -> None:
    assert is_decided_by_empty_directory(command) == is_decided

"""The failing command of a prompt, and the set-up that the project's files tell."""

from __future__ import annotations

import pytest

from engine.repository.reproduce import command_in, guess_setup


@pytest.mark.parametrize(
    ("prompt", "command"),
    [
        ("pytest tests/test_x.py fails with KeyError: 'a'", "pytest tests/test_x.py"),
        (
            "Fix this: `python3 -m pytest -q t.py::test_b` is red",
            "python3 -m pytest -q t.py::test_b",
        ),
        ('When I run "npm test" it fails. Please fix.', "npm test"),
        ("npm run test:unit breaks since the upgrade", "npm run test:unit"),
        ("go test ./... fails", "go test ./..."),
        ("make test exits with 2.", "make test"),
        ("DEBUG=1 pytest -k due -x fails", "DEBUG=1 pytest -k due -x"),
        (
            "This fails:\n\n    $ ./tools/check.sh --all\n    Segmentation fault",
            "./tools/check.sh --all",
        ),
        ("The tests fail. See `ls -l`: there is nothing. `./run 1` crashes!", "./run 1"),
        ("The failing test is python -m unittest tests.test_y.", "python -m unittest tests.test_y"),
    ],
)
def test_a_command_that_is_said_to_fail_is_found(prompt: str, command: str) -> None:
    assert command_in(prompt) == command


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "Add due dates and a filter for overdue todos",
        "Build a shop with error pages and a `python3 -m shop list` command.",
        "Write tests with pytest. Nothing may fail silently.",
        "The page is broken on phones",
        "`rm -rf /` fails",
        "`python3 " + "x" * 400 + "` fails",
    ],
)
def test_nothing_else_is_taken_for_one(prompt: str) -> None:
    assert command_in(prompt) is None


@pytest.mark.parametrize(
    ("command", "files", "install"),
    [
        ("make test", {"a.c": ""}, ()),
        (
            "pytest",
            {
                "requirements.txt": "",
                "requirements-dev.txt": "",
                "pyproject.toml": '[build-system]\n[project.optional-dependencies]\ntest = ["x"]\n',
            },
            (
                "pip install -r requirements-dev.txt",
                "pip install -r requirements.txt",
                "pip install -e '.[test]'",
                "pip install pytest",
            ),
        ),
        ("python3 -m unittest", {"setup.py": ""}, ("pip install -e .",)),
        ("python3 -m unittest", {"pyproject.toml": "[tool.ruff]\n"}, ()),
        ("npm test", {"package.json": '{"dependencies": {"a": "1"}}'}, ("npm install",)),
        ("npm test", {"package.json": "{}", "package-lock.json": ""}, ("npm ci",)),
        ("npm test", {"package.json": "{}"}, ()),
        ("npm test", {"package.json": "[1"}, ()),
    ],
)
def test_a_project_is_set_up_as_its_files_tell(
    command: str, files: dict[str, str], install: tuple[str, ...]
) -> None:
    setup = guess_setup(command, files, lambda path: files.get(path, ""))
    assert setup.install == install
    assert (setup.network == "none") is not bool(install)

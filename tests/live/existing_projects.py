"""Real repositories, made of what registries have and of installed packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.engine.repository.repos import git

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Project:
    """`files` are changed, each by a task of its own, with `check` as the check of the first."""

    fetch: Callable[[Path], Path]
    files: tuple[str, ...]
    check: str
    passed: str = "1 of 1 passed"

    def make(self, place: Path) -> Path:
        """The repository below `place`, with what must stay as it is, and a plan beside it."""
        repo = self.fetch(place)
        git(repo, "init", "--quiet", "-b", "main")
        git(repo, "add", "--all")
        git(repo, "commit", "--quiet", "-m", "as it was published")
        (repo / ".git/hooks/post-commit").write_text("#!/bin/sh\ntouch /tmp/a-hook-ran\n")
        (repo / "not_committed.txt").write_text("mine\n")
        tasks = [
            {"id": f"t{n}", "instructions": "Change it.", "owns": [path]}
            for n, path in enumerate(self.files)
        ]
        tasks[0]["checks"] = [self.check]
        (place / "plan.json").write_text(json.dumps({"title": "Change", "tasks": tasks}))
        return repo


def download(place: Path, *command: str) -> Path:
    place.mkdir()
    subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=120)
    [found] = place.iterdir()
    return found


def python_package(place: Path) -> Path:
    pip = ("python3", "-m", "pip", "download", "--quiet", "--no-deps", "colorama==0.4.6")
    with zipfile.ZipFile(download(place / "packed", *pip)) as wheel:
        wheel.extractall(place / "repo")
    return place / "repo"


def npm_package(place: Path) -> Path:
    packed = download(place / "packed", "npm", "pack", "--silent", "inherits@2.0.1")
    with tarfile.open(packed) as tar:
        tar.extractall(place, filter="data")
    return (place / "package").rename(place / "repo")


def many_files(place: Path) -> Path:
    """Sources of installed packages, more than 5,000 of them. Large ones are left out, but for what
    is needed: it is their number that counts."""
    repo, count = place / "repo", 0
    packages = next(ROOT.glob(".venv/lib/python3*/site-packages"))
    for path in sorted(packages.rglob("*.py")):
        if count > 5_200 or (path.stat().st_size > 10_000 and path.parent.name != "click"):
            continue
        target = repo / path.relative_to(packages)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        count += 1
    assert count > 5_000
    (repo / "test_it.py").write_text(
        "import unittest\n\n\nclass T(unittest.TestCase):\n"
        "    def test_it(self):\n        import click\n"
        "        self.assertTrue(click.Group)\n"
    )
    return repo


PROJECTS = {
    "python": Project(
        python_package,
        ("colorama/ansi.py", "colorama/initialise.py", "colorama/new_file.py"),
        "python3 -m unittest discover -s colorama/tests -t . -p '*_test.py'",
    ),
    "npm": Project(npm_package, ("inherits.js", "README.md", "lib/more.js"), "npm test"),
    "many files": Project(many_files, ("click/core.py", "more.py"), "python3 test_it.py"),
}

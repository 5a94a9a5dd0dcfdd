"""Real repositories are changed by whole runs: the same tree on threads, Docker and Slurm."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.repository.repos import fingerprint, git
from tests.live.docker_run import ROOT, orchestrate
from tests.live.slurm_clusters import service_conf

pytestmark = [pytest.mark.registries, pytest.mark.timeout(300)]

SLURM = ("--slurm", "--slurm-mem", "200M")


@dataclass(frozen=True)
class Project:
    """`files` are changed, each by a task of its own, with `check` as the check of the first."""

    fetch: Callable[[Path], Path]
    files: tuple[str, ...]
    check: str
    passed: str = "1 of 1 passed"


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
    """Sources of installed packages, more than 5,000 of them."""
    repo, count = place / "repo", 0
    packages = next(ROOT.glob(".venv/lib/python3*/site-packages"))
    for path in sorted(packages.rglob("*.py")):
        target = repo / path.relative_to(packages)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        count += 1
        if count > 5_200:
            break
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
    "many files": Project(
        many_files, ("click/core.py", "anthropic/_client.py", "more.py"), "python3 test_it.py"
    ),
}


@dataclass(frozen=True)
class Repository:
    project: Project
    place: Path

    @property
    def path(self) -> Path:
        return self.place / "repo"

    def change(self, *backend: str, check: bool = False) -> str:
        """The tree after a run there, which leaves everything else as it is."""
        plan = self.place / "plan.json"
        tasks = [
            {"id": f"t{n}", "instructions": "Change it.", "owns": [path]}
            for n, path in enumerate(self.project.files)
        ]
        tasks[0]["checks"] = [self.project.check]
        plan.write_text(json.dumps({"title": "Change", "tasks": tasks}))
        before = fingerprint(self.path)
        args = [sys.executable, str(ROOT / "orchestrator.py"), "Change it", "--into", "repo"]
        args += ["--plan", "plan.json", "--sim-speed", "0", "--no-color", *backend]
        args.append("--verify" if check else "--no-verify")
        done = orchestrate(self.place, args, SLURM_CONF=str(service_conf()))
        assert done.returncode == 0, done.stderr
        assert (self.project.passed in done.stdout) == check, done.stdout
        assert fingerprint(self.path) == before
        git(self.path, "fsck", "--strict", "--no-dangling")
        newest = git(self.path, "for-each-ref", "--format=%(refname)", "refs/heads/orchestrator")
        branch = newest.splitlines()[-1]
        changed = git(self.path, "diff", "--name-only", "main", branch).splitlines()
        assert changed == sorted(self.project.files)
        return git(self.path, "rev-parse", f"{branch}^{{tree}}")


@pytest.fixture(scope="module", params=PROJECTS)
def repository(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Repository:
    place = tmp_path_factory.mktemp("existing")
    found = PROJECTS[request.param]
    repo = found.fetch(place)
    git(repo, "init", "--quiet", "-b", "main")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "-m", "as it was published")
    (repo / ".git/hooks/post-commit").write_text("#!/bin/sh\ntouch /tmp/a-hook-ran\n")
    (repo / "not_committed.txt").write_text("mine\n")
    return Repository(found, place)


@pytest.mark.bubblewrap
@pytest.mark.docker_engine
@pytest.mark.slurm
def test_a_change_is_the_same_on_every_backend(repository: Repository) -> None:
    on_threads = repository.change(check=True)
    for backend in (("--docker",), SLURM):
        assert repository.change(*backend) == on_threads

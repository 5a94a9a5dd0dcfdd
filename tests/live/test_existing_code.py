"""Real repositories are changed by whole runs: the same tree on threads, Docker and Slurm."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.engine.repository.repos import fingerprint, git
from tests.live.docker_run import ROOT, orchestrate
from tests.live.existing_projects import PROJECTS, Project
from tests.live.slurm_clusters import service_conf

pytestmark = [pytest.mark.registries, pytest.mark.timeout(300)]

SLURM = ("--slurm", "--slurm-mem", "200M")


@dataclass(frozen=True)
class Repository:
    project: Project
    place: Path

    @property
    def path(self) -> Path:
        return self.place / "repo"

    def change(self, *backend: str, check: bool = False) -> str:
        """The tree after a run there."""
        args = [sys.executable, str(ROOT / "orchestrator.py"), "Change it", "--into", "repo"]
        args += ["--plan", "plan.json", "--sim-speed", "0", "--no-color", *backend]
        args.append("--verify" if check else "--no-verify")
        done = orchestrate(self.place, args, SLURM_CONF=str(service_conf()))
        assert done.returncode == 0, done.stderr
        assert (self.project.passed in done.stdout) == check, done.stdout
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
    found.make(place)
    return Repository(found, place)


@pytest.mark.bubblewrap
@pytest.mark.docker_engine
@pytest.mark.slurm
def test_a_change_is_the_same_on_every_backend_and_all_else_as_it_was(
    repository: Repository,
) -> None:
    before = fingerprint(repository.path)
    on_threads = repository.change(check=True)
    for backend in (("--docker",), SLURM):
        assert repository.change(*backend) == on_threads
    assert fingerprint(repository.path) == before
    git(repository.path, "fsck", "--strict", "--no-dangling")

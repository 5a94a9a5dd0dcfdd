"""Real repositories are changed by runs that are killed at a step and resumed: the same commits,
and nothing else is touched. At every step: `KILLED_AT=every python -m pytest -k python FILE`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.engine.repository.repos import fingerprint, git
from tests.fakes.dying_runs import DIED, DyingRuns, dying_runs
from tests.live.existing_projects import PROJECTS

EVERY = os.environ.get("KILLED_AT") == "every"
pytestmark = [
    *(pytest.mark.registries, pytest.mark.bubblewrap),
    pytest.mark.timeout(0 if EVERY else 300),
]

RUN = ("Change it", "--into", "repo", "--plan", "plan.json", "--sim-speed", "0")
BASE = ("write RUN/base/*", "read RUN/base/*")
STEPS = {
    "python": (
        *("rename RUN/.plan.json.#", *BASE, "write RUN/tasks/*"),
        *("while git hash-object", "after git commit-tree", "while git update-ref"),
    ),
    "npm": ("rename RUN/.delivered.json.#", "after git update-ref"),
    "many files": BASE[1:],
}
CHECKED = ("write RUN/verification/*", "while bwrap", "rename RUN/.acceptance.json.#")


@dataclass(frozen=True)
class KilledRuns:
    """Of one repository, which is as it was before each. `options` are those of a run."""

    program: DyingRuns
    place: Path
    options: tuple[str, ...]

    @property
    def repo(self) -> Path:
        return self.place / "repo"

    def run(self, step: tuple[str, int] | None = None) -> str:
        """The commit of a run that is killed at this step, if at any, and resumed."""
        before, args = fingerprint(self.repo), (*RUN, *self.options)
        code = self.program(self.place, "", *args, step=step, named=True)
        assert code in ((DIED, 0) if EVERY else (DIED if step and step[1] else 0,))
        if not any(self.place.glob(".orchestrator/runs/*/run.json")):  # it never was
            shutil.rmtree(self.place / ".orchestrator", ignore_errors=True)
            assert self.program(self.place, "", *args, named=True) == 0
        elif code == DIED:
            assert self.program(self.place, "", "resume", "last", named=True) == 0
        assert fingerprint(self.repo) == before
        git(self.repo, "fsck", "--strict", "--no-dangling")
        left = [path.name for path in (self.repo / ".git").rglob("*")]
        assert not [name for name in left if name.endswith(".lock") or name.startswith("tmp_")]
        return git(self.repo, "for-each-ref", "--format=%(objectname)", "refs/heads/o*")

    def again(self, objects: set[Path]) -> None:
        """As before the run, when it had these objects."""
        shutil.rmtree(self.place / ".orchestrator")
        shutil.rmtree(self.repo / ".git/refs/heads/orchestrator")
        for path in self.objects() - objects:
            path.unlink()

    def objects(self) -> set[Path]:
        return {path for path in (self.repo / ".git/objects").rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DyingRuns]:
    with dying_runs(tmp_path_factory.mktemp("home")) as runs:
        yield runs


def chosen(seen: list[str], kinds: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """The step in the middle of each kind, or all of any kind. Threads take turns, so that a step
    has no number but among those of its kind."""
    if EVERY:
        yield from (("", number) for number in range(1, len(seen) + 1))
    else:
        yield from ((kind, (seen.count(kind) + 1) // 2) for kind in kinds)


@pytest.mark.parametrize(
    ("name", "kinds", "option"),
    [
        *((name, kinds, "--no-verify") for name, kinds in STEPS.items()),
        ("python", CHECKED, "--verify"),
    ],
    ids=[*STEPS, "python with checks"],
)
def test_killed_at_a_step_it_gives_the_same_commits(
    name: str, kinds: tuple[str, ...], option: str, program: DyingRuns, tmp_path: Path
) -> None:
    project = PROJECTS[name]
    if name == "many files":  # of which each task has a copy
        project = replace(project, files=project.files[:1])
    project.make(tmp_path)
    runs = KilledRuns(program, tmp_path, (option,))
    objects = runs.objects()
    expected = runs.run(("", 0))
    for step in chosen((tmp_path / "steps").read_text().splitlines(), kinds):
        runs.again(objects)
        assert runs.run(step) == expected, step

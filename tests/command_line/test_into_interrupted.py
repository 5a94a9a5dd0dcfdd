"""--into, stopped by Ctrl-C or SIGTERM: nothing is delivered, and `resume` goes on and finishes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine.repository.base
import engine.repository.branch
import engine.repository.packed_base
import engine.verification.remake
import orchestrator
from engine.delivery.change import MERGE_TASK
from engine.scheduling.scheduler import Scheduler
from tests.command_line.test_into import FILES, branch, task, write_plan
from tests.engine.repository.repos import fingerprint, git, make_repository

MERGES = ("Change it", "--plan", "plan.json", "--into", "repo", "--sim-speed", "0", "--no-color")
MERGED = "conflicts are merged"
PLACES = {
    "the base is laid out": (engine.repository.base, "_write"),
    "its archive is written": (engine.repository.packed_base, "pack_base"),
    "tasks run": (Scheduler, "run"),
    MERGED: (Scheduler, "run"),
    "a lock file is made anew": (engine.verification.remake, "remake"),
    "commits are made": (engine.repository.branch, "store_commit"),
    "the branch is set": (engine.repository.branch, "set_branch"),
}


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shared = ("README.md", "pnpm-lock.yaml")
    write_plan(task("one", *shared), task("two", *shared), shared=shared)
    locked = {"package.json": "{}\n", "pnpm-lock.yaml": "a: 1\n"}
    return make_repository(tmp_path / "repo", {**FILES, **locked})


def stopping(real: Callable[..., Any], number: int, *, merging: bool) -> Callable[..., Any]:
    def call(*given: Any, **options: Any) -> Any:
        plan = getattr(given[0], "_graph", None)
        if not merging or (plan is not None and MERGE_TASK in plan.states):
            signal.raise_signal(number)
        return real(*given, **options)

    return call


@pytest.mark.parametrize(
    ("while_", "number"),
    [*((place, signal.SIGINT) for place in PLACES), (MERGED, signal.SIGTERM)],
    ids=[*PLACES, "SIGTERM"],
)
def test_what_is_interrupted_delivers_nothing_and_can_be_resumed(
    while_: str, number: int, repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, (room, name) = fingerprint(repo), PLACES[while_]
    with pytest.MonkeyPatch.context() as patch:
        merging = while_ == MERGED
        patch.setattr(room, name, stopping(getattr(room, name), number, merging=merging))
        assert orchestrator.main([*MERGES]) == 130
    assert git(repo, "branch", "--list", "orchestrator/*") == ""
    told = "".join(capsys.readouterr())
    assert "resume" in told
    assert "take it" not in told
    assert orchestrator.main(["resume", "last"]) == 1
    assert "take it" in "".join(capsys.readouterr())
    assert "by the task one." in git(repo, "show", f"{branch(repo)}:README.md")
    assert fingerprint(repo) == before

"""A project that is delivered with its git history: both whole, or neither."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from core.errors import MergeError
from engine.delivery.target import apply_merge, expected_manifest, recover_target
from engine.delivery.target_check import which_delivered
from engine.repository.history import write_history
from engine.run.rundir import RunDir
from tests.engine.delivery.test_target import (
    NEW,
    OLD,
    RUN,
    FaultyDisk,
    beside,
    ctrl_c,
    no_space,
    plan_of,
)
from tests.engine.repository.repos import git, make_step


def history_of(place: Path, title: str, files: dict[str, str]) -> Path:
    place.mkdir(parents=True)
    return write_history(RunDir(place), [make_step(place / "files", files, (), title)])


@pytest.mark.parametrize("fault", [no_space, ctrl_c])
def test_an_error_at_any_step_leaves_the_old_history_or_all_of_the_new_one(
    fault: Callable[[], None], tmp_path: Path
) -> None:
    old, new = plan_of(tmp_path / "old", OLD), plan_of(tmp_path / "new", NEW)
    was, is_now = history_of(tmp_path / "1", "old", OLD), history_of(tmp_path / "2", "new", NEW)
    known = (expected_manifest(old, was), expected_manifest(new, is_now))
    for step in count():
        target = tmp_path / "out" / str(step) / "app"
        assert apply_merge(old, target, RUN, None, history=was) == known[0]
        try:
            disk = FaultyDisk(step, fault)
            apply_merge(new, target, RUN, known[0], disk, history=is_now)
        except (MergeError, KeyboardInterrupt):
            recover_target(target, RUN)
            held = which_delivered(target, known)
            assert git(target, "log", "--format=%s") == ("old" if held == known[0] else "new")
            assert git(target, "status", "--short") == ""
            assert beside(target) == []
            assert apply_merge(new, target, RUN, held, history=is_now) == known[1]
            continue
        break
    assert step > 20
    assert git(target, "log", "--format=%s") == "new"
    assert git(target, "fsck", "--strict") == ""


def test_the_same_steps_give_the_same_history(tmp_path: Path) -> None:
    first, again = (history_of(tmp_path / name, "One", NEW) for name in ("1", "2"))
    assert git(first, "rev-parse", "HEAD") == git(again, "rev-parse", "HEAD")


@pytest.mark.parametrize("act", ["tag v1", "branch other", "checkout -q -b mine"])
def test_what_somebody_does_there_makes_it_another(act: str, tmp_path: Path) -> None:
    plan, history = plan_of(tmp_path / "new", NEW), history_of(tmp_path / "1", "One", NEW)
    target = tmp_path / "out"
    delivered = apply_merge(plan, target, RUN, None, history=history)
    git(target, "gc", "--quiet")
    assert which_delivered(target, [delivered]) == delivered
    git(target, *act.split())
    assert which_delivered(target, [delivered]) is None

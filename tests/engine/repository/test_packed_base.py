"""The existing code as jobs get it: whole while it is small, else the part that the plan needs."""

from __future__ import annotations

from pathlib import Path

from core.bundle import AttemptDir, BaseRef, build_manifest
from core.workspace.base_tree import BaseTree, lay_out_base
from engine.repository.packed_base import PackedBase
from engine.repository.part import BasePart, SendLimit
from engine.run.rundir import RunDir
from tests.engine.repository.repos import write_files
from tests.fakes.plan_parts import plan, task

FILES = {"own.py": "x = 1\n", "read.py": "x = 2\n", "rest/far.py": "x = 3\n"}
SMALL, LARGE = SendLimit(2, 100), SendLimit(3, 18)


def supply(place: Path, limit: SendLimit) -> tuple[PackedBase, list[BasePart]]:
    run, told = RunDir(place), list[BasePart]()
    write_files(run.base, FILES)
    return PackedBase(run, build_manifest(run.base), "", told.append, limit), told


def laid_out(place: Path, ref: BaseRef) -> tuple[BaseTree, set[str]]:
    laid: set[str] = set()
    attempt = AttemptDir(place / "tasks" / "t" / "1")
    return lay_out_base(attempt, ref, frozenset(), lambda p, data, mode: laid.add(p)), laid


def test_up_to_the_limit_it_travels_whole(tmp_path: Path) -> None:
    base, told = supply(tmp_path, LARGE)
    given = base.given(plan(task("t", owns=("own.py",))))
    tree, laid = laid_out(tmp_path, given.ref)
    assert laid == FILES.keys()
    assert (dict(tree.unsent), told) == ({}, [])
    assert given == base.whole()


def test_above_it_the_part_travels_and_the_rest_is_listed(tmp_path: Path) -> None:
    base, told = supply(tmp_path, SMALL)
    wish = plan(task("t", owns=("own.py",)), reads=("read.py",))
    given = base.given(wish)
    tree, laid = laid_out(tmp_path, given.ref)
    assert laid == {"own.py", "read.py"} == {*given.manifest.paths}
    assert tree.unsent == {"rest/far.py": 6}
    assert base.given(wish) is given
    assert [part.sent for part in told] == [given.manifest], "it was told again"


def test_whoever_goes_on_makes_the_same_archive_and_another_plan_another(tmp_path: Path) -> None:
    wish = plan(task("t", owns=("own.py",)))
    first = supply(tmp_path, SMALL)[0].given(wish).ref
    assert supply(tmp_path, SMALL)[0].given(wish).ref == first
    other = supply(tmp_path, SMALL)[0].given(plan(task("t", owns=("rest/far.py",)))).ref
    assert other != first
    assert "rest/far.py" in laid_out(tmp_path, other)[1]


def test_checks_that_are_jobs_get_the_whole_beside_it(tmp_path: Path) -> None:
    base, _ = supply(tmp_path, SMALL)
    part, whole = base.given(plan(task("t", owns=("own.py",)))).ref, base.whole().ref
    assert laid_out(tmp_path, whole)[1] == FILES.keys()
    assert laid_out(tmp_path, part)[1] == {"own.py", "read.py"}

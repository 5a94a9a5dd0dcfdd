"""What a task besides the plan is given of a large project, of which the archive holds a part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core.bundle import AttemptDir, BaseRef, Limits, ModelSettings, build_manifest, read_request
from core.events import EXISTING
from core.job import JobKey, Manifest
from core.plan import Plan, Task
from engine.delivery.merge import MergedFile
from engine.run.attempt_store import GivenBase
from engine.run.rundir import RunDir, RunFacts, create_run
from engine.verification.tree_store import TreeStore
from tests.engine.repository.repos import write_files

RUN = "20260101-000000-aaaa"
FILES = {
    name: f"{name}\n"
    for name in ("sent.py", "changed.py", "owned.py", "dir/below.py", "tests/test_x.py", "far.py")
}
REPAIR = Task(
    id="repair-1",
    instructions="Mend it.",
    owns=("owned.py", "dir/"),
    checks=("pytest -q tests/test_x.py::test",),
)


def prepared(place: Path, sent: set[str]) -> AttemptDir:
    """The request of a repair, of whose tree changed.py is no longer as it was."""
    run: RunDir = create_run(place / "work", RunFacts(RUN, "Build", "out", 0.0, {}, True))
    write_files(place, FILES)
    entries = [entry for entry in build_manifest(place).entries if entry.path in FILES]
    part, rest = (
        Manifest(tuple(e for e in entries if (e.path in sent) is is_sent))
        for is_sent in (True, False)
    )
    files = [MergedFile(e.path, EXISTING, place / e.path, e) for e in entries]
    (place / "changed.py").write_text("new\n")
    [new] = [e for e in build_manifest(place).entries if e.path == "changed.py"]
    tree = [replace(f, owner="t", entry=new) if f.path == new.path else f for f in files]
    base = GivenBase(BaseRef("0" * 64, 1), part, rest)
    plan = Plan(tasks=(REPAIR,))
    store = TreeStore(run, plan, "Build", ModelSettings(), Limits(), tree, REPAIR, base=base)
    store.prepare(REPAIR, JobKey(RUN, REPAIR.id, 1), "", {})
    return run.attempt(JobKey(RUN, REPAIR.id, 1))


def test_a_repair_gets_what_was_changed_what_it_owns_and_what_it_names(tmp_path: Path) -> None:
    attempt = prepared(tmp_path, {"sent.py"})
    given = {entry.path for entry in build_manifest(attempt.inputs).entries}
    assert given == {"changed.py", "owned.py", "tests/test_x.py"}
    assert read_request(attempt).deleted == ()


def test_of_a_base_that_was_sent_whole_only_what_was_changed(tmp_path: Path) -> None:
    attempt = prepared(tmp_path, set(FILES))
    assert {entry.path for entry in build_manifest(attempt.inputs).entries} == {"changed.py"}

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.bundle import (
    Allowance,
    AttemptDir,
    BaseRef,
    Limits,
    ModelSettings,
    build_manifest,
    claim,
    read_request,
    write_result,
)
from core.errors import InputsDamaged
from core.job import JobKey, Manifest, ManifestEntry, Outcome, TaskResult
from core.plan import Plan
from engine.run.attempt_store import DiskStore, GivenBase, verify_results, write_contracts
from engine.run.rundir import RunDir, RunFacts, create_run
from tests.fakes.plans import make_plan

RUN = "r1"
PLAN = make_plan(
    {"a": (), "b": ("a",), "other": (), "c": ("b",)},
    contracts={"api/types.py": "X = 1\r\n", "schema.json": "{}"},
)
MODEL = ModelSettings(model="m")
LIMITS = Limits(timeout_s=77.0)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    made = create_run(tmp_path, RunFacts(RUN, "prompt", "out", 0.0, {}, simulated=True))
    write_contracts(made, PLAN.contracts)
    return made


@pytest.fixture
def store(run: RunDir) -> DiskStore:
    return make_store(run)


def make_store(run: RunDir, plan: Plan = PLAN) -> DiskStore:
    return DiskStore(run, plan, "the prompt", MODEL, LIMITS)


def finish(run: RunDir, task: str, attempt: int = 1, mode: int = 0o644) -> TaskResult:
    """A result of `task` with two files, as a worker leaves it."""
    key = JobKey(RUN, task, attempt)
    here = run.attempt(key)
    (here.files / task / "deep").mkdir(parents=True)
    (here.files / task / "deep" / "x.txt").write_text(f"{task} {attempt}")
    (here.files / task / "run.sh").write_text("#!/bin/sh\n")
    (here.files / task / "run.sh").chmod(mode)
    result = TaskResult(key, Outcome.OK, "done", manifest=build_manifest(here.files))
    write_result(here, result)
    return result


def inputs(run: RunDir, task: str, attempt: int = 1) -> dict[str, str]:
    root = run.attempt(JobKey(RUN, task, attempt)).inputs
    return {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*") if p.is_file()}


# -- contracts


def test_contracts_are_laid_down_byte_by_byte(run: RunDir) -> None:
    assert (run.contracts / "api" / "types.py").read_bytes() == b"X = 1\r\n"
    assert build_manifest(run.contracts).paths == ("api/types.py", "schema.json")


def test_contracts_may_be_laid_down_again(run: RunDir) -> None:
    (run.contracts / "schema.json").write_text("changed")
    write_contracts(run, PLAN.contracts)
    assert (run.contracts / "schema.json").read_text() == "{}"


def test_a_plan_without_contracts_has_an_empty_directory_of_them(tmp_path: Path) -> None:
    run = create_run(tmp_path, RunFacts(RUN, "p", "out", 0.0, {}, simulated=True))
    plan = make_plan({"a": ()})
    write_contracts(run, plan.contracts)
    make_store(run, plan).prepare(plan.tasks[0], JobKey(RUN, "a", 1), "", {})
    assert inputs(run, "a") == {}


def test_a_task_is_given_the_contracts_that_it_uses_and_those_that_its_inputs_build_upon(
    tmp_path: Path,
) -> None:
    run = create_run(tmp_path, RunFacts(RUN, "p", "out", 0.0, {}, simulated=True))
    contents = {"all.py": "A = 1", "one.py": "B = 2", "two.py": "C = 3", "none.py": "D = 4"}
    plan = make_plan(
        {"a": (), "b": ("a",), "c": ("b",), "other": ()},
        contracts=contents,
        uses={
            "a": ("one.py", "all.py"),
            "b": ("all.py",),
            "c": ("all.py", "two.py"),
            "other": ("two.py", "all.py"),
        },
    )
    store, given = make_store(run, plan), {}
    for task in plan.tasks:
        key = JobKey(RUN, task.id, 1)
        finish(run, task.id)
        store.prepare(task, key, "", {"a": 1, "b": 1})
        found = read_request(run.attempt(key)).contracts
        given[task.id] = [(file.path, file.is_used) for file in found]
        for file in found:
            content = inputs(run, task.id)[file.path]
            assert content == contents[file.path]
            assert file.sha256 == hashlib.sha256(content.encode()).hexdigest()
            assert (file.is_common, file.purpose) == (file.path == "all.py", "Shared.")
        assert set(contents) & set(inputs(run, task.id)) == {file.path for file in found}
    assert given == {
        "a": [("all.py", True), ("one.py", True)],
        "b": [("all.py", True), ("one.py", False)],
        "c": [("all.py", True), ("one.py", False), ("two.py", True)],
        "other": [("all.py", True), ("two.py", True)],
    }


def test_contracts_are_those_of_the_plan_whatever_became_of_the_files(run: RunDir) -> None:
    (run.contracts / "schema.json").write_text("changed")
    (run.contracts / "api" / "types.py").unlink()
    make_store(run).prepare(PLAN.task("a"), JobKey(RUN, "a", 1), "", {})
    assert inputs(run, "a") == {"api/types.py": "X = 1\n", "schema.json": "{}"}


# -- requests


def test_a_request_holds_all_that_a_worker_needs(run: RunDir, store: DiskStore) -> None:
    key = JobKey(RUN, "a", 2)
    job = store.prepare(PLAN.task("a"), key, "It broke.", {})
    assert (job.key, job.timeout_s) == (key, 77.0)
    assert job.attempt_dir == run.attempt(key).root
    request = read_request(run.attempt(key))
    assert (request.key, request.prompt, request.previous_failure) == (
        key,
        "the prompt",
        "It broke.",
    )
    assert request.task == PLAN.task("a")
    assert request.model == MODEL
    assert request.limits == LIMITS
    assert [c.path for c in request.contracts] == ["api/types.py", "schema.json"]
    assert "- other: Other" in request.brief
    assert inputs(run, "a", 2) == {"api/types.py": "X = 1\n", "schema.json": "{}"}


def test_the_inputs_hold_the_files_of_all_ancestors_and_of_nobody_else(
    run: RunDir, store: DiskStore
) -> None:
    for task, attempt in (("a", 1), ("a", 2), ("b", 1), ("other", 1)):
        finish(run, task, attempt)
    store.prepare(PLAN.task("c"), JobKey(RUN, "c", 1), "", {"a": 2, "b": 1, "other": 1})
    found = inputs(run, "c")
    assert sorted(found) == [
        "a/deep/x.txt",
        "a/run.sh",
        "api/types.py",
        "b/deep/x.txt",
        "b/run.sh",
        "schema.json",
    ]
    assert found["a/deep/x.txt"] == "a 2"


def test_inputs_are_copies_that_keep_their_mode(run: RunDir, store: DiskStore) -> None:
    finish(run, "a", mode=0o755)
    store.prepare(PLAN.task("b"), JobKey(RUN, "b", 1), "", {"a": 1})
    copy = run.attempt(JobKey(RUN, "b", 1)).inputs / "a" / "run.sh"
    assert copy.stat().st_mode & 0o777 == 0o755
    assert copy.stat().st_nlink == 1
    copy.write_text("changed in place")
    original = run.attempt(JobKey(RUN, "a", 1)).files / "a" / "run.sh"
    assert original.read_text() == "#!/bin/sh\n"


def test_what_a_diamond_shares_is_copied_once_and_a_long_chain_is_no_recursion(
    tmp_path: Path,
) -> None:
    chain = {f"n{i}": (f"n{i - 1}",) if i else () for i in range(2000)}
    plan = make_plan({**chain, "left": ("n1999",), "right": ("n1999",), "end": ("left", "right")})
    run = create_run(tmp_path, RunFacts(RUN, "p", "out", 0.0, {}, simulated=True))
    write_contracts(run, plan.contracts)
    for task in plan.tasks:
        key = JobKey(RUN, task.id, 1)
        run.attempt(key).root.mkdir(parents=True)
        write_result(run.attempt(key), TaskResult(key, Outcome.OK))
    for task_id in ("n0", "right"):
        finish(run, task_id)
    make_store(run, plan).prepare(
        plan.task("end"), JobKey(RUN, "end", 1), "", {t.id: 1 for t in plan.tasks}
    )
    expected = ["n0/deep/x.txt", "n0/run.sh", "right/deep/x.txt", "right/run.sh"]
    assert sorted(inputs(run, "end")) == expected


def test_a_link_in_a_result_is_left_out(run: RunDir, store: DiskStore, tmp_path: Path) -> None:
    finish(run, "a")
    (tmp_path / "secret").write_text("secret")
    files = run.attempt(JobKey(RUN, "a", 1)).files
    (files / "link").symlink_to(tmp_path / "secret")
    (files / "tree").symlink_to(tmp_path)
    store.prepare(PLAN.task("b"), JobKey(RUN, "b", 1), "", {"a": 1})
    there = run.attempt(JobKey(RUN, "b", 1)).inputs
    assert sorted(os.listdir(there)) == ["a", "api", "schema.json"]


def test_preparing_a_claimed_attempt_again_changes_nothing(run: RunDir, store: DiskStore) -> None:
    key = JobKey(RUN, "b", 1)
    finish(run, "a", 1)
    finish(run, "a", 2)
    job = store.prepare(PLAN.task("b"), key, "first", {"a": 1})
    before = inputs(run, "b"), run.attempt(key).task_json.read_bytes()
    assert claim(run.attempt(key), "a worker")
    assert store.prepare(PLAN.task("b"), key, "second", {"a": 2}) == job
    assert (inputs(run, "b"), run.attempt(key).task_json.read_bytes()) == before


def test_a_request_cut_by_a_crash_is_made_anew(run: RunDir, store: DiskStore) -> None:
    attempt = run.attempt(JobKey(RUN, "b", 1))
    attempt.inputs.mkdir(parents=True)
    (attempt.inputs / "half").write_text("of a file")
    (attempt.request / ".task.json.tmp").write_text("{")
    finish(run, "a")
    store.prepare(PLAN.task("b"), JobKey(RUN, "b", 1), "", {"a": 1})
    assert "half" not in inputs(run, "b")
    assert sorted(os.listdir(attempt.request)) == ["inputs", "task.json"]


def test_results_go_below_the_runs_tasks(run: RunDir, store: DiskStore) -> None:
    assert store.destination == run.tasks


# -- what was spent


def test_what_an_attempt_spent_is_read_from_its_events(run: RunDir, store: DiskStore) -> None:
    key = JobKey(RUN, "a", 1)
    attempt = run.attempt(key)
    attempt.result.mkdir(parents=True)
    usage = {"provider": "anthropic", "model": "m", "output_tokens": 5}
    lines = [
        json.dumps({"kind": "progress", "usage": usage}),
        json.dumps({"kind": "progress", "text": "no usage"}),
        json.dumps({"usage": {"provider": 3}}),
        "not json",
        "[]",
        "[" * 100_000,
        "\ufffd",
        json.dumps({"usage": usage}),
        json.dumps({"usage": usage})[:-5],
    ]
    attempt.events.write_text("\n".join(lines))
    assert [u.output_tokens for u in store.spent(key)] == [5, 5]


def test_an_attempt_without_readable_events_spent_nothing_that_is_known(
    run: RunDir, store: DiskStore
) -> None:
    key = JobKey(RUN, "a", 1)
    assert store.spent(key) == ()
    run.attempt(key).events.mkdir(parents=True)
    assert store.spent(key) == ()


# -- proof


def test_results_that_are_whole_are_verified(run: RunDir) -> None:
    result = finish(run, "a", 2)
    found = verify_results(run, {"a": 2})
    assert found.results == {"a": result}
    assert found.damaged == {}


DAMAGES = ("changed", "added", "removed", "no result", "other attempt", "no success")


def damage_result(here: AttemptDir, damage: str) -> None:
    if damage == "changed":
        (here.files / "a" / "run.sh").write_text("#!/bin/sg\n")
    elif damage == "added":
        (here.files / "a" / "more").write_text("")
    elif damage == "removed":
        (here.files / "a" / "run.sh").unlink()
    elif damage == "no result":
        here.result_json.unlink()
    elif damage == "no success":
        shutil.rmtree(here.files)
        write_result(here, TaskResult(JobKey(RUN, "a", 1), Outcome.INTERRUPTED))
    else:
        write_result(here, TaskResult(JobKey(RUN, "a", 2), Outcome.OK))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_result_that_is_not_as_its_manifest_says_is_found(run: RunDir, damage: str) -> None:
    finish(run, "a")
    finish(run, "b")
    here = run.attempt(JobKey(RUN, "a", 1))
    damage_result(here, damage)
    found = verify_results(run, {"a": 1, "b": 1})
    assert list(found.results) == ["b"]
    assert list(found.damaged) == ["a"]
    assert str(here.root) in found.damaged["a"]


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d != "added"])
def test_nobody_works_on_a_result_that_was_damaged(
    run: RunDir, store: DiskStore, damage: str
) -> None:
    finish(run, "a")
    damage_result(run.attempt(JobKey(RUN, "a", 1)), damage)
    with pytest.raises(InputsDamaged, match="The result of 'a' was damaged after the task ended: "):
        store.prepare(PLAN.task("b"), JobKey(RUN, "b", 1), "", {"a": 1})


# -- what an attempt may spend


def test_an_attempt_is_told_what_it_may_spend(run: RunDir, store: DiskStore) -> None:
    key = JobKey(RUN, "a", 1)
    store.prepare(PLAN.task("a"), key, "", {}, Allowance(500, 0.1))
    assert read_request(run.attempt(key)).allowance == Allowance(500, 0.1)


def test_a_job_that_never_went_out_is_told_what_was_asked_for_since(
    run: RunDir, store: DiskStore
) -> None:
    key = JobKey(RUN, "a", 1)
    store.prepare(PLAN.task("a"), key, "why", {})
    before = read_request(run.attempt(key))
    store.prepare(PLAN.task("a"), key, "this", {}, Allowance(500))
    told = replace(before, allowance=Allowance(500), previous_failure="this")
    assert read_request(run.attempt(key)) == told


# -- existing code


def test_what_ancestors_deleted_is_told_unless_one_after_them_wrote_it(run: RunDir) -> None:
    base = GivenBase(BaseRef("0" * 64, 1), Manifest())
    store = DiskStore(run, PLAN, "p", MODEL, LIMITS, base=base)
    first = finish(run, "a")
    write_result(run.attempt(first.key), replace(first, deleted=("gone.py", "b/run.sh")))
    finish(run, "b")
    job = store.prepare(PLAN.task("c"), JobKey(RUN, "c", 1), "", {"a": 1, "b": 1})
    request = read_request(AttemptDir(job.attempt_dir))
    assert (request.base, request.deleted) == (base.ref, ("gone.py",))
    assert "b/run.sh" in inputs(run, "c")


def test_a_contract_that_replaces_an_existing_file_is_given_to_every_task(run: RunDir) -> None:
    plan = make_plan(
        {"a": (), "b": ()},
        contracts={"there.py": "X = 2", "new.py": "Y = 1"},
        uses={"a": (), "b": ("there.py", "new.py")},
    )
    there = Manifest((ManifestEntry("there.py", 5, "0" * 64, 0o644),))
    base = GivenBase(BaseRef("0" * 64, 1), there)
    store = DiskStore(run, plan, "p", MODEL, LIMITS, base=base)
    store.prepare(plan.task("a"), JobKey(RUN, "a", 1), "", {})
    [contract] = read_request(run.attempt(JobKey(RUN, "a", 1))).contracts
    assert (contract.path, contract.is_used) == ("there.py", False)
    assert inputs(run, "a") == {"there.py": "X = 2"}

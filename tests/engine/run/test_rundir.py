from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import BundleError, RunLocked, RunNotFound, TargetRefused, UsageError
from core.job import JobKey
from core.paths import path_defect
from engine.run.rundir import (
    RunDir,
    RunFacts,
    create_run,
    find_run,
    is_locked,
    locked,
    new_run_id,
    reserved,
    runs_in,
    slug,
)
from tests.engine.repository.repos import Killed

ROOT = Path(__file__).parents[3]


def make_run(work_dir: Path, run_id: str) -> RunDir:
    return create_run(work_dir, facts(run_id))


def facts(run_id: str) -> RunFacts:
    return RunFacts(run_id, "Build é", "out", 1.5, {"max_executors": 3}, simulated=True)


# -- names


def test_run_ids_sort_by_time_and_differ_within_a_second() -> None:
    ids = [new_run_id(at) for at in (0, 0.002, 0.9, 1, 60, 3600, 86_400, 1_800_000_000)]
    assert ids == sorted(ids)
    assert ids[0].startswith("19700101-000000-")
    assert len({new_run_id(0) for _ in range(50)}) > 45
    assert all(path_defect(name) is None for name in ids)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Build a todo list app", "build-a-todo-list-app"),
        ("../../etc/passwd; rm -rf / $(reboot)\n`x`", "etc-passwd-rm-rf-reboot-x"),
        ("", "project"),
        ("日本語 Привет", "project"),
        ("a" * 50 + " b", "a" * 40),
        ("a" * 40 + " b", "a" * 40),
        ("a" * 39 + " b", "a" * 39),
        ("--help", "help"),
        ("one two " * 20, "one-two-one-two-one-two-one-two-one-two"),
    ],
)
def test_a_slug_is_made_of_the_prompts_words(prompt: str, name: str) -> None:
    assert slug(prompt) == name


@given(st.text(), st.integers(1, 60))
def test_any_prompt_gives_a_short_plain_slug(prompt: str, limit: int) -> None:
    name = slug(prompt, limit)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert len(name) <= max(limit, len("project"))


def test_every_file_of_a_run_lies_below_its_directory(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "runs" / "r1")
    named = [run.facts, run.plan, run.journal, run.lock, run.delivered, run.contracts, run.tasks]
    assert all(path.parent == run.root for path in named)
    assert len(set(named)) == len(named)
    assert run.attempt(JobKey("r1", "ui", 2)).root == run.tasks / "ui" / "2"


# -- making and finding


def test_a_run_is_made_with_its_facts_and_hidden_from_git(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r1")
    assert run.read_facts() == facts("r1")
    assert run.tasks.is_dir()
    assert (tmp_path / "runs" / ".gitignore").read_text() == "*\n"


def test_a_run_is_there_with_all_that_it_was_given_or_not_at_all(tmp_path: Path) -> None:
    def killed(run: RunDir) -> None:
        run.plan.write_text("{}")
        raise Killed

    with pytest.raises(Killed):
        create_run(tmp_path, facts("r1"), killed)
    assert runs_in(tmp_path) == []


def test_facts_of_another_format_are_refused_with_what_to_do(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r1")
    run.facts.write_text(run.facts.read_text().replace('"version":1', '"version":2'))
    with pytest.raises(BundleError, match=r"run\.json has run format 2; this version reads 1"):
        run.read_facts()


def test_only_the_runs_are_hidden_from_git_and_a_mark_of_the_users_is_kept(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".gitignore").write_text("mine")
    make_run(tmp_path, "r1")
    assert not (tmp_path / ".gitignore").exists()
    assert (tmp_path / "runs" / ".gitignore").read_text() == "mine"


def test_a_run_is_not_made_over_another(tmp_path: Path) -> None:
    make_run(tmp_path, "r1")
    with pytest.raises(UsageError, match="File exists"):
        make_run(tmp_path, "r1")


def test_damaged_facts_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r1")
    run.facts.write_text("{")
    with pytest.raises(BundleError, match=r"r1/run\.json is damaged"):
        run.read_facts()


def test_runs_are_listed_oldest_first_and_debris_is_left_out(tmp_path: Path) -> None:
    for name in ("20260102-000000-bbbb", "20260101-000000-aaaa", "20260103-000000-cccc"):
        make_run(tmp_path, name)
    (tmp_path / "runs" / "half-made").mkdir()
    (tmp_path / "runs" / "file").write_text("")
    assert [run.run_id[-4:] for run in runs_in(tmp_path)] == ["aaaa", "bbbb", "cccc"]
    assert runs_in(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("20260101-000000-aaaa", "20260101-000000-aaaa"),
        ("20260102", "20260102-000000-abcd"),
        ("aaaa", "20260101-000000-aaaa"),
        ("last", "20260103-000000-aabc"),
        ("20260103-000000-aabc", "20260103-000000-aabc"),
    ],
)
def test_a_run_is_found_by_its_id_its_beginning_its_end_or_as_the_last(
    tmp_path: Path, name: str, found: str
) -> None:
    for run_id in ("20260101-000000-aaaa", "20260102-000000-abcd", "20260103-000000-aabc"):
        make_run(tmp_path, run_id)
    assert find_run(tmp_path, name).run_id == found


def test_a_whole_id_beats_another_run_that_begins_with_it(tmp_path: Path) -> None:
    make_run(tmp_path, "r1")
    make_run(tmp_path, "r1-more")
    assert find_run(tmp_path, "r1").run_id == "r1"


@pytest.mark.parametrize("name", ["", "zzz", "../r1", "/", "*", "r1/", "2026", "c"])
def test_a_name_that_means_no_run_or_several_is_an_error_that_lists_what_there_is(
    tmp_path: Path, name: str
) -> None:
    for run_id in ("20260101-000000-abcc", "20260102-000000-aabc"):
        make_run(tmp_path, run_id)
    with pytest.raises(RunNotFound) as caught:
        find_run(tmp_path, name)
    assert repr(name) in caught.value.message
    assert "20260102-000000-aabc" in caught.value.remedy


@pytest.mark.parametrize("name", ["last", "r1"])
def test_where_there_are_no_runs_that_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunNotFound, match="No runs were found"):
        find_run(tmp_path, name)


# -- the lock

HOLD = """
import sys
from pathlib import Path
from engine.run.rundir import RunDir, locked
with locked(RunDir(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_elsewhere(run: RunDir) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run until its standard input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_run_held_by_another_process_is_refused_and_that_process_named(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r1")
    with held_elsewhere(run) as other:
        assert is_locked(run)
        named = f"r1 is being worked on by process {other.pid} on "
        with pytest.raises(RunLocked, match=named), locked(run):
            pass
    assert not is_locked(run)
    with locked(run):
        assert is_locked(run)
        assert other.pid != int(run.lock.read_text().split()[1])


def test_a_lock_is_let_go_when_its_work_fails(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r1")
    with pytest.raises(LookupError), locked(run):
        raise LookupError
    with locked(run):
        assert run.lock.read_text().count("process") == 1


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Lustre has them only where it is mounted so, NFS only with its lock daemon."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    run = make_run(tmp_path, "r1")
    monkeypatch.setattr("engine.run.rundir.fcntl.flock", refuse)
    with pytest.raises(UsageError, match="no file locks") as caught, locked(run):
        raise AssertionError("nobody may work on a run that cannot be held")
    assert "--work-dir" in caught.value.remedy


def test_a_lock_whose_holder_has_not_yet_named_itself_is_still_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r1")
    with locked(run):
        run.lock.write_text("")
        with pytest.raises(RunLocked, match="another process"), locked(run):
            pass


def test_asking_whether_a_run_is_locked_makes_no_file(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r1")
    assert not is_locked(run)
    assert not run.lock.exists()


def test_a_target_belongs_to_one_run_at_a_time_and_nothing_is_left_beside_it(
    tmp_path: Path,
) -> None:
    target = tmp_path / "made" / "for it" / "out"
    with reserved(target, "r1"):
        with (
            pytest.raises(TargetRefused, match="is that of the run r1, which is at work"),
            reserved(target, "r2"),
        ):
            pass
        with reserved(target.with_name("é" * 120), "r3"):
            pass
        target.mkdir()
    assert os.listdir(target.parent) == ["out"]
    with reserved(tmp_path / "new" / "out", "r2"):
        pass
    assert os.listdir(tmp_path) == ["made"]

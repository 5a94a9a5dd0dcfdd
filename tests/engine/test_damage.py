"""Exit code 0 means that everything planned is in the target, whatever happens to files on the way
there: a task runs again, or the run ends with an error that names what is wrong."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import core.bundle
import engine.run.rundir
import engine.run.session
import engine.scheduling.calls
from backends import aws_batch_backend
from backends.aws_batch_backend import AwsBatchBackend
from backends.base import PollPace
from backends.shared import results
from backends.threading_backend import ThreadingBackend
from core.bundle import AttemptDir, write_result
from core.clock import Clock, SystemClock
from core.errors import BundleError, Interrupted, MergeError, RunRemoved, StorageError
from core.events import Event, Kind, Notice, RunEnded
from core.job import JobKey, Outcome, Reason, TaskResult
from core.wire import write_atomic
from engine.delivery.target import Disk
from engine.run.journal import Journal
from engine.run.run_view import replay
from engine.run.session import REMOVED
from engine.scheduling.retry_policy import RULES, Rule
from engine.views.summary import is_resumable, render_end
from tests.fakes.aws import FakeAws
from tests.fakes.batch_run import backend_on, site_of
from tests.fakes.sabotage import (
    DAMAGE,
    EXPECTED,
    FAULTS,
    FULL,
    RUN,
    At,
    SabotagedRun,
    change_file,
    cut_manifest,
    os_error,
    remove_files,
    work,
)

Damage = Callable[[AttemptDir], None]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SabotagedRun:
    for reason in (Reason.EXIT, Reason.LAUNCH):
        monkeypatch.setitem(RULES, reason, Rule(base_s=0.0))
    return SabotagedRun(tmp_path)


def notices(run: SabotagedRun) -> str:
    return "\n".join(e.data.text for e in run.heard.events if isinstance(e.data, Notice))


def ended(run: SabotagedRun) -> RunEnded:
    [last] = [e.data for e in run.heard.events if isinstance(e.data, RunEnded)][-1:]
    return last


def begun(run: SabotagedRun) -> list[tuple[str, int]]:
    return [(e.task, e.attempt) for e in run.heard.events if e.kind is Kind.JOB_INTENDED]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_result_damaged_before_it_is_fetched_is_made_again(
    run: SabotagedRun, damage: Damage
) -> None:
    run.worker_left = lambda attempt: damage(attempt) if attempt.root.match("a/1") else None
    assert run() == 0
    assert run.delivered() == EXPECTED
    assert ("a", 2) in begun(run)


STEPS = [(Kind.JOB_ENDED, "a"), (Kind.JOB_SUBMITTED, "b"), (Kind.TASK_ENDED, "c")]


@pytest.mark.parametrize(("kind", "task"), STEPS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_result_damaged_while_the_run_goes_on_is_made_again(
    run: SabotagedRun, damage: Damage, kind: Kind, task: str
) -> None:
    assert run(At(kind, lambda: damage(run.attempt("a")), task)) == 0
    assert run.delivered() == EXPECTED
    assert begun(run).count(("a", 2)) == 1
    assert "task a runs again, since its result was damaged: " in notices(run)


def test_a_result_that_is_damaged_again_and_again_ends_the_run_with_its_name(
    run: SabotagedRun,
) -> None:
    number = count(1)

    with pytest.raises(BundleError, match=r"Nothing was delivered.* d: .*/d/3/result/files "):
        run(At(Kind.TASK_ENDED, lambda: change_file(run.attempt("d", next(number))), "d", 3))
    assert (run.delivered(), ended(run).exit_code) == ({}, 1)
    assert is_resumable(replay(RUN, run.heard.events))
    assert run() == 0
    assert run.delivered() == EXPECTED


@pytest.mark.parametrize("outcome", [Outcome.AUTH, Outcome.DEFECT])
def test_a_task_that_failed_or_stopped_the_run_does_not_run_again_for_anothers_damage(
    run: SabotagedRun, outcome: Outcome
) -> None:
    def fail(attempt: AttemptDir) -> None:
        if attempt.root.parent.name == "c":
            remove_files(attempt)
            key = JobKey(RUN, "c", int(attempt.root.name))
            write_result(attempt, TaskResult(key, outcome, "No."))

    run.worker_left, run.retries = fail, 2
    with pytest.raises(BundleError, match="Nothing was delivered"):
        run(At(Kind.JOB_ENDED, lambda: change_file(run.attempt("a")), "c"))
    assert ("a", 2) not in begun(run)
    assert len([task for task, _ in begun(run) if task == "c"]) == (outcome is Outcome.DEFECT) + 1
    run.worker_left = lambda _: None
    assert run() == 0
    assert run.delivered() == EXPECTED


def remove(path: Path) -> None:
    shutil.rmtree(path)


def change(path: Path) -> None:
    (path / "api.py").write_text("X = 2\n")


@pytest.mark.parametrize("damage", [remove, change])
def test_contracts_are_delivered_as_they_were_planned(
    run: SabotagedRun, damage: Callable[[Path], None]
) -> None:
    assert run(At(Kind.TASK_ENDED, lambda: damage(run.dir.contracts), "a")) == 0
    assert run.delivered() == EXPECTED


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_while_it_is_delivered_ends_the_run_with_its_name(
    run: SabotagedRun, damage: Damage
) -> None:
    sink = At(Kind.MERGE_INTENDED, lambda: damage(run.attempt("d")))
    if damage is cut_manifest:  # it was read before
        assert run(sink) == 0
        return
    with pytest.raises(MergeError, match=r"d/out.txt of d changed after its task ended"):
        run(sink)
    assert (run.delivered(), ended(run).exit_code) == ({}, 1)
    assert run() == 0
    assert run.delivered() == EXPECTED


# -- what cannot be written


class FaultyJournal(Journal):
    """`fault`, unless it is None, is raised in place of the first event of this kind."""

    kind = Kind.RUN_STARTED
    fault: OSError | None = None

    def emit(self, event: Event) -> None:
        if event.kind is self.kind and (fault := type(self).fault):
            type(self).fault = None
            raise fault
        super().emit(event)


KINDS = (
    *(Kind.PLAN_READY, Kind.FORECAST, Kind.JOB_INTENDED, Kind.JOB_SUBMITTED, Kind.JOB_ENDED),
    *(Kind.TASK_ENDED, Kind.MERGE_INTENDED, Kind.DELIVERED),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_journal_that_takes_no_more_ends_the_run_which_can_go_on(
    run: SabotagedRun, monkeypatch: pytest.MonkeyPatch, kind: Kind, fault: str
) -> None:
    monkeypatch.setattr(engine.run.session, "Journal", FaultyJournal)
    monkeypatch.setattr(FaultyJournal, "kind", kind)
    monkeypatch.setattr(FaultyJournal, "fault", os_error(FAULTS[fault], run.dir.journal))
    with pytest.raises(StorageError, match=r"The work directory cannot be used: .*journal"):
        run()
    assert run.delivered() in ({}, EXPECTED)
    assert run() == 0
    assert run.delivered() == EXPECTED


class FaultyWrites:
    """In place of `write_atomic` in a module of ours: the first writes of files of this name
    fail."""

    def __init__(self, name: str, times: int, number: int) -> None:
        self.name, self.left, self.number = name, times, number

    def __call__(self, path: Path, *args: Any, **more: Any) -> None:
        if path.name == self.name and self.left:
            self.left -= 1
            raise os_error(self.number, path)
        write_atomic(path, *args, **more)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("module", "name", "error"),
    [
        (engine.run.rundir, "delivered.json", StorageError),
        (core.bundle, "task.json", StorageError),
        (core.bundle, "result.json", None),
    ],
)
def test_a_file_that_cannot_be_written_once_leaves_nothing_out(
    run: SabotagedRun,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    error: type[Exception] | None,
    fault: str,
) -> None:
    monkeypatch.setattr(module, "write_atomic", FaultyWrites(name, 1, FAULTS[fault]))
    if error is not None:
        with pytest.raises(error, match=name):
            run()
        assert run.delivered() == {}
    assert run() == 0
    assert run.delivered() == EXPECTED


def test_a_task_whose_result_can_never_be_written_has_failed(
    run: SabotagedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core.bundle, "write_atomic", FaultyWrites("result.json", 99, FULL))
    assert run() == 1
    assert run.delivered() == {}


@pytest.mark.parametrize("step", ["make_directory", "copy", "sync", "rename"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_target_that_cannot_be_written_is_left_alone_and_named(
    run: SabotagedRun, monkeypatch: pytest.MonkeyPatch, step: str, fault: str
) -> None:
    with monkeypatch.context() as patch:

        def fail(*_: object) -> None:
            raise os_error(FAULTS[fault], run.target)

        patch.setattr(Disk, step, fail)
        with pytest.raises(MergeError, match=f"{run.target} could not be delivered: "):
            run()
    assert run.delivered() == {}
    assert run() == 0
    assert run.delivered() == EXPECTED


# -- the whole run directory


def remove_all(path: Path) -> None:
    """As often as it takes: workers go on writing there meanwhile."""
    while path.exists():
        shutil.rmtree(path, ignore_errors=True)


def removed(run: SabotagedRun) -> None:
    remove_all(run.dir.root)


def moved(run: SabotagedRun) -> None:
    run.dir.root.rename(run.place / "elsewhere")


def work_removed(run: SabotagedRun) -> None:
    remove_all(run.place / "work")


def journal_removed(run: SabotagedRun) -> None:
    run.dir.journal.unlink()


GONE = (removed, moved, work_removed, journal_removed)
AFTER = (Kind.PLAN_READY, Kind.JOB_SUBMITTED, Kind.TASK_ENDED, Kind.MERGE_INTENDED)


@pytest.mark.parametrize("kind", AFTER)
@pytest.mark.parametrize("gone", GONE)
def test_a_run_whose_directory_is_gone_stops_at_once_and_offers_no_resume(
    run: SabotagedRun, gone: Callable[[SabotagedRun], None], kind: Kind
) -> None:
    before: list[tuple[str, int]] = []

    def act() -> None:
        before.extend(begun(run))
        gone(run)

    with pytest.raises(RunRemoved, match=f"{run.dir.root} was removed or moved"):
        run(At(kind, act))
    assert begun(run) == before
    assert run.delivered() in ({}, EXPECTED if kind is Kind.MERGE_INTENDED else {})
    assert (ended(run).exit_code, ended(run).outcome) == (1, REMOVED)
    run_view = replay(RUN, run.heard.events)
    assert not is_resumable(run_view)
    assert f" {RUN}" not in render_end(run_view, quiet=False).partition("\n  ")[2]
    assert run.dir.root.exists() == (gone is journal_removed)


def test_what_runs_is_stopped_when_its_run_is_gone_though_nothing_is_heard(
    run: SabotagedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.scheduling.calls, "LONGEST_WAIT_S", 0.01)
    stopped: list[str] = []
    both = threading.Barrier(2, action=lambda: removed(run))

    def wait(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        both.wait(10)
        try:
            clock.sleep(60)
        except Interrupted:
            stopped.append(attempt.root.parent.name)
            raise

    run.make_backend = lambda directory, _: ThreadingBackend(directory.root, wait)
    with pytest.raises(RunRemoved):
        run()
    assert sorted(stopped) == ["a", "d"]
    assert not run.dir.root.exists()


# -- results in a bucket


def pull(_: bytes) -> None:
    return None


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:-20] + bytes(b ^ 255 for b in content[-20:])


@pytest.fixture
def aws(run: SabotagedRun, monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    """Where the run's jobs are, which does not wait for what may still come."""
    monkeypatch.setattr(AwsBatchBackend, "pace", PollPace(0.01, 0.02))
    monkeypatch.setattr(AwsBatchBackend, "grace_s", 0.0)
    aws = FakeAws(work)
    run.make_backend = lambda directory, _: backend_on(aws, site_of(directory.root, SystemClock()))
    return aws


@pytest.mark.parametrize("damage", [pull, cut, flip])
def test_a_result_damaged_in_the_bucket_is_made_again(
    run: SabotagedRun, aws: FakeAws, damage: Callable[[bytes], bytes | None]
) -> None:

    def act() -> None:
        [name] = [name for name in aws.objects if name.endswith("results/a/1")]
        if (content := damage(aws.objects.pop(name))) is not None:
            aws.objects[name] = content

    assert run(At(Kind.JOB_SUBMITTED, act, "a")) == 0
    assert run.delivered() == EXPECTED
    assert ("a", 2) in begun(run)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_result_that_cannot_be_stored_here_stays_where_it_is_until_it_can(
    run: SabotagedRun, aws: FakeAws, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    install, left = results.install_result, [1]

    def fail_once(attempt: AttemptDir, fresh: Path) -> None:
        if left[0]:
            left[0] -= 1
            raise os_error(FAULTS[fault], fresh)
        install(attempt, fresh)

    monkeypatch.setattr(aws_batch_backend, "install_result", fail_once)
    assert run() == 0
    assert run.delivered() == EXPECTED
    assert {attempt for _, attempt in begun(run)} == {1}
    assert "could not be stored" in notices(run)

"""The conformance suite on threads, and what only this backend has to get right."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backends.base import Backend, LogChunk, Worker
from backends.shared.results import read_lines
from backends.threading_backend import ThreadingBackend
from core.bundle import AttemptDir, SimulationSettings, claim, write_result
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.errors import CollectError, SubmitError
from core.events import Kind
from core.job import (
    Job,
    JobHandle,
    JobKey,
    JobState,
    JobStatus,
    Outcome,
    Reason,
    TaskResult,
    TaskState,
)
from engine.run.rundir import RunDir
from parallel_task_orchestrator.conformance.live_run import LiveRun, eventually
from parallel_task_orchestrator.conformance.promises import DurableJobs, ReachableResults
from parallel_task_orchestrator.conformance.suite import BackendConformance
from tests.conformance.scheduled_run import design, merged_files, schedule
from tests.fakes.results import hand_in

T = TypeVar("T")

RUN = "20260101-120000-aaaa"
SECRET = "sk-ant-do-not-tell"


class TestThreading(BackendConformance, ReachableResults):
    backend = "threading"

    def test_an_interrupted_plan_is_resumed_and_ends_with_every_file(
        self, start_run: Callable[..., LiveRun]
    ) -> None:
        """Whole runs and resumed ones on the other backends are in tests/live."""
        plan, files = design()
        live = start_run("20260101-120000-ffff", plan)
        outcome, history = schedule(live, SimulationSettings(speed=20), stop_after=1)
        done = [task for task, state in outcome.states.items() if state is TaskState.SUCCEEDED]
        assert 1 <= len(done) < len(plan.tasks)
        live.backend.close()
        live.backend = live.another_backend()
        outcome, history = schedule(live, SimulationSettings(speed=0))
        assert set(outcome.states.values()) == {TaskState.SUCCEEDED}, outcome.messages
        assert [history.count((Kind.JOB_INTENDED, task)) for task in done] == [1] * len(done)
        assert merged_files(live.run, outcome) == files


class TestStayingThreads(DurableJobs):
    """The promise of durable jobs, shown on threads that know nothing of their backend's end."""

    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls, work: Worker) -> Callable[[RunDir], Backend]:
        jobs: dict[JobKey, Any] = {}
        return lambda run: _Staying(run.root, work, jobs)


class _Staying(ThreadingBackend):
    def __init__(self, run_dir: Path, work: Worker, jobs: dict[JobKey, Any]) -> None:
        super().__init__(run_dir, work)
        self._jobs = jobs

    def close(self) -> None:
        pass


Act = Callable[[AttemptDir, Clock], None]


class Desk:
    """A backend whose jobs do what `act` does, without a bundle."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self.act: Act = _succeed
        self.ran: list[JobKey] = []
        self.backend = self.another()

    def another(self) -> ThreadingBackend:
        credentials = Credentials(anthropic_api_key=SECRET)
        return ThreadingBackend(self.run_dir, self._work, credentials.mask)

    def _work(self, attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        if claim(attempt, claimant):
            self.ran.append(_key_of(attempt))
            self.act(attempt, clock)

    def job(self, task: str = "one", attempt: int = 1, run: str = RUN) -> Job:
        key = JobKey(run, task, attempt)
        root = self.run_dir / "tasks" / task / str(attempt)
        root.mkdir(parents=True, exist_ok=True)
        return Job(key, root, 60.0)

    def submit(self, job: Job | None = None) -> JobHandle:
        [handle] = self.backend.submit([job or self.job()])
        assert isinstance(handle, JobHandle)
        return handle

    def status(self, handle: JobHandle) -> JobStatus:
        return self.backend.poll([handle])[handle.key]

    def end(self, handle: JobHandle) -> JobStatus:
        def look() -> JobStatus | None:
            status = self.status(handle)
            return status if status.state.final else None

        return _eventually(look, "the job's end")

    def collect(self, handle: JobHandle, destination: Path) -> TaskResult | CollectError:
        return self.backend.collect([handle], destination)[handle.key]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / RUN)
    yield desk
    desk.backend.close()


def _eventually(look: Callable[[], T | None], what: str) -> T:
    return eventually(look, what, within_s=10.0, every_s=0.005, clock=SystemClock())


def _key_of(attempt: AttemptDir) -> JobKey:
    return JobKey(RUN, attempt.root.parent.name, int(attempt.root.name))


def _succeed(attempt: AttemptDir, clock: Clock) -> None:
    write_result(attempt, TaskResult(_key_of(attempt), Outcome.OK))


def _wait_for_stop(attempt: AttemptDir, clock: Clock) -> None:
    clock.sleep(3600)


def _expect(happened: bool) -> None:
    assert happened


def test_a_worker_that_leaves_no_result_has_failed(desk: Desk) -> None:
    desk.act = lambda attempt, clock: None
    status = desk.end(desk.submit())
    assert status == JobStatus(JobState.FAILED, Reason.EXIT, 1, "the worker left no result")


def test_a_worker_that_raises_has_failed_with_its_words(desk: Desk) -> None:
    def act(attempt: AttemptDir, clock: Clock) -> None:
        raise OSError("No space left on device")

    desk.act = act
    status = desk.end(desk.submit())
    expected = "OSError: No space left on device"
    assert status == JobStatus(JobState.FAILED, Reason.EXIT, 1, expected)


def test_a_worker_that_ends_by_exit_has_failed(desk: Desk) -> None:
    def act(attempt: AttemptDir, clock: Clock) -> None:
        raise SystemExit(3)

    desk.act = act
    status = desk.end(desk.submit())
    assert status == JobStatus(JobState.FAILED, Reason.EXIT, 1, "SystemExit: 3")


def test_a_secret_in_what_a_worker_raises_is_masked_also_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    def act(attempt: AttemptDir, clock: Clock) -> None:
        raise ValueError(f"bad header {SECRET}")

    desk.act = act
    with caplog.at_level(logging.DEBUG):
        status = desk.end(desk.submit())
    assert "bad header" in status.message
    assert "bad header" in caplog.text
    assert SECRET not in status.message + caplog.text


def test_a_cancelled_job_says_so_although_it_left_a_result(desk: Desk, tmp_path: Path) -> None:
    def act(attempt: AttemptDir, clock: Clock) -> None:
        try:
            clock.sleep(3600)
        finally:
            write_result(attempt, TaskResult(_key_of(attempt), Outcome.INTERRUPTED))

    desk.act = act
    handle = desk.submit()
    desk.backend.cancel([handle])
    assert desk.end(handle).state is JobState.CANCELLED
    result = desk.collect(handle, tmp_path)
    assert isinstance(result, TaskResult)
    assert result.outcome is Outcome.INTERRUPTED


def test_a_job_that_does_not_heed_cancel_goes_on_running(desk: Desk) -> None:
    go_on = threading.Event()
    desk.act = lambda attempt, clock: _expect(go_on.wait(10))
    handle = desk.submit()
    desk.backend.cancel([handle])
    assert desk.status(handle).state is JobState.RUNNING
    go_on.set()
    assert desk.end(handle).state is JobState.CANCELLED


@pytest.mark.parametrize("act", [_succeed, lambda attempt, clock: None])
def test_neither_cancel_nor_close_changes_an_end(desk: Desk, act: Act) -> None:
    desk.act = act
    handle = desk.submit()
    before = desk.end(handle)
    desk.backend.cancel([handle])
    desk.backend.close()
    assert desk.status(handle) == before
    assert before.state is not JobState.CANCELLED


def test_close_stops_what_runs(desk: Desk) -> None:
    desk.act = _wait_for_stop
    handle = desk.submit()
    desk.backend.close()
    assert desk.end(handle).state is JobState.CANCELLED


def test_start_and_end_of_a_job_wake_the_engine(desk: Desk) -> None:
    go_on, woken = threading.Event(), threading.Event()
    desk.act = lambda attempt, clock: _expect(go_on.wait(10))
    desk.backend.on_change(lambda *_: woken.set())
    handle = desk.submit()
    assert woken.is_set()
    assert desk.status(handle).state is JobState.RUNNING
    woken.clear()
    go_on.set()
    assert woken.wait(10)
    assert desk.status(handle).state.final, "the end is there to be polled when the wake comes"


def test_a_key_that_another_instance_runs_is_not_run_again(desk: Desk) -> None:
    desk.act = _wait_for_stop
    first = desk.submit()
    _eventually(lambda: desk.ran or None, "the first worker's claim")
    second = desk.another()
    [handle] = second.submit([desk.job()])
    assert isinstance(handle, JobHandle)

    def look() -> JobStatus | None:
        status = second.poll([handle])[handle.key]
        return status if status.state.final else None

    status = _eventually(look, "the second worker's leave")
    assert status.state is JobState.FAILED
    assert status.message == "another worker had claimed it before"
    assert desk.ran == [first.key]
    assert desk.status(first).state is JobState.RUNNING


def test_a_key_that_an_earlier_instance_finished_is_not_run_again(
    desk: Desk, tmp_path: Path
) -> None:
    desk.end(desk.submit())
    desk.backend = desk.another()
    handle = desk.submit()
    assert desk.end(handle).state is JobState.SUCCEEDED
    assert isinstance(desk.collect(handle, tmp_path), TaskResult)
    assert desk.ran == [handle.key]


def test_what_ran_in_an_ended_process_is_lost_unless_it_left_its_result(desk: Desk) -> None:
    left = desk.submit()
    desk.end(left)
    desk.act = lambda attempt, clock: None
    desk.end(desk.submit(desk.job("two")))
    desk.backend = desk.another()
    states = {h.key.task: desk.status(h).state for h in desk.backend.reattach(RUN)}
    assert states == {"one": JobState.SUCCEEDED, "two": JobState.LOST}


def test_reattach_gives_the_handles_that_submit_gave(desk: Desk) -> None:
    handles = [desk.submit(desk.job(task)) for task in ("b", "a")]
    for handle in handles:
        desk.end(handle)
    assert desk.another().reattach(RUN) == desk.backend.reattach(RUN) == handles[::-1]


def test_reattach_finds_a_job_before_its_worker_has_claimed_it(tmp_path: Path) -> None:
    go_on = threading.Event()

    def work(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        assert go_on.wait(10)

    backend = ThreadingBackend(tmp_path / RUN, work)
    handles = backend.submit([Job(JobKey(RUN, "one", 1), tmp_path, 60.0)])
    assert backend.reattach(RUN) == handles
    go_on.set()


def test_reattach_passes_over_what_is_no_attempt(desk: Desk) -> None:
    desk.end(desk.submit())
    for name in ("x", "-1", "²", "1.bak"):
        stray = desk.run_dir / "tasks" / "one" / name
        stray.mkdir()
        (stray / "claim").write_text("somebody")
    (desk.run_dir / "tasks" / "notes.txt").write_text("mine")
    assert [h.key.attempt for h in desk.another().reattach(RUN)] == [1]


def test_a_thread_takes_one_job_after_another_and_ends_with_the_backend(desk: Desk) -> None:
    before = set(threading.enumerate())
    named: list[str] = []
    desk.act = lambda attempt, clock: named.append(threading.current_thread().name)
    for task in ("a", "b", "c"):
        desk.end(desk.submit(desk.job(task)))
        _eventually(lambda: desk.backend._threads._idle == 1 or None, "the thread's readiness")
    [made] = set(threading.enumerate()) - before
    assert made.daemon
    assert named == ["executor-a", "executor-b", "executor-c"]
    desk.backend.close()
    made.join(10)
    assert not made.is_alive()


def test_jobs_at_the_same_time_have_a_thread_each(desk: Desk) -> None:
    together = threading.Barrier(5)
    desk.act = lambda attempt, clock: _expect(together.wait(10) >= 0)
    handles = [desk.submit(desk.job(task)) for task in "abcde"]
    assert {desk.end(handle).message for handle in handles} == {"the worker left no result"}


def test_a_thread_that_cannot_be_started_is_a_refusal_that_may_be_tried_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:  # no seam: the interpreter has no threads left
        patch.setattr(threading.Thread, "start", no_thread)
        [refused] = desk.backend.submit([desk.job()])
    assert isinstance(refused, SubmitError)
    assert refused.retryable
    assert "can't start new thread" in refused.message
    assert desk.backend.reattach(RUN) == []
    assert desk.end(desk.submit()).state is JobState.SUCCEEDED


def test_a_destination_that_cannot_be_written_may_be_tried_again(
    desk: Desk, tmp_path: Path
) -> None:
    handle = desk.submit()
    desk.end(handle)
    (tmp_path / "file").write_text("in the way")
    found = desk.collect(handle, tmp_path / "file")
    assert isinstance(found, CollectError)
    assert found.retryable


def result_of(attempt: AttemptDir, text: str) -> TaskResult:
    """A result with one file, written as a worker does."""
    return hand_in(attempt, _key_of(attempt), {"out.txt": text})


class TestHandOver:
    """A worker of this process hands its result over, and none of it is read again."""

    def backend(self, folder: Path, work: Worker) -> tuple[ThreadingBackend, JobHandle]:
        backend = ThreadingBackend(folder / RUN, work)
        root = folder / RUN / "tasks" / "one" / "1"
        root.mkdir(parents=True)
        [handle] = backend.submit([Job(JobKey(RUN, "one", 1), root, 60.0)])
        assert isinstance(handle, JobHandle)
        _eventually(lambda: backend.poll([handle])[handle.key].state.final or None, "the job's end")
        return backend, handle

    def test_what_the_worker_returned_is_collected(self, tmp_path: Path) -> None:
        made: list[TaskResult] = []

        def work(attempt: AttemptDir, claimant: str, clock: Clock) -> TaskResult:
            made.append(result_of(attempt, "text"))
            return made[0]

        backend, handle = self.backend(tmp_path, work)
        assert backend.collect([handle], tmp_path / RUN / "tasks")[handle.key] is made[0]
        elsewhere = backend.collect([handle], tmp_path / "elsewhere")[handle.key]
        assert elsewhere == made[0]
        assert (tmp_path / "elsewhere" / "one" / "1" / "result" / "files" / "out.txt").exists()

    def test_what_its_files_do_not_bear_out_is_refused(self, tmp_path: Path) -> None:
        def work(attempt: AttemptDir, claimant: str, clock: Clock) -> TaskResult:
            result = result_of(attempt, "text")
            (attempt.files / "out.txt").write_text("something else")
            return result

        backend, handle = self.backend(tmp_path, work)
        found = backend.collect([handle], tmp_path / RUN / "tasks")[handle.key]
        assert isinstance(found, CollectError)
        assert "does not match" in found.message

    def test_what_belongs_to_another_job_is_not_taken(self, tmp_path: Path) -> None:
        def work(attempt: AttemptDir, claimant: str, clock: Clock) -> TaskResult:
            return replace(result_of(attempt, "text"), key=JobKey(RUN, "one", 2))

        backend, handle = self.backend(tmp_path, work)
        found = backend.collect([handle], tmp_path / RUN / "tasks")[handle.key]
        assert isinstance(found, TaskResult)
        assert found.key == handle.key, "what is on the disk"


def test_a_special_file_in_a_result_is_refused(desk: Desk, tmp_path: Path) -> None:
    def act(attempt: AttemptDir, clock: Clock) -> None:
        attempt.files.mkdir(parents=True)
        (attempt.files / "link").symlink_to("/etc/passwd")
        _succeed(attempt, clock)

    desk.act = act
    handle = desk.submit()
    desk.end(handle)
    for destination in (desk.run_dir / "tasks", tmp_path / "elsewhere"):
        found = desk.collect(handle, destination)
        assert isinstance(found, CollectError)
        assert "symbolic link" in found.message


def test_a_line_that_is_still_being_written_is_not_given(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    assert read_lines(path, "") == LogChunk((), "")
    path.write_bytes(b'{"n": 1}\n{"n"')
    first = read_lines(path, "")
    assert first.lines == ('{"n": 1}',)
    path.write_bytes(b'{"n": 1}\n{"n": 2}\n')
    assert read_lines(path, first.cursor) == LogChunk(('{"n": 2}',), "18")
    assert read_lines(path, "18") == LogChunk((), "18")


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    texts = ["a\u2028b\u0085c\x0b\x0cd\x1ce", "\r", "", "größe"]
    path.write_bytes("".join(f"{t}\n" for t in texts).encode() + b"\xff\xfe\n")
    assert read_lines(path, "").lines == (*texts, "\ufffd\ufffd")

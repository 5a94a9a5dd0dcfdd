"""The virtual backend: the lifecycle part of the conformance suite, and its script."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backends.base import BackendContext, LogChunk
from core.clock import Clock
from core.credentials import Credentials
from core.errors import BackendError, CollectError, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Outcome, Reason, TaskResult
from engine.run.rundir import RunDir
from engine.scheduling.virtual_backend import VirtualBackend, VirtualClock, VirtualEnd
from parallel_task_orchestrator.conformance.lifecycle import LifecycleConformance

KEY = JobKey("run", "one", 1)
LOST = JobStatus(JobState.LOST, Reason.NODE_LOST)


class TestVirtual(LifecycleConformance):
    """Time is virtual, so waiting for a job takes none."""

    backend = "virtual"

    @pytest.fixture(scope="class")
    @classmethod
    def clock(cls) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls, clock: VirtualClock) -> Callable[[RunDir], VirtualBackend]:
        def script(key: JobKey) -> VirtualEnd:
            return VirtualEnd(duration_s=1e6 if key.task.startswith("slow") else 1.0)

        return lambda run: VirtualBackend(clock, script)


class Desk:
    """A backend with one job that goes as `end` says."""

    def __init__(self, end: VirtualEnd) -> None:
        self.clock = VirtualClock()
        self.wakes: list[float] = []
        self.backend = VirtualBackend(self.clock, lambda key: end)
        self.backend.on_change(lambda *_: self.wakes.append(self.clock.monotonic()))
        [self.answer] = self.backend.submit([Job(KEY, Path("nowhere"), 60.0)])
        self.handle = JobHandle(KEY, "virtual", str(KEY))

    def status(self) -> JobStatus:
        return self.backend.poll([self.handle])[KEY]

    def result(self) -> TaskResult | CollectError:
        return self.backend.collect([self.handle], Path("nowhere"))[KEY]


def test_a_job_is_queued_then_runs_then_ends_and_each_change_wakes() -> None:
    desk = Desk(VirtualEnd(duration_s=5, queued_s=2))
    assert desk.answer == desk.handle
    assert (desk.status().state, desk.backend.started) == (JobState.QUEUED, [])
    desk.clock.advance(2)
    assert (desk.status().state, desk.backend.started) == (JobState.RUNNING, [KEY])
    desk.clock.advance(6.9)
    assert desk.status().state is JobState.RUNNING
    desk.clock.advance(7)
    assert desk.status().state is JobState.SUCCEEDED
    assert desk.wakes == [2, 7]


def test_the_end_is_as_the_script_says() -> None:
    desk = Desk(VirtualEnd(status=LOST, outcome=None))
    desk.clock.advance(1)
    assert desk.status() == LOST
    assert isinstance(desk.result(), CollectError)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_result_has_the_outcome_of_the_script(outcome: Outcome) -> None:
    desk = Desk(VirtualEnd(duration_s=3, outcome=outcome))
    desk.clock.advance(3)
    assert desk.result() == TaskResult(KEY, outcome, f"{outcome} by script", duration_s=3)


def test_a_job_has_no_result_before_its_end() -> None:
    desk = Desk(VirtualEnd(duration_s=3, queued_s=1))
    for now in (0, 1, 3.9):
        desk.clock.advance(now)
        assert isinstance(desk.result(), CollectError)
    desk.clock.advance(4)
    assert isinstance(desk.result(), TaskResult)


def test_a_refused_job_never_runs() -> None:
    desk = Desk(VirtualEnd(refused=SubmitError("queue is closed", retryable=False)))
    assert isinstance(desk.answer, SubmitError)
    desk.clock.advance(10)
    assert desk.status() == JobStatus(JobState.LOST, Reason.MISSING)
    assert (desk.backend.started, desk.backend.reattach("run")) == ([], [])
    assert isinstance(desk.result(), CollectError)


def test_a_job_cancelled_in_the_queue_never_runs() -> None:
    desk = Desk(VirtualEnd(queued_s=2))
    desk.backend.cancel([desk.handle])
    desk.clock.advance(10)
    assert desk.status().state is JobState.CANCELLED
    assert desk.backend.started == []


def test_a_cancelled_job_leaves_no_result() -> None:
    desk = Desk(VirtualEnd())
    desk.backend.cancel([desk.handle])
    desk.clock.advance(10)
    assert desk.status().state is JobState.CANCELLED
    assert isinstance(desk.result(), CollectError)


def test_a_job_may_ignore_cancel() -> None:
    desk = Desk(VirtualEnd(ignores_cancel=True))
    desk.backend.cancel([desk.handle])
    assert desk.status().state is JobState.RUNNING
    desk.clock.advance(1)
    assert desk.status().state is JobState.SUCCEEDED


def test_a_job_says_nothing() -> None:
    desk = Desk(VirtualEnd())
    assert desk.backend.logs(desk.handle, "7") == LogChunk((), "7")


def test_it_cannot_be_chosen_for_real_work(tmp_path: Path) -> None:
    def work(attempt: object, claimant: str, clock: Clock) -> None:
        raise AssertionError("nothing is to run")

    with pytest.raises(BackendError, match="runs no real executors"):
        VirtualBackend.build(BackendContext(tmp_path, Credentials(), VirtualClock(), work))

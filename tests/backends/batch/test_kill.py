"""Kill -9 at any call to AWS, before or after it took effect: no job runs twice, none is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from core.bundle import AttemptDir, read_request
from core.clock import Clock
from core.job import JobHandle, JobState, Outcome
from parallel_task_orchestrator.conformance.live_run import LiveRun
from tests.fakes.aws import FakeAws, leave_result
from tests.fakes.aws_calls import Call, fault
from tests.fakes.aws_server import Answer
from tests.fakes.batch_run import batch_run

pytestmark = pytest.mark.slow  # starts many processes, or waits

TASKS = ("fast-01", "fast-02", "fast-03")


class Killed(BaseException):
    """The process is gone."""


class Counted:
    """A worker that counts how often each job was worked on."""

    def __init__(self) -> None:
        self.worked: Counter[str] = Counter()

    def __call__(self, attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        self.worked[read_request(attempt).key.task] += 1
        leave_result(attempt, claimant, clock)


def killer(number: int) -> Callable[[Call], None]:
    """Ends the process at its call of this number, from 0."""
    left = [number]

    def look(call: Call) -> None:
        if not call.by_worker:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        return

    return look


def go_on(live: LiveRun, tasks: tuple[str, ...]) -> list[JobHandle]:
    """As a session does: take up what is known, hand over the rest, wait, and fetch."""
    known = {handle.key.task: handle for handle in live.backend.reattach(live.run.run_id)}
    rest = [task for task in tasks if task not in known]
    known |= {handle.key.task: handle for handle in (live.submit(*rest) if rest else ())}
    handles = [known[task] for task in tasks]
    assert {s.state for s in live.wait_ended(*handles)} == {JobState.SUCCEEDED}
    assert {live.result(handle).outcome for handle in handles} == {Outcome.OK}
    return handles


def calls_of_a_session(tmp_path: Path, tasks: tuple[str, ...]) -> int:
    aws = FakeAws()
    with batch_run(tmp_path / "counting", aws) as live:
        go_on(live, tasks)
    return sum(not call.by_worker for call in aws.calls)


@pytest.mark.parametrize(
    ("tasks", "lazy", "lag"),
    [
        (TASKS, False, 0),
        (TASKS, True, 2),
        (TASKS[:1], True, 0),
        (TASKS[:1], False, 1),
    ],
    ids=[
        "an array that runs at once",
        "an array that runs and is listed late",
        "a job that runs late",
        "a job that is listed late",
    ],
)
def test_a_session_that_is_killed_at_any_call_is_taken_up_by_the_next(
    tmp_path: Path, tasks: tuple[str, ...], lazy: bool, lag: int
) -> None:
    total = calls_of_a_session(tmp_path, tasks)
    assert total >= 5
    kills = 0
    for number in range(total):
        for after in (False, True):
            work = Counted()
            aws = FakeAws(work, lazy=lazy)
            with batch_run(tmp_path / f"{number}-{after}", aws) as live:
                if after:
                    aws.after = killer(number)
                else:
                    aws.faults = [killer(number)]
                with pytest.raises(Killed):
                    go_on(live, tasks)
                kills += 1
                aws.faults, aws.after = [], lambda call: None
                nothing = Answer(200, b'{"jobSummaryList": []}')
                aws.faults.append(fault("listjobs", nothing, times=lag))
                live.backend = live.another_backend()
                go_on(live, tasks)
            assert work.worked == Counter(tasks), f"killed at call {number}, after: {after}"
    assert kills == 2 * total


def test_two_sessions_that_hand_over_the_same_jobs_at_once_run_each_once(tmp_path: Path) -> None:
    """Neither sees the other's jobs; which the lock on the run keeps from happening."""
    work = Counted()
    aws = FakeAws(work, lazy=True)
    with batch_run(tmp_path, aws) as live:
        nothing = Answer(200, b'{"jobSummaryList": []}')
        jobs = [live.prepare(task) for task in TASKS]
        first = live.submit_jobs(*jobs)
        aws.faults.append(fault("listjobs", nothing))
        other = live.another_backend()
        second = [h for h in other.submit(jobs) if isinstance(h, JobHandle)]
        assert {h.native_id for h in first}.isdisjoint(h.native_id for h in second)
        assert {s.state for s in other.poll(second).values()} == {JobState.SUCCEEDED}
        assert {s.state for s in live.poll(*first)} == {JobState.SUCCEEDED}
    assert work.worked == Counter(TASKS)

"""What a task costs in calls, commits and rounds of the loop, however long that takes."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.threading_backend import ThreadingBackend
from core.bundle import AttemptDir, Limits, ModelSettings, claim, write_result
from core.clock import Clock, SystemClock
from core.events import Kind
from core.job import Job, JobHandle, JobKey, JobStatus, Outcome, TaskResult
from engine.run.attempt_store import DiskStore, write_contracts
from engine.run.journal import Journal, read_journal
from engine.run.rundir import RunDir, RunFacts, create_run
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing
from tests.fakes.plans import make_plan

RUN = "20260101-000000-abcd"


def work(attempt: AttemptDir, claimant: str, clock: Clock) -> TaskResult | None:
    key = JobKey(RUN, attempt.root.parent.name, int(attempt.root.name))
    if not claim(attempt, claimant):
        return None
    result = TaskResult(key, Outcome.OK, "done")
    write_result(attempt, result)
    return result


class Counting(ThreadingBackend):
    """Counts its calls, and the threads that they came from."""

    def __init__(self, run: RunDir) -> None:
        super().__init__(run.root, work)
        self.called: Counter[str] = Counter()
        self.callers: set[int] = set()
        self.unknown: list[JobKey] = []
        """Jobs handed over before their intent was committed."""
        self.bundles_at_submit: list[int] = []
        """How many there were each time that jobs were handed over."""
        self.committed: Callable[[], set[JobKey]] = set

    def _count(self, method: str) -> None:
        self.called[method] += 1
        self.callers.add(threading.get_ident())

    def submit(self, jobs: Sequence[Job]) -> list[Any]:
        self._count("submit")
        known = self.committed()
        self.bundles_at_submit.append(len([*self._run_dir.glob("tasks/*/*/request/task.json")]))
        self.unknown += [job.key for job in jobs if job.key not in known]
        return super().submit(jobs)

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        self._count("poll")
        return super().poll(handles)

    def collect(self, handles: Sequence[JobHandle], destination: Path) -> dict[JobKey, Any]:
        self._count("collect")
        return super().collect(handles, destination)


class CountingCalls(ThreadedCalls):
    waits = 0

    def wait(self, timeout_s: float | None) -> None:
        self.waits += 1
        super().wait(timeout_s)


class Measured:
    """A plan run on threads, with a real disk and journal."""

    def __init__(self, folder: Path, plan: Mapping[str, tuple[str, ...]], executors: int) -> None:
        made = make_plan(plan)
        run = create_run(folder, RunFacts(RUN, "p", "out", 0.0, {}, simulated=True))
        write_contracts(run, made.contracts)
        journal, self.commits = Journal(run.journal), 0
        self.backend = Counting(run)
        self.calls = CountingCalls(SystemClock())
        durable: set[JobKey] = set()

        def commit() -> None:
            journal.commit()
            self.commits += 1
            intended = [e for e in read_journal(run.journal) if e.kind is Kind.JOB_INTENDED]
            durable.update(JobKey(RUN, e.task, e.attempt) for e in intended)

        self.backend.committed = lambda: durable
        scheduler = Scheduler(
            RUN,
            made,
            backend=self.backend,
            store=DiskStore(run, made, "p", ModelSettings(), Limits()),
            sink=journal,
            calls=self.calls,
            clock=SystemClock(),
            policy=RetryPolicy(1, random.Random(0)),
            pacing=Pacing(max_executors=executors),
            commit=commit,
        )
        self.outcome = scheduler.run()
        self.calls.close()
        self.backend.close()
        journal.close()


def test_a_chain_on_threads_costs_one_commit_and_few_rounds_a_task(tmp_path: Path) -> None:
    chain = {f"t{n}": (f"t{n - 1}",) if n else () for n in range(40)}
    found = Measured(tmp_path, chain, executors=8)
    assert len(found.outcome.succeeded) == 40
    assert found.commits == found.backend.called["submit"] == 40
    assert found.backend.called["collect"] == 40
    # its start and its end are each a wake, which may come while the loop is at work
    assert found.backend.called["poll"] <= 3 * 40
    assert found.calls.waits <= 4 * 40


def test_what_starts_together_is_committed_once_and_handed_over_one_by_one(tmp_path: Path) -> None:
    fan: dict[str, tuple[str, ...]] = {"first": ()}
    fan |= {f"t{n}": ("first",) for n in range(20)}
    found = Measured(tmp_path, fan, executors=20)
    assert len(found.outcome.succeeded) == 21
    assert found.commits == 2
    assert found.backend.called["submit"] == 21


def test_a_backend_whose_calls_are_prompt_is_called_in_the_deciding_thread(tmp_path: Path) -> None:
    found = Measured(tmp_path, {"a": (), "b": ("a",)}, executors=2)
    assert found.backend.callers == {threading.get_ident()}


def test_the_first_of_many_runs_before_the_bundles_of_the_others_are_made(tmp_path: Path) -> None:
    found = Measured(tmp_path, {f"t{n}": () for n in range(10)}, executors=10)
    assert found.backend.bundles_at_submit == list(range(1, 11))


def test_no_job_is_handed_over_before_its_intent_is_committed(tmp_path: Path) -> None:
    plan = {f"t{n}": tuple(f"t{m}" for m in range(max(0, n - 3), n, 2)) for n in range(30)}
    found = Measured(tmp_path, plan, executors=4)
    assert len(found.outcome.succeeded) == 30
    assert found.backend.unknown == []

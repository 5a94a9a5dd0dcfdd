"""Executors on threads of this process: nothing to install, and the reference for the contract.

A thread cannot be killed, so a cancelled job stops at its next wait or turn. Jobs end with the
process; those that finished before are found again by their claims and results on disk.
"""

import logging
import os
import queue
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from backends.base import Backend, BackendContext, LogChunk, PollPace, Worker
from backends.shared.results import attempt_of, hand_over, read_lines
from core.bundle import AttemptDir, check_files
from core.clock import StoppableClock
from core.errors import BundleError, CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Reason, TaskResult

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    """One thread's job; `end` is set once, by the thread itself, and `result` before it."""

    clock: StoppableClock = field(default_factory=StoppableClock)
    end: JobStatus | None = None
    result: TaskResult | None = None


class _Threads:
    """Daemon threads that outlive a job and take the next one: starting one takes its time."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[str, Callable[[], None]] | None] = queue.SimpleQueue()
        self._made = self._idle = 0
        self._lock = threading.Lock()

    def run(self, name: str, job: Callable[[], None]) -> None:
        """At once, on a thread that has this name meanwhile. Raises RuntimeError if there is none
        to be had."""
        with self._lock:
            has_idle = self._idle > 0
            self._idle -= has_idle
        if not has_idle:
            threading.Thread(target=self._serve, daemon=True).start()
            self._made += 1
        self._jobs.put((name, job))

    def close(self) -> None:
        """Each thread ends once it has nothing to do."""
        for _ in range(self._made):
            self._jobs.put(None)
        self._made = self._idle = 0

    def _serve(self) -> None:
        while (given := self._jobs.get()) is not None:
            threading.current_thread().name, job = given
            job()
            with self._lock:
                self._idle += 1


class ThreadingBackend(Backend):
    """A daemon thread for each job at a time; `work` does what a worker process does elsewhere.

    `mask` takes secrets out of the error of a worker that fails.
    """

    name = "threading"
    checks_run_in = "host"
    pace = PollPace(first_s=5.0, most_s=60.0)  # threads report their starts and ends
    grace_s = 0.0  # a job that this process does not know has ended
    first_line_s = 0.1
    in_process = True
    prompt = frozenset({"submit", "poll", "collect", "cancel"})

    def __init__(self, run_dir: Path, work: Worker, mask: Callable[[str], str] = str) -> None:
        self._run_dir = run_dir
        self._tasks_dir = run_dir / "tasks"
        self._work = work
        self._mask = mask
        self._jobs: dict[JobKey, _Running] = {}
        self._threads = _Threads()
        self._lock = threading.Lock()
        self._session = f"threading-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    @classmethod
    def build(cls, context: BackendContext) -> Self:
        return cls(context.run_dir, context.work, context.credentials.mask)

    def preflight(self) -> list[Problem]:
        return []

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        answers = [self._start(job) for job in jobs]
        self._wake(*(job.key for job in jobs))
        return answers

    def _start(self, job: Job) -> JobHandle | SubmitError:
        handle = self._handle(job.key, self._session)
        with self._lock:
            if job.key in self._jobs:
                return handle
            running = self._jobs[job.key] = _Running()
        try:
            self._threads.run(f"executor-{job.key.task}", partial(self._run, job, running))
        except RuntimeError as exc:
            del self._jobs[job.key]
            return SubmitError(f"A thread for {job.key} could not be started: {exc}.")
        return handle

    def _run(self, job: Job, running: _Running) -> None:
        attempt, error, found = AttemptDir(job.attempt_dir), "", None
        try:
            found = self._work(attempt, self._session, running.clock)
        except BaseException as exc:  # noqa: BLE001 - a thread's boundary
            log.debug("job %s: %s", job.key, self._mask(traceback.format_exc()))
            error = self._mask(f"{type(exc).__name__}: {exc}")
        finally:
            if isinstance(found, TaskResult):
                running.result = self._proven(attempt, job.key, found)
            running.end = self._end(attempt, error, running)
            self._wake(job.key)

    def _proven(self, attempt: AttemptDir, key: JobKey, found: TaskResult) -> TaskResult | None:
        """What the worker says, if its files bear it out; checked here, where nobody waits."""
        try:
            check_files(attempt, found)
        except BundleError:
            return None
        return found if found.key == key else None

    def _end(self, attempt: AttemptDir, error: str, running: _Running) -> JobStatus:
        if running.clock.stopped:
            return JobStatus(JobState.CANCELLED, message=error)
        if not error and (running.result or attempt.result_json.exists()):
            return JobStatus(JobState.SUCCEEDED, exit_code=0)
        if not error and self._claimant(attempt) not in ("", self._session):
            error = "another worker had claimed it before"
        return JobStatus(JobState.FAILED, Reason.EXIT, 1, error or "the worker left no result")

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        return {handle.key: self._status(handle.key) for handle in handles}

    def _status(self, key: JobKey) -> JobStatus:
        if running := self._jobs.get(key):
            return running.end or JobStatus(JobState.RUNNING)
        if key.run == self._run_dir.name and self._attempt(key).result_json.exists():
            return JobStatus(JobState.SUCCEEDED, exit_code=0)
        return JobStatus(JobState.LOST, Reason.MISSING, message="its process has ended")

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        return {h.key: self._fetch(h.key, destination) for h in handles}

    def _fetch(self, key: JobKey, destination: Path) -> TaskResult | CollectError:
        running = self._jobs.get(key)
        if running and running.result and destination == self._tasks_dir:
            found, running.result = running.result, None  # proved now, and it may change
            return found
        return hand_over(self._attempt(key), key, destination)

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        return read_lines(self._attempt(handle.key).events, cursor)

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        for handle in handles:
            if running := self._jobs.get(handle.key):
                running.clock.stop()

    def reattach(self, run_id: str) -> list[JobHandle]:
        found = {key: self._session for key in list(self._jobs) if key.run == run_id}
        if run_id == self._run_dir.name:
            found = dict(self._claimed(run_id)) | found
        return [self._handle(key, found[key]) for key in sorted(found)]

    def cleanup(self, run_id: str) -> None:
        """A thread leaves nothing behind."""

    def close(self) -> None:
        for running in list(self._jobs.values()):
            running.clock.stop()
        self._threads.close()

    def _handle(self, key: JobKey, session: str) -> JobHandle:
        return JobHandle(key, self.name, f"{session}:{key}")

    def _attempt(self, key: JobKey) -> AttemptDir:
        return attempt_of(self._run_dir, key)

    def _claimed(self, run_id: str) -> Iterator[tuple[JobKey, str]]:
        """Every job of the run that a worker has claimed, with its session."""
        for path in self._run_dir.glob("tasks/*/*/claim"):
            task, number = path.parts[-3:-1]
            if number.isascii() and number.isdecimal():
                key = JobKey(run_id, task, int(number))
                yield key, self._claimant(AttemptDir(path.parent))

    def _claimant(self, attempt: AttemptDir) -> str:
        try:
            return attempt.claim.read_text()
        except FileNotFoundError:
            return ""

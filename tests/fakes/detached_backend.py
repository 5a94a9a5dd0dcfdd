"""A durable backend for tests: each job is a process of its own that outlives whoever started it.

Its "engine" is a directory, named by the variable DETACHED_ENGINE, that holds a folder a job with
its bundle. Files there make it misbehave: `down` (out of reach), `stubborn` (heeds no cancel),
`keeps` (cannot remove anything), `hangs` (calls never come back). Run as a script it is the worker.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from backends.base import Backend, BackendContext, LogChunk, PollPace
from core.bundle import AttemptDir, read_result
from core.clock import StoppableClock
from core.credentials import Credentials
from core.errors import BackendError, BundleError, CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Reason, TaskResult

ROOT = Path(__file__).resolve().parents[2]
NAME = "tests.fakes.detached_backend:DetachedBackend"
VARIABLE = "DETACHED_ENGINE"


class DetachedBackend(Backend):
    name = "detached"
    pace = PollPace(0.1, 0.5)
    grace_s = 0.0

    def __init__(self, engine: Path, run_dir: Path) -> None:
        self._engine = engine
        self._run_dir = run_dir

    @classmethod
    def build(cls, context: BackendContext) -> Self:
        return cls(Path(context.environ[VARIABLE]), context.run_dir)

    @classmethod
    def location_settings(cls, options: Mapping[str, Any]) -> dict[str, str]:
        return {"docker_network": str(options["docker_network"])}  # in want of a setting of its own

    def preflight(self) -> list[Problem]:
        return []

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        self._reach()
        return [self._start(job) for job in jobs]

    def _start(self, job: Job) -> JobHandle:
        place = self._place(job.key)
        if not place.exists():
            place.mkdir(parents=True)
            (place / "work-dir").write_text(str(self._run_dir.parent.parent))
            shutil.copytree(job.attempt_dir, place / "bundle")
            command = [sys.executable, __file__, str(place / "bundle")]
            with (place / "log").open("wb") as log:
                worker = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env={**os.environ, "PYTHONPATH": str(ROOT)},
                )
            worker.returncode = 0  # nobody waits for it here, and Popen would warn of that
            (place / "pid").write_text(str(worker.pid))
        return self._handle(job.key)

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        self._reach()
        return {handle.key: self._status(self._place(handle.key)) for handle in handles}

    def _status(self, place: Path) -> JobStatus:
        if not place.exists():
            return JobStatus(JobState.LOST, Reason.MISSING)
        if is_alive(pid_of(place)):
            return JobStatus(JobState.RUNNING)
        if (place / "cancelled").exists():
            return JobStatus(JobState.CANCELLED)
        if AttemptDir(place / "bundle").result_json.exists():
            return JobStatus(JobState.SUCCEEDED, exit_code=0)
        return JobStatus(JobState.FAILED, Reason.EXIT, 1, (place / "log").read_text()[-500:])

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        self._reach()
        return {handle.key: self._fetch(handle.key, destination) for handle in handles}

    def _fetch(self, key: JobKey, destination: Path) -> TaskResult | CollectError:
        here = AttemptDir(self._place(key) / "bundle")
        there = AttemptDir(destination / key.task / str(key.attempt))
        try:
            shutil.copytree(here.result, there.result, dirs_exist_ok=True)
            return read_result(there, key)
        except (BundleError, OSError) as exc:
            return CollectError(str(exc))

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        return LogChunk((), cursor)

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        self._reach()
        for place in (self._place(handle.key) for handle in handles):
            if is_alive(pid_of(place)) and not (self._engine / "stubborn").exists():
                (place / "cancelled").touch()
                os.kill(pid_of(place), signal.SIGTERM)

    def reattach(self, run_id: str) -> list[JobHandle]:
        self._reach()
        return [self._handle(key) for key in self._keys(run_id)]

    def cleanup(self, run_id: str) -> None:
        self._reach()
        if (self._engine / "keeps").exists():
            raise BackendError("The engine lets nothing go.", "Mend it.")
        shutil.rmtree(self._engine / run_id, ignore_errors=True)

    def leftovers(self, run_id: str) -> list[str]:
        return [f"job {key.task}/{key.attempt}" for key in self._keys(run_id)]

    def known_runs(self, work_dir: Path) -> list[str]:
        self._reach()
        marks = sorted(self._engine.glob("*/*/work-dir"))
        return [mark.parent.parent.name for mark in marks if mark.read_text() == str(work_dir)]

    def close(self) -> None:
        pass

    def _reach(self) -> None:
        if (self._engine / "down").exists():
            raise BackendError("The engine is out of reach.", "Start it.")
        if (self._engine / "hangs").exists():
            threading.Event().wait()

    def _keys(self, run_id: str) -> Iterator[JobKey]:
        for pid in sorted(self._engine.glob(f"{run_id}/*/pid")):
            task, _, attempt = pid.parent.name.rpartition(".")
            yield JobKey(run_id, task, int(attempt))

    def _place(self, key: JobKey) -> Path:
        return self._engine / key.run / f"{key.task}.{key.attempt}"

    def _handle(self, key: JobKey) -> JobHandle:
        return JobHandle(key, self.name, str(key))


def pid_of(place: Path) -> int:
    try:
        return int((place / "pid").read_text() or 0)
    except FileNotFoundError:
        return 0


def is_alive(pid: int) -> bool:
    """A process that has ended and that nobody waits for is none."""
    try:
        return (
            pid > 0 and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except (FileNotFoundError, ProcessLookupError):
        return False


def work(bundle: Path) -> None:
    from executor_agent import ExecutorAgent

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ExecutorAgent(Credentials(), StoppableClock(stop)).run(AttemptDir(bundle), "detached")


if __name__ == "__main__":
    work(Path(sys.argv[1]))

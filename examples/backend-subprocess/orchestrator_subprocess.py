"""A backend that runs each executor in a process of its own, which outlives the orchestrator.

As long as a process runs, it holds a lock on the file `process` of its attempt: whoever comes later
can tell, and the system releases it however the process ends.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Self

from backends.base import Backend, BackendContext, LogChunk, PollPace
from backends.shared.results import attempt_of, hand_over, read_lines
from backends.shared.worker_credentials import sent_credentials
from core.bundle import AttemptDir
from core.clock import Clock
from core.credentials import Credentials
from core.errors import CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Reason, TaskResult
from core.settings.options import Group, setting
from core.settings.types import whole_number
from core.settings.worker import WorkerSettings
from core.wire import decode
from core.worker.process import claimant, render_credentials, run_process, run_worker
from core.worker.source import SOURCE_ROOT

KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE")


@dataclass(frozen=True, kw_only=True)
class SubprocessSettings(WorkerSettings):
    subprocess_nice: Annotated[int, whole_number(0, 19)] = setting(
        Group.CORE, 0, "how far executors give way to other processes", "N"
    )


class SubprocessBackend(Backend):
    name = "subprocess"
    settings = SubprocessSettings
    pace = PollPace(first_s=0.3, most_s=2.0)
    grace_s = 0.0

    def __init__(self, context: BackendContext) -> None:
        self._run_dir, self._credentials = context.run_dir, context.credentials
        self._settings = SubprocessSettings.read(context.options)
        kept = {name: text for name, text in context.environ.items() if name in KEPT}
        self._environ = {**kept, "PYTHONPATH": str(SOURCE_ROOT)}
        self._started: list[subprocess.Popen[bytes]] = []

    @classmethod
    def build(cls, context: BackendContext) -> Self:
        return cls(context)

    def preflight(self) -> list[Problem]:
        return []

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        return [self._start(job) for job in jobs]

    def _start(self, job: Job) -> JobHandle | SubmitError:
        nice = str(self._settings.subprocess_nice)
        command = [sys.executable, "-P", __file__, str(job.attempt_dir), nice]
        try:
            with self._file(job.key).open("x") as lock, self._log(job.key).open("wb") as log:
                fcntl.flock(lock, fcntl.LOCK_EX)
                started = subprocess.Popen(
                    command,
                    env=self._environ,
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock.fileno()],  # with the lock, which this process gives up
                    start_new_session=True,
                )
                lock.write(str(started.pid))
            self._started.append(started)
            self._send_credentials(started.stdin)
        except FileExistsError:
            pass  # the job was submitted before
        except OSError as exc:
            return SubmitError(f"No process for {job.key} could be started: {exc}.")
        return self._handle(job.key)

    def _send_credentials(self, stdin: IO[bytes] | None) -> None:
        sent = render_credentials(sent_credentials(self._credentials, self._settings))
        if stdin is not None:
            with suppress(BrokenPipeError), stdin:  # of a process that has ended the log says why
                stdin.write(sent)

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        self._started = [each for each in self._started if each.poll() is None]
        return {handle.key: self._status(handle.key) for handle in handles}

    def _status(self, key: JobKey) -> JobStatus:
        attempt, log = attempt_of(self._run_dir, key), self._log(key)
        if key.run != self._run_dir.name or not log.exists():
            return JobStatus(JobState.LOST, Reason.MISSING)
        if self._runs(key):
            return JobStatus(JobState.RUNNING)
        if (attempt.root / "cancelled").exists():
            return JobStatus(JobState.CANCELLED)
        if attempt.result_json.exists():
            return JobStatus(JobState.SUCCEEDED, exit_code=0)
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        return JobStatus(JobState.FAILED, Reason.EXIT, message=last or "the worker left no result")

    def _runs(self, key: JobKey) -> bool:
        try:
            with self._file(key).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        run_dir = self._run_dir
        return {h.key: hand_over(attempt_of(run_dir, h.key), h.key, destination) for h in handles}

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        if handle.key.run != self._run_dir.name:
            return LogChunk()
        return read_lines(attempt_of(self._run_dir, handle.key).events, cursor)

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        for key in (handle.key for handle in handles):
            if self._status(key).state is JobState.RUNNING:
                (attempt_of(self._run_dir, key).root / "cancelled").touch()
                with suppress(ProcessLookupError, ValueError):
                    os.kill(int(self._file(key).read_text()), signal.SIGTERM)

    def reattach(self, run_id: str) -> list[JobHandle]:
        if run_id != self._run_dir.name:
            return []
        found = sorted(self._run_dir.glob("tasks/*/*/process"))
        return [self._handle(JobKey(run_id, p.parts[-3], int(p.parts[-2]))) for p in found]

    def cleanup(self, run_id: str) -> None:
        self.cancel(self.reattach(run_id))

    def close(self) -> None:
        """The processes go on."""

    def _handle(self, key: JobKey) -> JobHandle:
        return JobHandle(key, self.name, str(key))

    def _file(self, key: JobKey) -> Path:
        return attempt_of(self._run_dir, key).root / "process"

    def _log(self, key: JobKey) -> Path:
        return attempt_of(self._run_dir, key).root / "process.log"


def main(argv: Sequence[str]) -> int:
    """The worker: `argv` is the attempt's directory and how nice to be."""
    os.nice(int(argv[2]))
    credentials = decode(Credentials, sys.stdin.buffer.read(), "standard input")
    return run_worker(lambda clock: work(AttemptDir(Path(argv[1])), credentials, clock))


def work(attempt: AttemptDir, credentials: Credentials, clock: Clock) -> None:
    from executor_agent import ExecutorAgent

    ExecutorAgent(credentials, clock).run(attempt, claimant())


if __name__ == "__main__":
    run_process(main)

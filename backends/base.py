"""The contract of a backend: it transports jobs and their results, and reports facts about them.

Retries of jobs, deadlines, dependencies, budget and merge belong to the engine, for all backends.

Threads: all calls are synchronous and return promptly. Two different methods may be called at the
same time from two threads, one method never is.

Errors: a call raises BackendError when the backend as a whole fails or cannot be reached. That is
transient: nothing is lost, and the engine calls again later (after BackendBusy when it says). What
concerns one job only is returned as a value in its place. Any other exception is a bug, and fatal.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

from core.bundle import AttemptDir
from core.clock import Clock
from core.credentials import Credentials
from core.errors import CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobStatus, TaskResult
from core.settings.worker import WorkerSettings

CheckPlace = Literal["host", "container", "job"]
"""In a sandbox of the orchestrator's machine, in a container of the workers' image beside it, or in
a job of the backend."""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Whole lines of a job's output since a cursor, and the cursor for the next call.

    A line that is a JSON object with a "kind" is progress (see core.events), any other is text.
    """

    lines: tuple[str, ...] = ()
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class PollPace:
    """Seconds between polls: from `first_s`, doubling while nothing changes, up to `most_s`."""

    first_s: float = 1.0
    most_s: float = 30.0


class Worker(Protocol):
    """Runs one attempt in this process and leaves its result in the attempt's directory. What it
    returns, if that is a TaskResult, is the same, so that it need not be read again.

    `claimant` identifies the worker among all that may claim the attempt. `clock.sleep` raises
    Interrupted once the job is cancelled.
    """

    def __call__(self, attempt: AttemptDir, claimant: str, clock: Clock) -> object: ...


@dataclass(frozen=True, slots=True)
class BackendContext:
    """What every backend is built from; each takes what it needs.

    `run_dir` is the run's directory on this machine, named by the run's id; `work` is for a backend
    that runs workers in this process; `options` are all settings by name, without secrets (a
    subclass of core.settings.worker.WorkerSettings reads its own out of them, typed); `environ` is
    the environment that this program was started in.
    """

    run_dir: Path
    credentials: Credentials
    clock: Clock
    work: Worker
    options: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)


class Wake(Protocol):
    """A poll would find changes: of these jobs, or where none is named, of any."""

    def __call__(self, *keys: JobKey) -> None: ...


class Backend(ABC):
    """Where executors run. Subclass it, and name the class with `--backend module:Class`."""

    name: ClassVar[str]
    settings: ClassVar[type[WorkerSettings] | None] = None
    """A frozen dataclass of more settings, each made by core.settings.options.setting, of a backend
    that does not come with the program. They are in `BackendContext.options` then."""
    pace: PollPace = PollPace()
    grace_s: ClassVar[float] = 30.0
    """How long a job may be MISSING, or ended without a result, before it counts as LOST."""
    cancel_lag_s: ClassVar[float] = 0.0
    """How much longer than the usual 30 s cancelled jobs take to end."""
    first_line_s: ClassVar[float] = 5.0
    """About how long after its submission the log of a job that need not queue has a line."""
    in_process: ClassVar[bool] = False
    """Whether workers run in this process, and so share its governor with the planner."""
    prompt: ClassVar[frozenset[str]] = frozenset()
    """Methods that wait for nothing outside this process and its disk, such as "poll": the engine
    calls them in its own thread, and the others so that it never waits for them."""
    worker_tools: ClassVar[str] = ""
    """What a container around each worker offers commands, as the end of a sentence; empty where
    none is, and commands are run only if the person allows it."""
    checks_run_in: ClassVar[CheckPlace] = "host"
    """Where the checks of what a run has delivered are run."""
    programs: Mapping[str, str] = {}
    """Those of core.checks.toolchain in the image of the workers, with versions, once `preflight`
    has looked; empty where it did not."""
    logs_a_round: ClassVar[int | None] = None
    """The logs of how many jobs are read at a time, in turns; None for all that run."""

    logs_every_s: ClassVar[float] = 0.5
    """How often logs may be read for a person's eyes."""

    _wake: Wake = staticmethod(lambda *_: None)
    _is_heard = False
    """Whether somebody is there to be woken."""

    @classmethod
    @abstractmethod
    def build(cls, context: BackendContext) -> Self:
        """A backend for one run. Neither connects to anything nor writes anything yet."""

    def on_change(self, wake: Wake) -> None:
        """Set the function that the backend calls, from any thread, when a poll would find changes.

        A backend that never calls it is polled at its pace; one that does may have a slow pace.
        """
        self._wake, self._is_heard = wake, True

    @classmethod
    def location_settings(cls, options: Mapping[str, Any]) -> dict[str, str]:
        """The settings, out of `options`, by which a run's jobs, claims and results are found.

        With others they would not be found, and the jobs done twice, so these cannot be changed
        while jobs of the run may be open. Empty when they are found by the run directory alone.
        """
        return {}

    @abstractmethod
    def preflight(self) -> list[Problem]:
        """What is missing to run jobs here, each with its fix; empty when nothing is."""

    def probe(self) -> list[Problem] | None:
        """Run one small job to its end, and return the problems that only this finds.

        For backends where `preflight` cannot know. May take minutes. Leaves nothing behind. None
        when the backend has no probe.
        """
        return None

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        """Submit jobs; one answer a job, in the order of the jobs.

        A JobHandle guarantees that the job runs or will run, exactly once; a SubmitError that it
        does not run and will not. Idempotent on the job key: a job that was submitted before, by
        an earlier process too, is not started again and has the same handle.

        Raises BackendError when it is not known of all jobs what became of them; some may have
        been submitted, and the same call can be made again.
        """

    @abstractmethod
    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        """The status of each job; every handle has one, UNKNOWN when it cannot be determined.

        Only final states are final: RUNNING back to QUEUED is a requeue. QUEUED with reason
        UNSCHEDULABLE is a job that will not start by itself as things are; the message of a queued
        job says what it waits for, as the queue puts it. A job that has left the queue is LOST with
        reason MISSING only when it has no result either.
        """

    @abstractmethod
    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        """Bring results to `destination`/<task>/<attempt>/result, manifests verified.

        A TaskResult guarantees that all its files are there. After a CollectError there is no
        result of that job, but its events.jsonl where it could be had; a retryable one may become
        a result. Idempotent: what was collected before is returned again.
        """

    @abstractmethod
    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        """The job's output since `cursor`, "" for the beginning; empty while there is none."""

    @abstractmethod
    def cancel(self, handles: Sequence[JobHandle]) -> None:
        """Ask jobs to stop; `poll` confirms. A job that has ended is left as it is."""

    @abstractmethod
    def reattach(self, run_id: str) -> list[JobHandle]:
        """Every job of the run that the backend still knows, running or ended."""

    @abstractmethod
    def cleanup(self, run_id: str) -> None:
        """Remove what the backend made for the run outside the run directory, jobs too.

        Idempotent. After an error some may be left; `leftovers` lists it.
        """

    def under_way(self, method: str) -> str:
        """The progress of a call of `method` that takes long, such as "12.3 of 80.0 MB sent"; empty
        when it is not known. The engine takes a text that changes as a sign of life."""
        return ""

    def leftovers(self, run_id: str) -> list[str]:
        """One phrase, for people, for each thing that `cleanup` would remove."""
        return []

    def known_runs(self, work_dir: Path) -> list[str]:
        """Ids of runs of this work directory of which the backend still holds something.

        Also of runs whose directory is gone, so that they can be stopped and removed. Never of the
        work directory at the same path of another machine.
        """
        return []

    @abstractmethod
    def close(self) -> None:
        """Close connections and end threads; jobs go on where they can. Idempotent."""

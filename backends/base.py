"""The contract of a backend: packing and transport of jobs, and facts about them.

Retries of jobs, deadlines, dependencies, budget and merge are the engine's, once for all backends.
All calls are synchronous and return promptly. Two different methods may be called at once from two
threads, the same method never. A call raises BackendError when the backend as a whole is broken or
out of reach (the engine asks again later); what concerns one job only is returned in its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from core.bundle import AttemptDir
from core.clock import Clock
from core.credentials import Credentials
from core.errors import CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobStatus, TaskResult


@dataclass(frozen=True, slots=True)
class LogChunk:
    """Whole lines of a job's stream since the cursor asked for, and the cursor to ask with next.

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
    """Runs one attempt in this process and leaves its result in the attempt's directory.

    `clock.sleep` raises Interrupted once the job is cancelled.
    """

    def __call__(self, attempt: AttemptDir, claimant: str, clock: Clock) -> object: ...


@dataclass(frozen=True, slots=True)
class BackendContext:
    """What every backend is built from; each takes what it needs.

    `run_dir` is the run's directory on this machine, named as the run is; `options` are all
    settings by name, without secrets (a subclass of core.settings.worker.WorkerSettings reads its
    own out of them, typed); `environ` is the environment that this program was started in.
    """

    run_dir: Path
    credentials: Credentials
    clock: Clock
    work: Worker
    options: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)


class Backend(ABC):
    """Where executors run."""

    name: ClassVar[str]
    pace: PollPace = PollPace()
    grace_s: ClassVar[float] = 30.0
    """How long a job may be MISSING, or ended without a result, before it counts as LOST."""
    cancel_lag_s: ClassVar[float] = 0.0
    """How much longer than elsewhere, 30 s, jobs have to end that were told to stop."""
    in_process: ClassVar[bool] = False
    """Whether workers run in this process, and so share its governor with the planner."""
    logs_a_round: ClassVar[int | None] = None
    """Of how many jobs the logs are asked for at a time, in turns; None: of all that run."""

    _wake: Callable[[], None] = staticmethod(lambda: None)

    @classmethod
    @abstractmethod
    def build(cls, site: BackendContext) -> Self:
        """A backend for one run. Touches nothing yet."""

    def on_change(self, wake: Callable[[], None]) -> None:
        """Set what the backend calls, from any thread, when polling now would tell news.

        A backend that never calls it is polled at its pace; one that does may have a slow pace.
        """
        self._wake = wake

    @classmethod
    def location_settings(cls, options: Mapping[str, Any]) -> dict[str, str]:
        """The settings, out of `options`, that say where a run's jobs, claims and results are.

        From another place they are not seen, so that a job would be done twice: they stay as they
        are while jobs of the run may be open. Empty: the run directory alone says it.
        """
        return {}

    @abstractmethod
    def preflight(self) -> list[Problem]:
        """What is missing here to run jobs, each with its fix; empty when all is well."""

    def probe(self) -> list[Problem] | None:
        """Run one small job to its end, and say what only that finds missing; for backends where
        `preflight` cannot know. May take minutes. Leaves nothing behind. None: there is no probe.
        """
        return None

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        """Hand over jobs; one answer a job, in the jobs' order.

        A handle means: the job runs or will run, exactly once. A SubmitError means: it is not
        running and will not. Idempotent on the job key: a job submitted before is not started
        again, and gives its handle.
        """

    @abstractmethod
    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        """Where each job stands; an answer for every handle, UNKNOWN where nobody can tell.

        Only final states are final: RUNNING back to QUEUED is a requeue. QUEUED with reason
        UNSCHEDULABLE is a job that will not start by itself as things stand; the message of a
        queued job says what it waits for, in the queue's own words. A job that has left the queue
        is LOST with reason MISSING only when no result can be seen either.
        """

    @abstractmethod
    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        """Bring results to `destination`/<task>/<attempt>/result, manifests verified.

        Also brings events.jsonl of a job without a result, where it can. Idempotent.
        """

    @abstractmethod
    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        """What the job printed since `cursor` ("" for the beginning)."""

    @abstractmethod
    def cancel(self, handles: Sequence[JobHandle]) -> None:
        """Ask jobs to stop; `poll` confirms. Asking for an ended job is no error."""

    @abstractmethod
    def reattach(self, run_id: str) -> list[JobHandle]:
        """Every job of the run that the backend still knows of, running or ended."""

    @abstractmethod
    def cleanup(self, run_id: str) -> None:
        """Remove what the backend made for the run outside the run directory. Idempotent."""

    def under_way(self, method: str) -> str:
        """How far a call of `method` has come that takes its time, in words that change while it
        goes on, such as "12.3 of 80.0 MB sent"; empty where nothing tells."""
        return ""

    def leftovers(self, run_id: str) -> list[str]:
        """One phrase, for people, for each thing that `cleanup` would remove."""
        return []

    def known_runs(self, work_dir: Path) -> list[str]:
        """Ids of runs of this work directory that the backend still holds something of.

        Also of runs whose directory is gone; those get stopped and removed. Never of another
        machine's work directory that happens to have the same path.
        """
        return []

    @abstractmethod
    def close(self) -> None:
        """Let go of connections and threads; jobs go on where they can. Idempotent."""

"""A run with a live backend, for the conformance suite: real bundles on disk, waits with an end.

What a task does follows from the first word of its id (see BEHAVIOURS), so that one plan serves
every test. All that a backend says is kept, for the search for secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from backends.base import Backend
from core.bundle import Limits, ModelSettings, SimulationSettings
from core.clock import Clock
from core.errors import CollectError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, TaskResult
from core.plan import Analysis, Contract, Criterion, Plan, Task
from core.wire import encode
from engine.run.attempt_store import DiskStore, write_contracts
from engine.run.rundir import RunDir

T = TypeVar("T")

PROMPT = "Build a todo list app with add/delete/complete"

BEHAVIOURS: Mapping[str, SimulationSettings] = {
    "fast": SimulationSettings(speed=0),
    "slow": SimulationSettings(speed=0.01),
    "spending": SimulationSettings(speed=1),
    "refused": SimulationSettings(speed=0, faults="refusal=1"),
}
"""By the first word of a task's id. `slow` runs for many minutes before its first answer;
`spending` has its first answer soon, and many to go."""

MANY = 20


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds within which a backend's jobs reach a state or heed a cancel, and between looks."""

    state_s: float = 20.0
    cancel_s: float = 10.0
    look_every_s: float = 0.02


def eventually(
    look: Callable[[], T | None], what: str, *, within_s: float, every_s: float, clock: Clock
) -> T:
    """The first answer of `look` that is neither None nor False; fails when there is none."""
    deadline = clock.monotonic() + within_s
    while (found := look()) is None or found is False:
        if clock.monotonic() >= deadline:
            pytest.fail(f"not within {within_s:g} s: {what}")
        clock.sleep(every_s)
    return found


CONTRACT = "contracts/Maße & co.json"


def build_plan() -> Plan:
    """Tasks of every behaviour, all ready at once but for the last."""
    ids = [f"fast-{n:02}" for n in range(MANY)] + ["slow-a", "slow-b", "refused"]
    tasks = [_task(name, f"parts/{name}.md") for name in ids]
    tasks.append(_task("spending", *(f"many/{n:02}.md" for n in range(40))))
    tasks.append(_task("fast-odd", "odd/it's $HOME; `x` & größe.md", "odd/with spaces/"))
    tasks.append(_task("fast-last", "last.md", depends_on=("fast-odd",)))
    return Plan(
        title="Conformance",
        summary="Files that nobody needs.",
        analysis=Analysis(
            complexity=1, rationale="Flat.", recommended_executors=4, parallel_pays=True
        ),
        contracts=(Contract(path=CONTRACT, purpose="Size.", content='{"a": 1}'),),
        tasks=tuple(tasks),
        acceptance_criteria=(Criterion(text="All is there.", served_by=("fast-last",)),),
    )


def _task(name: str, *owns: str, depends_on: tuple[str, ...] = ()) -> Task:
    return Task(
        id=name,
        title=f"Write {name}",
        instructions=f"Write what {name} owns.",
        depends_on=depends_on,
        owns=owns,
        uses=(CONTRACT,),
        estimate=100,
    )


class LiveRun:
    """A run directory, a backend for it, and everything the backend has said of it (`said`)."""

    def __init__(
        self,
        run: RunDir,
        plan: Plan,
        make: Callable[[RunDir], Backend],
        bounds: Bounds,
        clock: Clock,
    ) -> None:
        self.run, self.plan, self.bounds, self.clock = run, plan, bounds, clock
        self._make = make
        self._made: list[Backend] = []
        self.said: list[str] = []
        self.handles: dict[str, JobHandle] = {}
        """The latest of each task that was submitted."""
        write_contracts(run, plan.contracts)
        self.backend = self.another_backend()

    def another_backend(self) -> Backend:
        """A further instance on the same run, as another process would have it."""
        self._made.append(self._make(self.run))
        return self._made[-1]

    def end(self) -> None:
        """Leave nothing running."""
        last = self.another_backend()
        last.cancel(last.reattach(self.run.run_id))
        last.cleanup(self.run.run_id)
        for backend in self._made:
            backend.close()

    def store(self, simulation: SimulationSettings) -> DiskStore:
        model = ModelSettings(simulation=simulation)
        return DiskStore(self.run, self.plan, PROMPT, model, Limits(timeout_s=1200))

    def prepare(self, task: str, attempt: int = 1, **succeeded: int) -> Job:
        """The job of a task, its bundle on disk."""
        key = JobKey(self.run.run_id, task, attempt)
        store = self.store(BEHAVIOURS[task.partition("-")[0]])
        ancestors = {name.replace("_", "-"): number for name, number in succeeded.items()}
        return store.prepare(self.plan.task(task), key, "", ancestors)

    def submit_jobs(self, *jobs: Job) -> list[JobHandle]:
        answers = self.backend.submit(jobs)
        handles = [answer for answer in answers if isinstance(answer, JobHandle)]
        assert len(handles) == len(answers) == len(jobs), answers
        self.said += map(encode, handles)
        self.handles |= {handle.key.task: handle for handle in handles}
        return handles

    def submit(self, *tasks: str) -> list[JobHandle]:
        return self.submit_jobs(*(self.prepare(task) for task in tasks))

    def poll(self, *handles: JobHandle) -> list[JobStatus]:
        """Where jobs stand, in the order of the handles."""
        found = self.backend.poll(handles)
        self.said += map(encode, found.values())
        return [found[handle.key] for handle in handles]

    def wait_running(self, *handles: JobHandle) -> None:
        statuses = self._wait_until(handles, "started", _has_started)
        assert {s.state for s in statuses} == {JobState.RUNNING}, statuses

    def wait_ended(self, *handles: JobHandle, within_s: float | None = None) -> list[JobStatus]:
        return self._wait_until(handles, "ended", lambda s: s.state.final, within_s)

    def _wait_until(
        self,
        handles: Sequence[JobHandle],
        what: str,
        test: Callable[[JobStatus], bool],
        within_s: float | None = None,
    ) -> list[JobStatus]:
        def look() -> list[JobStatus] | None:
            statuses = self.poll(*handles)
            return statuses if all(map(test, statuses)) else None

        names = ", ".join(str(handle.key) for handle in handles)
        return self.eventually(look, f"{what}: {names}", within_s)

    def eventually(
        self, look: Callable[[], T | None], what: str, within_s: float | None = None
    ) -> T:
        return eventually(
            look,
            what,
            within_s=within_s or self.bounds.state_s,
            every_s=self.bounds.look_every_s,
            clock=self.clock,
        )

    def collect(
        self, handle: JobHandle, destination: Path | None = None
    ) -> TaskResult | CollectError:
        found = self.backend.collect([handle], destination or self.run.tasks)
        assert list(found) == [handle.key]
        return found[handle.key]

    def result(self, handle: JobHandle, destination: Path | None = None) -> TaskResult:
        """The result of an ended job, which must have one; may still be on its way."""

        def look() -> TaskResult | None:
            found = self.collect(handle, destination)
            if isinstance(found, TaskResult):
                return found
            return None if found.retryable else pytest.fail(f"no result of {handle.key}: {found}")

        return self.eventually(look, f"the result of {handle.key}")

    def read_log(self, handle: JobHandle, cursor: str = "") -> tuple[list[str], str]:
        """The lines from `cursor` to where it stands now, and the cursor there."""
        lines: list[str] = []
        while (chunk := self.backend.logs(handle, cursor)).lines:
            lines += chunk.lines
            cursor = chunk.cursor
        self.said += lines
        return lines, chunk.cursor


def _has_started(status: JobStatus) -> bool:
    return status.state is JobState.RUNNING or status.state.final

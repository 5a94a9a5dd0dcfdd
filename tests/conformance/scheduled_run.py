"""The plan of a LiveRun carried out by the scheduler, as a run does."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from core.bundle import SimulationSettings, build_manifest
from core.events import Broadcast, Event, EventSink, Kind
from core.job import JobKey, TaskState
from core.plan import Plan
from engine.run.journal import Journal, read_journal
from engine.run.run_view import replay
from engine.run.rundir import RunDir
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing, RunOutcome
from parallel_task_orchestrator.conformance.live_run import PROMPT, LiveRun
from tests.fakes.events import data_of


class StopAfter:
    """A sink that interrupts the run once so many tasks are done."""

    def __init__(self, tasks: int) -> None:
        self._left = tasks
        self.interrupt: Callable[[], None] = lambda: None

    def emit(self, event: Event) -> None:
        if event.kind is Kind.TASK_ENDED and data_of(event)["state"] == TaskState.SUCCEEDED:
            self._left -= 1
            if self._left == 0:
                self.interrupt()


def schedule(
    live: LiveRun,
    simulation: SimulationSettings,
    *,
    stop_after: int = 0,
    listeners: Sequence[EventSink] = (),
    max_executors: int = 3,
) -> tuple[RunOutcome, list[tuple[Kind, str]]]:
    """Run or resume the plan of `live`; how it ended, and the journal's kinds and tasks."""
    earlier = replay(live.run.run_id, read_journal(live.run.journal)).jobs
    journal, stop = Journal(live.run.journal), StopAfter(stop_after)
    calls = ThreadedCalls(live.clock)
    scheduler = Scheduler(
        live.run.run_id,
        live.plan,
        backend=live.backend,
        store=live.store(simulation),
        sink=Broadcast([journal, stop, *listeners]),
        calls=calls,
        clock=live.clock,
        policy=RetryPolicy(3, random.Random(0)),
        pacing=Pacing(max_executors=max_executors, progress_s=live.bounds.look_every_s),
        earlier=earlier,
        commit=journal.commit,
    )
    stop.interrupt = scheduler.interrupt
    try:
        outcome = scheduler.run()
    finally:
        calls.close()
        journal.close()
    return outcome, [(event.kind, event.task) for event in read_journal(live.run.journal)]


def design() -> tuple[Plan, dict[str, str]]:
    """The plan that the simulated Claude makes of PROMPT, and every file it writes for it."""
    from claude.simulation.sample_projects import choose_sample, load_sample

    project = load_sample(choose_sample(PROMPT))
    return project.plan, {p: text for files in project.files.values() for p, text in files.items()}


def merged_files(run: RunDir, outcome: RunOutcome) -> dict[str, str]:
    """Every file of the results that count, by path."""
    found: dict[str, str] = {}
    for task, number in outcome.succeeded.items():
        root = run.attempt(JobKey(run.run_id, task, number)).files
        for path in build_manifest(root).paths:
            assert path not in found, f"{path} was written twice"
            found[path] = (root / path).read_bytes().decode()
    return found

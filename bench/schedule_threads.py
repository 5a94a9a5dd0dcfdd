"""What the engine costs a task on this machine: no-op tasks on threads, through all that is real.

Scheduler, DiskStore, Journal with its fsyncs, ThreadedCalls and ThreadingBackend; the worker only
claims its attempt and writes an empty result.json. The tasks do not depend on each other.

    python -m bench.schedule_threads [--tasks 1000] [--executors 1 8 64] [--dir DIR] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from backends.threading_backend import ThreadingBackend
from core.bundle import AttemptDir, Limits, ModelSettings, claim, write_result
from core.clock import Clock, SystemClock
from core.job import JobKey, Outcome, TaskResult
from core.plan import Analysis, Contract, Criterion, Plan, Task
from engine.calls import ThreadedCalls
from engine.journal import Journal
from engine.retry_policy import RetryPolicy
from engine.rundir import RunFacts, create_run, new_run_id
from engine.scheduler import Scheduler
from engine.store import DiskStore, write_contracts
from engine.terms import Pacing


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of the whole run, and of this process's CPU, from building the store to the end."""

    wall_s: float
    cpu_s: float
    journal_lines: int


def work(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
    """The least a worker does: claim, and leave a result."""
    claim(attempt, claimant)
    run, task, number = attempt.root.parts[-4], attempt.root.parts[-2], attempt.root.parts[-1]
    del run
    write_result(attempt, TaskResult(JobKey(RUN_ID, task, int(number)), Outcome.OK, "done"))


RUN_ID = new_run_id(0.0)


def wide_plan(count: int) -> Plan:
    return Plan(
        title="Bench",
        summary="No-op tasks.",
        analysis=Analysis(complexity=1, rationale="-", recommended_executors=8, parallel_pays=True),
        contracts=(Contract(path="api/types.py", purpose="Shared.", content="X = 1\n"),),
        tasks=tuple(
            Task(
                id=f"t{n}",
                title=f"Task {n}",
                instructions="Do nothing.",
                depends_on=(),
                owns=(f"t{n}/",),
                checks=(),
                estimate=1,
            )
            for n in range(count)
        ),
        acceptance_criteria=(Criterion(text="It ends.", served_by=("t0",)),),
    )


def measure(count: int, executors: int, below: Path) -> Measured:
    plan = wide_plan(count)
    with tempfile.TemporaryDirectory(dir=below) as folder:
        run = create_run(Path(folder), RunFacts(RUN_ID, "bench", "out", 0.0, {}, simulated=True))
        write_contracts(run, plan)
        begin, cpu = time.perf_counter(), time.process_time()
        journal = Journal(run.journal)
        backend = ThreadingBackend(run.root, work)
        calls = ThreadedCalls(SystemClock())
        scheduler = Scheduler(
            RUN_ID,
            plan,
            backend=backend,
            store=DiskStore(run, plan, "bench", ModelSettings(), Limits()),
            sink=journal,
            calls=calls,
            clock=SystemClock(),
            policy=RetryPolicy(1, random.Random(0)),
            pacing=Pacing(max_executors=executors),
            commit=journal.commit,
        )
        outcome = scheduler.run()
        calls.close()
        backend.close()
        journal.close()
        found = Measured(
            time.perf_counter() - begin,
            time.process_time() - cpu,
            run.journal.read_bytes().count(b"\n"),
        )
    if len(outcome.succeeded) != count:
        raise SystemExit("Not every task succeeded.")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--executors", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--dir", type=Path, help="where to work (the system's temporary directory)")
    parser.add_argument("--profile", action="store_true", help="profile the deciding thread")
    asked = parser.parse_args()
    measure(50, 8, asked.dir)  # imports, pydantic's adapters, the file system's caches
    profile = cProfile.Profile()
    print(f"{'tasks':>6} {'executors':>9} {'wall':>9} {'wall a task':>12} {'CPU a task':>11}")
    for executors in asked.executors:
        if asked.profile:
            profile.enable()
        found = measure(asked.tasks, executors, asked.dir)
        profile.disable()
        print(
            f"{asked.tasks:>6} {executors:>9} {found.wall_s:>7.2f} s"
            f" {found.wall_s / asked.tasks * 1e3:>9.3f} ms {found.cpu_s / asked.tasks * 1e3:>8.3f} ms"
        )
    if asked.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()

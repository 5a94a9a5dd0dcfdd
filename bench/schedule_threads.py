"""What the engine costs a task on this machine: tasks on threads, through all that is real.

Scheduler, DiskStore, Journal with its fsyncs, ThreadedCalls and ThreadingBackend; the worker only
claims its attempt, sleeps if it is to, and writes an empty result.json. The tasks share one
contract. As a program it runs no-op tasks that do not depend on each other; bench.peers has others.

    python -m bench.schedule_threads [--tasks 1000] [--executors 1 8 64] [--repeat 3] [--dir DIR]
        [--profile]
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
from statistics import median

from backends.base import Worker
from backends.threading_backend import ThreadingBackend
from bench.peers.workload import Workload, flat
from core.bundle import AttemptDir, Limits, ModelSettings, claim, write_result
from core.clock import Clock, SystemClock
from core.job import JobKey, Outcome, TaskResult
from core.plan import Analysis, Contract, Criterion, Plan, Task
from engine.run.attempt_store import DiskStore, write_contracts
from engine.run.journal import Journal
from engine.run.rundir import RunFacts, create_run, new_run_id
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of the whole run, of this process's CPU, and of the journal's fsyncs; from building
    the store to the end."""

    wall_s: float
    cpu_s: float
    fsync_s: float


RUN_ID = new_run_id(0.0)


class TimedJournal(Journal):
    fsync_s = 0.0

    def commit(self) -> None:
        begin = time.perf_counter()
        super().commit()
        self.fsync_s += time.perf_counter() - begin


def worker(workload: Workload) -> Worker:
    """The least a worker does: claim, sleep, and leave a result."""

    def work(attempt: AttemptDir, claimant: str, clock: Clock) -> TaskResult | None:  # noqa: ARG001 - a Worker's
        key = JobKey(RUN_ID, attempt.root.parent.name, int(attempt.root.name))
        if not claim(attempt, claimant):
            return None
        if (seconds := workload.tasks[int(key.task[1:])][0]) > 0:
            time.sleep(seconds)
        result = TaskResult(key, Outcome.OK, "done")
        write_result(attempt, result)
        return result

    return work


def plan_of(workload: Workload) -> Plan:
    return Plan(
        title="Bench",
        summary="Tasks that sleep.",
        analysis=Analysis(complexity=1, rationale="-", recommended_executors=8, parallel_pays=True),
        contracts=(Contract(path="types.py", purpose="Shared.", content="X = 1\n"),),
        tasks=tuple(
            Task(
                id=f"t{n}",
                title=f"Task {n}",
                instructions="Sleep.",
                depends_on=tuple(f"t{before}" for before in earlier),
                owns=(f"t{n}/",),
                estimate=max(1, int(seconds * 1000)),
            )
            for n, (seconds, earlier) in enumerate(workload.tasks)
        ),
        acceptance_criteria=(Criterion(text="It ends.", served_by=("t0",)),),
    )


def measure(workload: Workload, work_dir: Path) -> Measured:
    """One run in `work_dir`, which is left as it is: on ext4, inodes freed a moment ago slow down
    the making of new ones, and would be measured by the next run."""
    plan = plan_of(workload)
    run = create_run(work_dir, RunFacts(RUN_ID, "bench", "out", 0.0, {}, simulated=True))
    write_contracts(run, plan.contracts)
    begin, cpu = time.perf_counter(), time.process_time()
    journal = TimedJournal(run.journal)
    backend = ThreadingBackend(run.root, worker(workload))
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
        pacing=Pacing(max_executors=workload.executors),
        commit=journal.commit,
    )
    outcome = scheduler.run()
    wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    calls.close()
    backend.close()
    journal.close()
    if len(outcome.succeeded) != len(workload.tasks):
        raise SystemExit("Not every task succeeded.")
    return Measured(wall_s, cpu_s, journal.fsync_s)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--executors", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--repeat", type=int, default=3, help="runs of each")
    parser.add_argument("--dir", type=Path, help="where to work (the system's temporary directory)")
    parser.add_argument("--profile", action="store_true", help="profile the deciding thread")
    asked = parser.parse_args()
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory(dir=asked.dir) as folder:
        measure(flat(50, 8), Path(folder, "warm"))  # imports, pydantic's adapters
        print(f"{'tasks':>6} {'executors':>9} {'best wall':>12} {'median':>12} {'best CPU':>12}")
        for executors in asked.executors:
            runs = []
            for number in range(asked.repeat):
                if asked.profile:
                    profile.enable()
                workload = flat(asked.tasks, executors)
                runs.append(measure(workload, Path(folder, f"{executors}-{number}")))
                profile.disable()
            walls = sorted(run.wall_s / asked.tasks * 1e3 for run in runs)
            cpu_ms = min(run.cpu_s for run in runs) / asked.tasks * 1e3
            print(
                f"{asked.tasks:>6} {executors:>9} {walls[0]:>9.3f} ms"
                f" {median(walls):>9.3f} ms {cpu_ms:>9.3f} ms"
            )
    if asked.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()

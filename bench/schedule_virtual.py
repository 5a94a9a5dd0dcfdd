"""How near the scheduler comes to critical-path-first list scheduling, in virtual time.

Runs the real Scheduler, on the virtual backend, over random plans, and compares its makespan with
that of `list_schedule`, an event simulation of its own that shares no code with the engine.

    python -m bench.schedule_virtual [--tasks 10000 100000] [--executors 8 64]
"""

from __future__ import annotations

import argparse
import heapq
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.bundle import Allowance
from core.events import Event
from core.job import Job, JobKey, Usage
from core.plan import Analysis, Contract, Criterion, Plan, Task
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing
from engine.scheduling.virtual_backend import VirtualBackend, VirtualCalls, VirtualClock, VirtualEnd


@dataclass(frozen=True, slots=True)
class Reference:
    """Seconds: the list schedule's length, and two lower bounds of any schedule's."""

    makespan_s: float
    critical_path_s: float
    work_s: float


def list_schedule(plan: Plan, executors: int, seconds: Mapping[str, float]) -> Reference:
    """Critical-path-first list scheduling: at each moment the free executors take, of the tasks
    whose dependencies have ended, those with the longest path to the end (ties: plan's order)."""
    tasks = list(plan.tasks)
    index = {t.id: n for n, t in enumerate(tasks)}
    needs = [[index[d] for d in t.depends_on] for t in tasks]
    serves: list[list[int]] = [[] for _ in tasks]
    for n, earlier in enumerate(needs):
        for m in earlier:
            serves[m].append(n)
    level = _levels(needs, serves, [max(1, t.estimate) for t in tasks])
    path = _levels(needs, serves, [seconds[t.id] for t in tasks])

    left = [len(earlier) for earlier in needs]
    waiting = [(-level[n], n) for n, count in enumerate(left) if count == 0]
    heapq.heapify(waiting)
    running: list[tuple[float, int]] = []
    now = 0.0
    while waiting or running:
        while waiting and len(running) < executors:
            n = heapq.heappop(waiting)[1]
            heapq.heappush(running, (now + seconds[tasks[n].id], n))
        now = running[0][0]
        while running and running[0][0] == now:
            for m in serves[heapq.heappop(running)[1]]:
                left[m] -= 1
                if left[m] == 0:
                    heapq.heappush(waiting, (-level[m], m))
    return Reference(now, max(path), sum(seconds.values()))


def _levels(
    needs: list[list[int]], serves: list[list[int]], weight: list[float] | list[int]
) -> list[float]:
    """For each task the weight of the heaviest path from its start to the end of all."""
    level = [0.0] * len(needs)
    open_ends = [len(later) for later in serves]
    stack = [n for n, count in enumerate(open_ends) if count == 0]
    while stack:
        n = stack.pop()
        level[n] = weight[n] + max((level[m] for m in serves[n]), default=0.0)
        for m in needs[n]:
            open_ends[m] -= 1
            if open_ends[m] == 0:
                stack.append(m)
    return level


def random_plan(count: int, dice: random.Random, reach: int = 200) -> Plan:
    """A DAG of `count` tasks, each after up to three of the `reach` before it."""
    tasks = []
    for n in range(count):
        earlier = (
            {dice.randrange(max(0, n - reach), n) for _ in range(dice.randrange(4))} if n else ()
        )
        tasks.append(
            Task(
                id=f"t{n}",
                title=f"Task {n}",
                instructions="Do it.",
                depends_on=tuple(f"t{m}" for m in sorted(earlier)),
                owns=(f"t{n}/",),
                estimate=int(dice.lognormvariate(6, 1)) + 1,
            )
        )
    return Plan(
        title="Bench",
        summary="Random.",
        analysis=Analysis(complexity=5, rationale="-", recommended_executors=8, parallel_pays=True),
        contracts=(),
        tasks=tuple(tasks),
        acceptance_criteria=(Criterion(text="It ends.", served_by=("t0",)),),
    )


class _NoStore:
    destination = Path()

    def prepare(
        self, task: Task, key: JobKey, failure: str, done: Mapping[str, int], allowance: Allowance
    ) -> Job:
        return Job(key, self.destination, 0.0)

    def spent(self, key: JobKey) -> tuple[Usage, ...]:
        return ()

    def add_contract(self, contract: Contract) -> None: ...

    def take_plan(self, plan: Plan) -> None: ...


class _Count:
    def __init__(self) -> None:
        self.events = 0

    def emit(self, event: Event) -> None:
        self.events += 1


@dataclass(frozen=True, slots=True)
class Measured:
    makespan_s: float
    cpu_s: float
    events: int


def run_plan(plan: Plan, executors: int, seconds: Mapping[str, float]) -> Measured:
    """The plan on the real Scheduler: its length in virtual seconds, its cost in real ones."""
    clock, count = VirtualClock(), _Count()
    scheduler = Scheduler(
        "bench",
        plan,
        backend=VirtualBackend(clock, lambda key: VirtualEnd(seconds[key.task])),
        store=_NoStore(),
        sink=count,
        calls=VirtualCalls(clock),
        clock=clock,
        policy=RetryPolicy(1, random.Random(0)),
        pacing=Pacing(max_executors=executors, task_timeout_s=1e12),
    )
    begin = time.process_time()
    outcome = scheduler.run()
    cpu_s = time.process_time() - begin
    if len(outcome.succeeded) != len(plan.tasks):
        raise SystemExit("Not every task succeeded.")
    return Measured(clock.monotonic(), cpu_s, count.events)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--executors", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(
        f"{'tasks':>7} {'executors':>9} {'durations':>9} {'makespan':>12} {'reference':>12}"
        f" {'apart':>7} {'lower bound':>12} {'CPU':>8} {'a task':>9}"
    )
    for count in asked.tasks:
        plan = random_plan(count, random.Random(asked.seed))
        exact = {t.id: float(t.estimate) for t in plan.tasks}
        dice = random.Random(asked.seed + 1)
        off = {name: s * dice.uniform(0.5, 2.0) for name, s in exact.items()}
        for executors in asked.executors:
            for kind, seconds in (("estimate", exact), ("off", off)):
                _report(kind, plan, executors, seconds)


def _report(kind: str, plan: Plan, executors: int, seconds: Mapping[str, float]) -> None:
    reference = list_schedule(plan, executors, seconds)
    found = run_plan(plan, executors, seconds)
    bound = max(reference.critical_path_s, reference.work_s / executors)
    apart = found.makespan_s / reference.makespan_s - 1
    print(
        f"{len(plan.tasks):>7} {executors:>9} {kind:>9} {found.makespan_s:>10.0f} s"
        f" {reference.makespan_s:>10.0f} s {apart:>7.3%} {bound:>10.0f} s"
        f" {found.cpu_s:>6.2f} s {found.cpu_s / len(plan.tasks) * 1e6:>6.0f} µs"
    )


if __name__ == "__main__":
    main()

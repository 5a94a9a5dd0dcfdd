"""How long a plan takes: the real scheduler in virtual time."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from core.bundle import UNLIMITED, Allowance
from core.events import Broadcast
from core.job import Job, JobKey, Usage
from core.plan import Contract, Plan, Task
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing
from engine.scheduling.virtual_backend import VirtualBackend, VirtualCalls, VirtualClock, VirtualEnd


class _NoStore:
    """Nothing touches a disk in virtual time."""

    destination = Path()

    def prepare(
        self,
        task: Task,
        key: JobKey,
        previous_failure: str,
        succeeded: Mapping[str, int],
        allowance: Allowance = UNLIMITED,
    ) -> Job:
        return Job(key, self.destination, 0.0)

    def spent(self, key: JobKey) -> tuple[Usage, ...]:
        return ()

    def add_contract(self, contract: Contract) -> None: ...

    def take_plan(self, plan: Plan) -> None: ...


def makespan_s(plan: Plan, max_executors: int, seconds_of: Callable[[Task], float]) -> float:
    """How long the plan takes when each task takes `seconds_of` it and none fails."""
    seconds = {t.id: max(0.0, seconds_of(t)) for t in plan.tasks}
    clock = VirtualClock()
    backend = VirtualBackend(clock, lambda key: VirtualEnd(seconds[key.task]))
    Scheduler(
        "forecast",
        plan,
        backend=backend,
        store=_NoStore(),
        sink=Broadcast([]),
        calls=VirtualCalls(clock),
        clock=clock,
        policy=RetryPolicy(1, random.Random(0)),
        pacing=Pacing(max_executors, task_timeout_s=float("inf")),
    ).run()
    return clock.monotonic()

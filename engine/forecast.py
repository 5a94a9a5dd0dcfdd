"""The forecast: the plan, run by the real scheduler in virtual time before anything is paid for."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.virtual_backend import VirtualBackend, VirtualEnd
from core.events import Event
from core.job import Job, JobKey, Usage
from core.plan import Plan, Task
from engine.forecast_view import Forecast, Range
from engine.retry_policy import RetryPolicy
from engine.scheduler import Scheduler
from engine.terms import Pacing
from engine.virtual import VirtualCalls, VirtualClock

Price = Callable[[Usage], float | None]

# An executor writes about this much in a turn, and has to be told everything again in the next.
TOKENS_A_TURN = 1_500
TURNS_BESIDES_WRITING = 3
# Estimates are the planner's; what attempts really took lay between these multiples of them.
LOW, HIGH = 0.6, 2.5


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast Claude answers: seconds to the first token, then output tokens per second."""

    first_token_s: float
    tokens_per_s: float

    def seconds(self, task: Task) -> float:
        return _turns(task) * self.first_token_s + task.estimate / self.tokens_per_s


class _NoStore:
    """Nothing touches a disk in virtual time."""

    destination = Path()

    def prepare(
        self, task: Task, key: JobKey, previous_failure: str, succeeded: Mapping[str, int]
    ) -> Job:
        return Job(key, self.destination, 0.0)

    def spent(self, key: JobKey) -> tuple[Usage, ...]:
        return ()


class _NoSink:
    def emit(self, event: Event) -> None:
        pass


def forecast(
    plan: Plan,
    max_executors: int,
    *,
    speed: Speed,
    price: Price,
    provider: str,
    model: str,
    simulated: bool = False,
) -> Forecast:
    """What carrying out `plan` will take, from its estimates alone."""
    times = schedule(plan, max_executors, speed.seconds)
    shared = sum(len(c.content) for c in plan.contracts) // 4 + 2_000
    usages = [_expected_usage(task, shared, provider, model) for task in plan.tasks]
    costs = [price(usage) for usage in usages]
    known = [cost for cost in costs if cost is not None]
    return Forecast(
        executors=max_executors,
        seconds=_range(times.wall_s),
        work_s=times.work_s,
        tokens=_range(sum(usage.total_tokens for usage in usages)),
        cost_usd=_range(sum(known)) if len(known) == len(costs) else None,
        simulated=simulated,
    )


def _range(likely: float) -> Range:
    return Range(likely * LOW, likely, likely * HIGH)


def _turns(task: Task) -> int:
    return TURNS_BESIDES_WRITING + task.estimate // TOKENS_A_TURN


def _expected_usage(task: Task, shared: int, provider: str, model: str) -> Usage:
    """Each turn sends the shared prefix and, on average, half of what the task will write."""
    context = _turns(task) * (shared + task.estimate // 2)
    return Usage(provider, model, input_tokens=context, output_tokens=task.estimate)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Seconds: from start to end, all tasks one after the other, and the longest path."""

    wall_s: float
    work_s: float
    critical_path_s: float


def schedule(plan: Plan, max_executors: int, seconds_of: Callable[[Task], float]) -> Schedule:
    """How long the plan takes when each task takes `seconds_of` it and none fails."""
    seconds = {t.id: max(0.0, seconds_of(t)) for t in plan.tasks}
    return Schedule(
        wall_s=_makespan(plan, seconds, max_executors),
        work_s=sum(seconds.values()),
        critical_path_s=_makespan(plan, seconds, len(plan.tasks)),
    )


def _makespan(plan: Plan, seconds: Mapping[str, float], max_executors: int) -> float:
    clock = VirtualClock()
    backend = VirtualBackend(clock, lambda key: VirtualEnd(seconds[key.task]))
    Scheduler(
        "forecast",
        plan,
        backend=backend,
        store=_NoStore(),
        sink=_NoSink(),
        calls=VirtualCalls(clock),
        clock=clock,
        policy=RetryPolicy(1, random.Random(0)),
        pacing=Pacing(max_executors, task_timeout_s=float("inf")),
    ).run()
    return clock.monotonic()

"""The forecast: the plan run by the real scheduler in virtual time, before anything is paid for."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path

from claude.simulation.latency import Pace
from core.bundle import UNLIMITED, Allowance, ModelSettings
from core.events import Broadcast, Forecast, Range
from core.job import Amount, Job, JobKey, Usage
from core.plan import Contract, Plan, Task, render_brief
from engine.money.budget import CostEstimate
from engine.money.ledger import amount_of
from engine.money.usage import Price
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing
from engine.scheduling.virtual_backend import VirtualBackend, VirtualCalls, VirtualClock, VirtualEnd

# An executor writes about this much in a turn, and is sent everything again in the next.
TOKENS_A_TURN = 1_500
TURNS_BESIDES_WRITING = 3
# Estimates are the planner's; what attempts really took lay between these multiples of them.
LOW, HIGH = 0.6, 2.5

# The system prompt and tools of an executor's first request, by engine, and about as many bytes a
# token as English and code have. The worker's guard counts each byte as a token.
SYSTEM_BYTES = {"api": 10_000, "claude-code": 28_000, "planner": 16_000}
BYTES_A_TOKEN = 4
USUAL_CONTRACT_BYTES = 2_400
"""Of one that is not written yet."""
# The shortest last answer that an executor can do with.
LAST_TOKENS = 1_024


def expected_s(task: Task, speed: Pace) -> float:
    """How long an attempt will take."""
    return _turns(task) * speed.first_token_s + task.estimate * speed.per_token_s


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


def forecast(
    plan: Plan, max_executors: int, *, speed: Pace, price: Price, model: ModelSettings
) -> Forecast:
    """What carrying out `plan` will take, from its estimates alone."""
    wall_s = makespan_s(plan, max_executors, lambda task: expected_s(task, speed))
    given = _given_bytes(plan, model)
    usages = [
        usage
        for number, task in enumerate(plan.tasks)
        for usage in expected_requests(task, given[task.id], model, cached=number > 0)
    ]
    costs = [price(usage) for usage in usages]
    known = [cost for cost in costs if cost is not None]
    return Forecast(
        executors=max_executors,
        seconds=_range(wall_s),
        work_s=sum(expected_s(task, speed) for task in plan.tasks),
        tokens=_range(sum(usage.total_tokens for usage in usages)),
        cost_usd=_range(sum(known)) if len(known) == len(costs) else None,
        simulated=model.simulation is not None,
    )


def expected_needs(
    plan: Plan, prompt: str, price: Price, model: ModelSettings
) -> dict[str, CostEstimate]:
    """What to reserve for an attempt of each task, from the least that is worth a try.

    On top of what it will use comes room for the worst that one request could: the worker's guard
    lets none go out that does not fit in full.
    """
    given, size = _given_bytes(plan, model), _size(prompt)
    return {task.id: _need(task, size + given[task.id], price, model) for task in plan.tasks}


def most_of_planning(prompt: str, price: Price, model: ModelSettings) -> Amount:
    """What to set aside for a planner: room for two requests of the largest size, which the guard
    wants before each, and which real ones are far below."""
    written = SYSTEM_BYTES["planner"] + _size(prompt)
    usage = _usage(model, model.max_output_tokens, written=written)
    return amount_of([usage], price).times(2)


def _need(task: Task, given: int, price: Price, model: ModelSettings) -> CostEstimate:
    requests = expected_requests(task, given, model, cached=False)
    likely = amount_of(requests, price)
    own = len(task.model_dump_json().encode())
    written = max(given + own, requests[-1].total_tokens)
    worst = amount_of([_usage(model, LAST_TOKENS, written=written)], price)
    return CostEstimate(likely.times(LOW) + worst, likely, likely.times(HIGH) + worst)


def _range(likely: float) -> Range:
    return Range(likely * LOW, float(likely), likely * HIGH)


def _turns(task: Task) -> int:
    return TURNS_BESIDES_WRITING + task.estimate // TOKENS_A_TURN


def _given_bytes(plan: Plan, model: ModelSettings) -> dict[str, int]:
    """What each task's executor is sent: system prompt, tools, plan and the contracts it uses."""
    shared = SYSTEM_BYTES[model.engine] + _size(render_brief(plan))
    contracts = {contract.path: _size(contract.content) for contract in plan.contracts}
    return {
        task.id: shared + sum(contracts.get(path, USUAL_CONTRACT_BYTES) for path in task.uses)
        for task in plan.tasks
    }


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def expected_requests(
    task: Task, shared_bytes: int, model: ModelSettings, *, cached: bool
) -> list[Usage]:
    """One for each turn: it reads all before it from the cache, writes there what is new, and adds
    its part of the task's output. `cached`: the shared part is in the cache already."""
    turns, known = _turns(task), shared_bytes // BYTES_A_TOKEN
    context = known + len(task.model_dump_json()) // BYTES_A_TOKEN
    read = known if cached else 0
    requests = []
    for turn in range(turns):
        output = task.estimate * (turn + 1) // turns - task.estimate * turn // turns
        requests.append(_usage(model, output, read=read, written=context - read))
        read, context = context, context + output
    return requests


def _usage(model: ModelSettings, output: int, *, written: int, read: int = 0) -> Usage:
    return Usage(model.provider, model.model, 0, output, read, written)


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

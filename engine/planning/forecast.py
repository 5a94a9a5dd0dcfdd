"""The forecast: the plan run by the real scheduler in virtual time, before anything is paid for."""

from claude.engines.looking import MOST_TOKENS as MOST_LOOKED_TOKENS
from claude.engines.looking import MOST_TURNS
from core.bundle import ModelSettings
from core.events import Forecast, Part, Range
from core.job import Amount
from core.plan import Plan, Task
from engine.money.budget import CostEstimate
from engine.money.ledger import amount_of
from engine.money.usage import Price
from engine.planning.code_sizes import NO_CODE, CodeSizes
from engine.planning.comparison import Comparison, tasks_part
from engine.planning.requests import (
    NOTHING_MORE,
    PLANNER_BYTES,
    PlannerInput,
    Terms,
    byte_count,
    given_bytes,
    task_requests,
    task_s,
    usage_of,
)

# Estimates are the planner's; what attempts really took lay between these multiples of them.
LOW, HIGH = 0.6, 2.5
# The shortest last answer that an executor can do with.
LAST_TOKENS = 1_024


def forecast(
    plan: Plan,
    max_executors: int,
    terms: Terms,
    *,
    planning: Part | None = None,
    comparison: Comparison | None = None,
    unwritten_s: float = 0.0,
) -> Forecast:
    """What carrying out `plan` will take, from its estimates alone; `planning` is what making it
    took, where it was made. What is not written of it will take `unwritten_s`."""
    tasks = tasks_part(plan, max_executors, terms, unwritten_s)
    return Forecast(
        executors=max_executors,
        seconds=_range(tasks.seconds),
        work_s=sum(task_s(task, terms) for task in plan.tasks),
        tokens=_range(tasks.tokens),
        cost_usd=None if tasks.cost_usd is None else _range(tasks.cost_usd),
        simulated=terms.model.simulation is not None,
        planning=planning,
        alone=comparison.alone if comparison else None,
        parallel=comparison.parallel if comparison else None,
    )


def expected_needs(
    plan: Plan, prompt: str, price: Price, model: ModelSettings, code: CodeSizes = NO_CODE
) -> dict[str, CostEstimate]:
    """What to reserve for an attempt of each task, from the least that is worth a try.

    On top of what it will use comes room for the worst that one request could: the worker's guard
    lets none go out that does not fit in full.
    """
    given, size = given_bytes(plan, model), byte_count(prompt)
    return {task.id: _need(task, size + given[task.id], price, model, code) for task in plan.tasks}


def most_of_planning(
    prompt: str, price: Price, model: ModelSettings, given: PlannerInput = NOTHING_MORE
) -> Amount:
    """What to set aside for a planner: room for two requests of the largest size, which the guard
    wants before each, and which real ones are far below; and for those that look before."""
    written, read = PLANNER_BYTES + byte_count(prompt) + given.size, 0
    if given.looks:
        read = (given.sent_tokens(prompt) + MOST_LOOKED_TOKENS) * MOST_TURNS
        written += MOST_LOOKED_TOKENS
    usage = usage_of(model, model.max_output_tokens, written=written)
    return amount_of([usage], price).times(2) + amount_of(
        [usage_of(model, 0, written=0, read=read)], price
    )


def _need(
    task: Task, given: int, price: Price, model: ModelSettings, code: CodeSizes
) -> CostEstimate:
    requests = task_requests(task, given, model, code)
    likely = amount_of(requests, price)
    own = len(task.model_dump_json().encode())
    written = max(given + own, requests[-1].total_tokens)
    worst = amount_of([usage_of(model, LAST_TOKENS, written=written)], price)
    return CostEstimate(likely.times(LOW) + worst, likely, likely.times(HIGH) + worst)


def _range(likely: float) -> Range:
    return Range(likely * LOW, float(likely), likely * HIGH)

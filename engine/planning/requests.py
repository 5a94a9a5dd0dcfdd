"""What work will take of Claude, before any is asked: requests, tokens, seconds and dollars."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from claude.planning.draft_reader import USUAL_CONTRACT_TOKENS
from claude.simulation.latency import Pace
from core.bundle import ModelSettings
from core.events import Part
from core.job import Usage
from core.plan import Plan, Task, promised_contracts, render_brief
from engine.money.usage import Price
from engine.planning.code_sizes import NO_CODE, CodeSizes

# An executor writes about this much in a turn, and is sent everything again in the next.
TOKENS_A_TURN = 1_500
TURNS_BESIDES_WRITING = 3
MOST_TURNS = 1_000
"""What is more is taken as longer turns."""

# The system prompt and tools of an executor's first request, by engine, and about as many bytes a
# token as English and code have. The worker's guard counts each byte as a token.
SYSTEM_BYTES = {"api": 11_500, "claude-code": 28_000}
PLANNER_BYTES = 14_000
BYTES_A_TOKEN = 4
LOOKING_TURNS, LOOKED_TOKENS = 5, 15_000
"""How a planner looks at existing code before it answers: requests, and what it is shown in all."""
MAP_BYTES = 18_000
"""Of the map of that code, which is as long as it may be for all but small projects."""
USUAL_CONTRACT_BYTES = USUAL_CONTRACT_TOKENS * BYTES_A_TOKEN
"""Of one that is not written yet."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms a role works: which model, how fast it is, what its requests cost, how many
    bytes of context its prompt comes with, and on what existing code."""

    model: ModelSettings
    pace: Pace
    price: Price
    context: int = 0
    code: CodeSizes = NO_CODE


@dataclass(frozen=True, slots=True)
class PlannerInput:
    """What a planner gets beside the prompt: `size` in bytes, and whether it `looks` at code."""

    size: int = 0
    looks: bool = False

    def sent_tokens(self, prompt: str) -> int:
        """With its first request."""
        return (PLANNER_BYTES + byte_count(prompt) + self.size) // BYTES_A_TOKEN


NOTHING_MORE = PlannerInput()


def byte_count(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def shared_bytes(plan: Plan, model: ModelSettings) -> int:
    """What every executor is sent: system prompt, tools, plan, and contracts that all tasks use."""
    common = frozenset.intersection(*(frozenset(task.uses) for task in plan.tasks))
    contracts = _contract_bytes(plan)
    own = sum(contracts.get(path, USUAL_CONTRACT_BYTES) for path in common)
    return SYSTEM_BYTES[model.engine] + byte_count(render_brief(plan)) + own


def given_bytes(plan: Plan, model: ModelSettings) -> dict[str, int]:
    """What each task's executor is sent: system prompt, tools, plan and the contracts it uses."""
    base = SYSTEM_BYTES[model.engine] + byte_count(render_brief(plan))
    contracts = _contract_bytes(plan)
    return {
        task.id: base + sum(contracts.get(path, USUAL_CONTRACT_BYTES) for path in task.uses)
        for task in plan.tasks
    }


def _contract_bytes(plan: Plan) -> dict[str, int]:
    return {contract.path: byte_count(contract.content) for contract in plan.contracts}


def expected_s(output_tokens: int, pace: Pace) -> float:
    """How long one executor will take for so much work."""
    return _turns(output_tokens) * pace.first_token_s + output_tokens * pace.per_token_s


def task_s(task: Task, terms: Terms) -> float:
    """The same for a task."""
    return expected_s(terms.code.written_tokens(task), terms.pace)


def _turns(output_tokens: int) -> int:
    return min(MOST_TURNS, TURNS_BESIDES_WRITING + output_tokens // TOKENS_A_TURN)


def task_requests(
    task: Task, given: int, model: ModelSettings, code: CodeSizes = NO_CODE, *, cached: int = 0
) -> list[Usage]:
    """Those of one task, which is sent `given` bytes; of these, `cached` are in the cache."""
    known, own = cached // BYTES_A_TOKEN, len(task.model_dump_json()) // BYTES_A_TOKEN
    own += given // BYTES_A_TOKEN - known
    output, shown = code.written_tokens(task), code.shown_bytes(task.owns) // BYTES_A_TOKEN
    return expected_requests(output, known, own, model, cached=bool(cached), shown=shown)


def expected_requests(
    output_tokens: int,
    known: int,
    own: int,
    model: ModelSettings,
    *,
    cached: bool,
    shown: int = 0,
) -> list[Usage]:
    """One for each turn: it reads all before it from the cache, writes there what is new, and adds
    its part of the output. The first is sent `known` and `own` tokens, the `known` ones `cached` or
    not; each after it is `shown` as much of files as the others."""
    turns, context, read = _turns(output_tokens), known + own, known if cached else 0
    requests = []
    for turn in range(turns):
        output = output_tokens * (turn + 1) // turns - output_tokens * turn // turns
        requests.append(usage_of(model, output, read=read, written=context - read))
        read, context = context, context + output + shown // (turns - 1)
    return requests


def usage_of(model: ModelSettings, output: int, *, written: int, read: int = 0) -> Usage:
    return Usage(model.provider, model.model, 0, output, read, written)


def plan_tokens(plan: Plan) -> int:
    """About how many output tokens the plan was, or so far is."""
    return byte_count(plan.model_dump_json(exclude={"version", "prompt"})) // BYTES_A_TOKEN


def unwritten_tokens(plan: Plan) -> int:
    """About how many are still to come: the contracts that are used and not there yet."""
    missing = set(promised_contracts(plan)) - {contract.path for contract in plan.contracts}
    return len(missing) * USUAL_CONTRACT_BYTES // BYTES_A_TOKEN


def expected_planning(
    output_tokens: int, prompt: str, terms: Terms, given: PlannerInput = NOTHING_MORE
) -> Part:
    """What a plan of so many tokens takes, made in one request, or in one after those that look."""
    sent, model, pace = given.sent_tokens(prompt), terms.model, terms.pace
    if not given.looks:
        usages = [Usage(model.provider, model.model, sent, output_tokens)]
    else:
        step = LOOKED_TOKENS // LOOKING_TURNS
        usages = [
            usage_of(model, 0, written=step if n else sent, read=(sent + step * (n - 1)) * (n > 0))
            for n in range(LOOKING_TURNS + 1)
        ]
        usages[-1] = replace(usages[-1], output_tokens=output_tokens)
    seconds = len(usages) * pace.first_token_s + output_tokens * pace.per_token_s
    return part_of(seconds, usages, terms.price)


def part_of(seconds: float, usages: Iterable[Usage], price: Price) -> Part:
    """Requests together; without a cost where one has no price."""
    usages = list(usages)
    costs = [price(usage) for usage in usages]
    known = [cost for cost in costs if cost is not None]
    tokens = sum(usage.total_tokens for usage in usages)
    return Part(seconds, tokens, sum(known) if len(known) == len(costs) else None)

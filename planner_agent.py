"""PlannerAgent: prompt -> Plan. Ask, validate, send the defects back, at most three times.

Structured output holds the model to the plan's shape; where a provider refuses it, a forced tool
call with the same schema does. Rules between the parts are core.plan's; a planner's own are here.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import lru_cache
from typing import Any

from claude.allowance import guarded
from claude.client.client import connect
from claude.client.types import Block, Call, Claude, Hooks, Reply
from claude.limits.governor import Governor
from claude.preflight import try_models
from claude.prices import check_priced, pricing
from claude.prompts import load_prompt, render_defects, render_request
from core.clock import Clock
from core.credentials import Credentials
from core.errors import PlanInvalid, PlanningFailed, RequestRejected
from core.plan import Plan, parse_plan
from core.worker.planning import PlanningRequest

SUBMIT_PLAN = "submit_plan"
_SCHEMA_WORDS = ("output_config", "output_format", "output format", "schema", "structured")
_NO_PLAN = "(no plan)"


@dataclass(frozen=True, slots=True)
class _Answer:
    """One round: the model's text, as it goes back to it, and the plan or its defects."""

    text: str
    defects: tuple[str, ...] = ()
    plan: Plan | None = None


@dataclass
class PlannerAgent:
    """Plans with `claude`; `on_progress` takes lines for people."""

    claude: Claude
    _: KW_ONLY
    max_repairs: int = 3
    max_tokens: int = 32_000
    on_progress: Callable[[str], None] = lambda _: None
    _structured: bool = field(default=True, init=False)

    def plan(self, prompt: str) -> Plan:
        """A plan that can be run. Raises PlanningFailed with the defects of the last one, and
        ModelError."""
        messages = [_message("user", render_request(prompt))]
        defects: tuple[str, ...] = ()
        for repair in range(self.max_repairs + 1):
            again = f", repair {repair} of {self.max_repairs}" if repair else ""
            self.on_progress(f"asking for a plan{again}")
            answer = read_answer(self._ask(messages), self.max_tokens)
            if answer.plan is not None:
                return answer.plan.model_copy(update={"prompt": prompt})
            defects = answer.defects
            self.on_progress(f"the plan has {len(defects)} defect(s), first: {defects[0]}")
            messages.append(_message("assistant", answer.text))
            messages.append(_message("user", render_defects(defects)))
        message = f"No valid plan after {self.max_repairs} repairs. Defects of the last:"
        raise PlanningFailed(
            "\n".join([message, *(f"  - {defect}" for defect in defects)]),
            "Describe more exactly what you want, or write a plan and pass it with --plan.",
        )

    def _ask(self, messages: list[Block]) -> Reply:
        if self._structured:
            try:
                return self.claude.send(self._call(messages, output_schema=build_schema()))
            except RequestRejected as exc:
                if not any(word in exc.message.lower() for word in _SCHEMA_WORDS):
                    raise
                self._structured = False
                self.on_progress("structured output is refused here; using a tool call instead")
        description, schema = "Hand in the whole plan.", build_schema()
        tool = {"name": SUBMIT_PLAN, "description": description, "input_schema": schema}
        forced = {"type": "tool", "name": SUBMIT_PLAN}
        return self.claude.send(self._call(messages, tools=(tool,), tool_choice=forced))

    def _call(self, messages: list[Block], **more: Any) -> Call:
        system = ({"type": "text", "text": load_prompt("planner")},)
        return Call(system=system, messages=tuple(messages), max_tokens=self.max_tokens, **more)


AskForPlan = Callable[[PlanningRequest, Credentials, Governor, Clock, Hooks], Plan]
"""ask_for_plan, or one that has the plan made elsewhere."""


def plan_alone(
    request: PlanningRequest,
    credentials: Credentials,
    clock: Clock,
    hooks: Hooks,
    warn: Callable[[str], None],
    ask: AskForPlan,
) -> Plan:
    """Try the provider, then `ask` for a plan, both together within the allowance. Raises as
    `check_priced`, `try_models` and `ask_for_plan` do."""
    governor = Governor()
    check_priced([request.model], request.allowance.max_cost_usd)
    spent = try_models([request.model], credentials, clock=clock, governor=governor, warn=warn)
    for usage in spent:
        hooks.on_usage(usage)
    return ask(replace(request, spent=spent), credentials, governor, clock, hooks)


def ask_for_plan(
    request: PlanningRequest,
    credentials: Credentials,
    governor: Governor,
    clock: Clock,
    hooks: Hooks,
) -> Plan:
    """The plan that was asked for, by a client of its own. Raises as PlannerAgent.plan does, and
    BudgetExceeded."""
    model, limits = request.model, request.limits
    watched = guarded(hooks, request.allowance, model, pricing(model), request.spent)
    with connect(
        model, credentials, clock=clock, governor=governor, limits=limits, hooks=watched
    ) as claude:
        return PlannerAgent(claude, on_progress=hooks.on_progress).plan(request.prompt)


@lru_cache(maxsize=1)
def build_schema() -> Block:
    """The JSON schema of Plan for the API, without the fields that the program sets."""
    import anthropic  # more than a second, so not before it is used

    schema = anthropic.transform_schema(Plan)
    for own in ("version", "prompt"):
        schema["properties"].pop(own)
    return schema


def read_answer(reply: Reply, max_tokens: int) -> _Answer:
    """The plan in a reply, or everything that is wrong with it."""
    if reply.stop_reason == "refusal":
        declined = "the request was declined; plan the part of it that can be done"
        return _Answer(_NO_PLAN, (declined,))
    if reply.stop_reason == "max_tokens":
        short = f"the plan was cut at {max_tokens} output tokens; make it shorter: fewer tasks, "
        return _Answer(_NO_PLAN, (f"{short}terser instructions, smaller contracts",))
    if reply.broken_inputs:
        return _Answer(_NO_PLAN, (f"the input of {SUBMIT_PLAN} is not valid JSON",))
    if not (text := _plan_text(reply)):
        return _Answer(_NO_PLAN, ("the reply is empty; return the whole plan",))
    try:
        plan = parse_plan(_unfenced(text), "The reply")
    except PlanInvalid as exc:
        return _Answer(text, exc.defects)
    if defects := tuple(_planner_defects(plan)):
        return _Answer(text, defects)
    return _Answer(text, plan=plan)


def _plan_text(reply: Reply) -> str:
    for block in reply.content:
        if block["type"] == "tool_use":
            return json.dumps(block["input"], ensure_ascii=False)
    return "".join(b["text"] for b in reply.content if b["type"] == "text").strip()


def _unfenced(text: str) -> str:
    """The text from the first brace to the last: some put a fence or a sentence around it."""
    return text[text.find("{") : text.rfind("}") + 1] or text


def _planner_defects(plan: Plan) -> Iterator[str]:
    """Rules that hold for a planner, but not for a person who edits a plan."""
    if not plan.analysis.parallel_pays and len(plan.tasks) > 1:
        yield f"parallel_pays is false, but there are {len(plan.tasks)} tasks; make it one"
    for contract in plan.contracts:
        if not contract.content.strip():
            yield f"contract {contract.path!r} has no content; write the whole file"
    for task in plan.tasks:
        if task.estimate == 0:
            yield f"task {task.id!r} has no estimate; say how many output tokens it will take"


def _message(role: str, text: str) -> Block:
    return {"role": role, "content": [{"type": "text", "text": text}]}

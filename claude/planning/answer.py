"""Reads a planner's answer: a plan, its defects, or the beginning of one."""

import json
from dataclasses import dataclass, replace

from pydantic_core import from_json

from claude.client.types import Reply
from claude.planning.draft_reader import FindDefects, open_beginning
from claude.planning.schema import BEGINNING
from core.errors import PlanInvalid
from core.plan import Plan, parse_plan

SUBMIT_PLAN = "submit_plan"
_NO_PLAN = "(no plan)"


@dataclass(frozen=True, slots=True)
class Answer:
    """One round: the model's text, as it goes back to it, and the plan or its defects."""

    text: str
    defects: tuple[str, ...] = ()
    plan: Plan | None = None


def read_answer(reply: Reply, max_tokens: int, find_defects: FindDefects) -> Answer:
    """The plan in a reply, or everything that is wrong with it."""
    if reply.stop_reason == "refusal":
        declined = "the request was declined; plan the part of it that can be done"
        return Answer(_NO_PLAN, (declined,))
    if reply.stop_reason == "max_tokens":
        short = f"the plan was cut at {max_tokens} output tokens; make it shorter: fewer tasks, "
        return Answer(_NO_PLAN, (f"{short}terser instructions, smaller contracts",))
    if reply.broken_inputs:
        return Answer(_NO_PLAN, (f"the input of {SUBMIT_PLAN} is not valid JSON",))
    if not (text := _plan_text(reply)):
        return Answer(_NO_PLAN, ("the reply is empty; return the whole plan",))
    try:
        plan = parse_plan(_unfenced(text), "The reply")
    except PlanInvalid as exc:
        return Answer(text, exc.defects)
    if defects := tuple(find_defects(plan)):
        return Answer(text, defects)
    return Answer(text, plan=plan)


def read_beginning(reply: Reply) -> str:
    """The members that a plan begins with, and no others, as JSON; "" where one is missing or
    wrong, and where the plan goes on from there itself."""
    if reply.stop_reason == "refusal":
        return ""
    try:
        given = from_json(_unfenced(_plan_text(reply)))
        found = {name: given[name] for name in BEGINNING}
        Plan.model_validate_json(json.dumps(found | {"tasks": []}))
        return "" if "tasks" in given else json.dumps(found, ensure_ascii=False)
    except (ValueError, LookupError, TypeError):  # no JSON, a member less, no object
        return ""


def join_answers(beginning: str, rest: Reply) -> Reply:
    """The reply as if it had begun with the members of `beginning`."""
    text = _unfenced(_plan_text(rest))
    if not text.startswith("{"):
        return rest
    whole = f"{open_beginning(beginning)}{text[1:]}"
    return replace(rest, content=({"type": "text", "text": whole},))


def _plan_text(reply: Reply) -> str:
    for block in reply.content:
        if block["type"] == "tool_use" and block["name"] == SUBMIT_PLAN:
            return json.dumps(block["input"], ensure_ascii=False)
    return "".join(b["text"] for b in reply.content if b["type"] == "text").strip()


def _unfenced(text: str) -> str:
    """The text from the first brace to the last: some put a fence or a sentence around it."""
    return text[text.find("{") : text.rfind("}") + 1] or text

"""A plan as text: JSON that a person can edit, and the brief that every executor is sent."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from core.errors import PlanInvalid
from core.plan.model import PLAN_VERSION, Plan
from core.plan.rules import plan_defects

_REMEDY = "Correct these defects, or leave out --plan to have a new plan made."
_MOST_NAMED = 60
_MOST_USERS = 20


def parse_plan(text: str, source: str) -> Plan:
    """The plan in JSON, free of defects; one of version 1 as one of this version. Raises
    PlanInvalid, naming `source` and every defect."""
    try:
        document = from_json(text.encode())
    except ValueError as exc:
        defects = [f"the document: Invalid JSON: {exc}"]
        raise PlanInvalid(f"{source} is not a plan:", defects, _REMEDY) from exc
    return build_plan(document, source)


def build_plan(document: object, source: str) -> Plan:
    """The plan in a decoded document. Raises as `parse_plan` does."""
    try:
        plan = Plan.model_validate_json(json.dumps(_complete(document), default=str))
    except ValidationError as exc:
        raise PlanInvalid(f"{source} is not a plan:", shape_defects(exc), _REMEDY) from exc
    if defects := plan_defects(plan):
        raise PlanInvalid(f"{source} breaks the rules for plans:", defects, _REMEDY)
    return plan


def shape_defects(error: ValidationError) -> list[str]:
    return [
        f"{'.'.join(map(str, each['loc'])) or 'the document'}: {each['msg']}"
        for each in error.errors(include_url=False)
    ]


def _complete(document: object) -> object:
    """With what a person may leave out, and version 1 as version 2: a task that does not say what
    it uses uses all contracts, and one without a title is called by its id."""
    if not isinstance(document, dict):
        return document
    found = dict(document)
    if found.get("version") == 1:
        found["version"] = PLAN_VERSION
    paths = [c["path"] for c in _objects(found.get("contracts")) if "path" in c]
    if isinstance(found.get("tasks"), list):
        found["tasks"] = [
            {"uses": paths, "title": task.get("id", ""), **task} if isinstance(task, dict) else task
            for task in found["tasks"]
        ]
    return found


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def render_plan(plan: Plan) -> str:
    """The plan as JSON that a person can edit and `parse_plan` reads."""
    return json.dumps(plan.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def render_brief(plan: Plan) -> str:
    """What every executor may know of the whole plan, the same bytes for all of a run.

    It needs nothing of the contracts, so that it is known before they are written.
    """
    tasks = [
        f"{t.id}: {t.title}{_after(t.depends_on)}; writes {', '.join(t.owns)}" for t in plan.tasks
    ]
    users: dict[str, list[str]] = {}
    for task in plan.tasks:
        for path in task.uses:
            users.setdefault(path, []).append(task.id)
    contracts = [f"{path} (used by {_few(names)})" for path, names in users.items()]
    criteria = [f"{c.text} ({_few(c.served_by)})" for c in plan.acceptance_criteria]
    parts = [
        [f"# {plan.title}", "", plan.summary],
        _section("Assumptions", plan.assumptions),
        _section("Setup", list(_setup_lines(plan))),
        _section("Conventions", plan.conventions),
        _section("Tasks", _shortened(tasks)),
        _section("Contracts", _shortened(contracts)),
        _section("Acceptance criteria", _shortened(criteria)),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _setup_lines(plan: Plan) -> Iterator[str]:
    setup = plan.setup
    if setup.tools:
        yield f"tools: {', '.join(setup.tools)}"
    if setup.install:
        yield f"installed after the merge by: {' && '.join(setup.install)}"
    if setup.network:
        yield f"network: {setup.network}"
    if setup.start:
        yield f"started by: {setup.start}"


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MOST_USERS
    return ", ".join([*names[:_MOST_USERS], f"and {more} more"] if more > 0 else names)


def _after(depends_on: Sequence[str]) -> str:
    return f" (after {', '.join(depends_on)})" if depends_on else ""


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", *(f"- {line}" for line in lines)] if lines else []


def _shortened(lines: list[str]) -> list[str]:
    more = len(lines) - _MOST_NAMED
    return [*lines[:_MOST_NAMED], f"and {more} more"] if more > 0 else lines

"""Plans as text: JSON that comes back, plans of version 1, what may be left out, and the brief."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from core.errors import PlanInvalid
from core.plan import (
    USUAL_ESTIMATE,
    Plan,
    build_plan,
    build_single_task_plan,
    parse_plan,
    plan_defects,
    render_brief,
    render_plan,
)
from tests.fakes.plan_parts import GOOD, any_plans, contract, plan, task
from tests.fakes.plans import make_plan, plans


@given(any_plans() | plans())
def test_a_plan_comes_back_from_its_json(made: Plan) -> None:
    assert plan_defects(made) == []
    assert parse_plan(render_plan(made), "x") == made


def test_json_of_a_plan_can_be_edited_by_a_person() -> None:
    text = render_plan(plan(task("a", title="größer")))
    assert "größer" in text
    assert text.endswith("}\n")
    assert text.count("\n") > 20


@pytest.mark.parametrize(
    ("text", "defect"),
    [
        ("", "the document: Invalid JSON: EOF"),
        ("no plan today", "the document: Invalid JSON: expected"),
        ("[]", "the document: Input should be an object"),
        ("null", "the document: Input should be an object"),
        ("{" * 10_000, "the document: Invalid JSON"),
        ("[" * 10_000, "the document: Invalid JSON: recursion limit"),
        ('{"x": "\udcff"}', "the document: Invalid JSON"),
        (r'{"x": "\udcff"}', "the document: Invalid JSON: lone leading surrogate"),
        ("{}", "tasks: Field required"),
        ('{"tasks": "a"}', "tasks: Input should be a valid array"),
        ('{"tasks": [5]}', "tasks.0: Input should be an object"),
        ('{"tasks": [], "contracts": [5, {"content": ""}]}', "contracts.0: Input should be"),
        ('{"tasks": [], "contracts": {"path": "x"}}', "contracts: Input should be"),
        (
            render_plan(GOOD).replace('"estimate": 10', '"estimate": "much"'),
            "tasks.0.estimate: Input should be a valid integer",
        ),
        (
            render_plan(GOOD).replace('"estimate": 10', '"estimate": 1e400'),
            "tasks.0.estimate: Input should be a finite number",
        ),
        (
            render_plan(GOOD).replace('"checks"', '"cheks"'),
            "tasks.0.cheks: Extra inputs are not permitted",
        ),
        (render_plan(GOOD).replace('"version": 2', '"version": 3'), "version: Input should be 2"),
    ],
)
def test_what_is_no_plan_is_refused_with_the_place(text: str, defect: str) -> None:
    with pytest.raises(PlanInvalid, match=r"plan\.json is not a plan") as caught:
        parse_plan(text, "plan.json")
    assert any(d.startswith(defect) for d in caught.value.defects), caught.value.defects


def test_a_document_that_was_decoded_elsewhere_is_judged_alike() -> None:
    assert build_plan(json.loads(render_plan(GOOD)), "x") == GOOD
    with pytest.raises(PlanInvalid, match="tasks: Field required"):
        build_plan({}, "x")
    with pytest.raises(PlanInvalid, match="the document: Invalid JSON"):
        build_plan({"title": "\ud800", "tasks": []}, "x")


# -- version 1

VERSION_1: dict[str, Any] = {
    "version": 1,
    "prompt": "A todo list",
    "title": "Todo",
    "summary": "Keeps todos.",
    "analysis": {
        "complexity": 3,
        "rationale": "Small.",
        "recommended_executors": 2,
        "parallel_pays": True,
    },
    "contracts": [
        {"path": "types.py", "purpose": "Names.", "content": "x = 1\n"},
        {"path": "api.json", "purpose": "Routes.", "content": "{}"},
    ],
    "tasks": [
        {
            "id": name,
            "title": name.title(),
            "instructions": "Write it.",
            "depends_on": needs,
            "owns": [f"{name}.py"],
            "checks": ["true"],
            "estimate": 7,
        }
        for name, needs in (("store", []), ("view", ["store"]))
    ],
    "acceptance_criteria": [{"text": "It works.", "served_by": ["store"]}],
}


def test_a_plan_of_version_1_is_one_whose_tasks_use_all_contracts() -> None:
    made = parse_plan(json.dumps(VERSION_1), "plan.json")
    assert made.version == 2
    assert [t.uses for t in made.tasks] == [("types.py", "api.json")] * 2
    assert made.task("view").depends_on == ("store",)
    assert (made.assumptions, made.conventions) == ((), ())
    for name in ("prompt", "title", "summary"):
        assert getattr(made, name) == VERSION_1[name]
    assert made.analysis.model_dump() == VERSION_1["analysis"]
    assert made.acceptance_criteria[0].command == ""


def test_a_plan_of_version_1_keeps_the_rules_of_today() -> None:
    broken = json.dumps(VERSION_1).replace('"depends_on": ["store"]', '"depends_on": ["ghost"]')
    with pytest.raises(PlanInvalid, match="depends on 'ghost', which is not in the plan"):
        parse_plan(broken, "plan.json")


# -- what may be left out


def test_a_person_may_leave_out_what_has_a_default() -> None:
    least = {"tasks": [{"id": "a", "instructions": "Write it.", "owns": ["a.py"]}]}
    made = parse_plan(json.dumps(least), "x")
    (only,) = made.tasks
    assert (only.title, only.estimate, only.uses) == ("a", USUAL_ESTIMATE, ())
    assert render_plan(made) == render_plan(parse_plan(render_plan(made), "x"))


def test_a_task_that_does_not_say_what_it_uses_uses_all_contracts() -> None:
    document = json.loads(render_plan(GOOD))
    del document["tasks"][0]["uses"]
    document["tasks"][1]["uses"] = []
    made = build_plan(document, "x")
    assert [t.uses for t in made.tasks] == [("types.py", "api.json"), ()]


# -- the brief


def test_the_brief_tells_all_that_was_decided_and_who_does_what() -> None:
    assert (
        render_brief(GOOD)
        == """# A todo app

Keeps todos.

## Assumptions
- One person uses it.

## Setup
- tools: python 3.12, node 20
- installed after the merge by: npm ci && pip install -e .
- network: npm ci only
- started by: python3 -m todo

## Conventions
- Dates are ISO 8601.

## Tasks
- a: A; writes a.py
- b: B (after a); writes b.py

## Contracts
- types.py (used by a, b)
- api.json (used by b)

## Acceptance criteria
- It works. (a)
"""
    )


def test_the_brief_names_few_of_many_users() -> None:
    names = {f"t{n}": () for n in range(50)}
    brief = render_brief(make_plan(names, contracts={"types.py": ""}))
    (line,) = [line for line in brief.splitlines() if line.startswith("- types.py")]
    assert line.endswith("t18, t19, and 30 more)")
    assert line.count("t") < 30


def test_the_brief_is_the_same_before_the_contracts_are_written() -> None:
    assert render_brief(GOOD.model_copy(update={"contracts": ()})) == render_brief(GOOD)


def test_the_brief_of_a_large_plan_says_how_much_it_leaves_out() -> None:
    tasks = [task(f"t{n}", uses=(f"c{n}",)) for n in range(70)]
    brief = render_brief(plan(*tasks, contracts=tuple(contract(f"c{n}") for n in range(70))))
    assert brief.count("- and 10 more") == 2
    assert "t69" not in brief
    assert "c69" not in brief


def test_the_brief_has_no_empty_sections() -> None:
    brief = render_brief(build_single_task_plan("Write a script."))
    assert [line for line in brief.splitlines() if line.startswith("#")] == [
        "# Write a script.",
        "## Tasks",
    ]

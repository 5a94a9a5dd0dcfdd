"""A plan while it is being written: what is complete is told, and judged as the whole will be."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.plan import Plan, Task, head_defects, render_plan
from core.plan.draft import Part, PlanDraft
from tests.core.plan.test_json_pieces import cuts, texts, values
from tests.fakes.plan_parts import GOOD, any_plans, contract, plan, task

NAMES = [name for name in Plan.model_fields if name not in ("version", "prompt")]


def draft_of(*parts: str) -> tuple[PlanDraft, list[tuple[str, Part]]]:
    draft = PlanDraft()
    return draft, [found for part in parts for found in draft.feed(part)]


def text_of(**changes: Any) -> str:
    """GOOD as a planner writes it, with other members in the place of some of its own."""
    return json.dumps(GOOD.model_dump(mode="json", exclude={"version", "prompt"}) | changes)


@given(any_plans(), st.data())
def test_in_the_end_all_parts_have_come_once_and_in_their_order(
    made: Plan, data: st.DataObject
) -> None:
    text = render_plan(made)
    draft, found = draft_of(*data.draw(cuts(text)))
    expected: list[tuple[str, Part]] = []
    for name in NAMES:
        value = getattr(made, name)
        expected += [(name, each) for each in (value if isinstance(value, tuple) else [value])]
    assert found == expected
    assert draft.head() == made.model_copy(update={"contracts": ()})
    assert draft.contracts == {c.path: c for c in made.contracts}
    assert all(map(draft.is_complete, NAMES))
    assert draft.chars == len(text)


def test_the_head_is_there_before_the_contracts_and_each_of_these_when_it_is_whole() -> None:
    text = text_of()
    draft = PlanDraft()
    heads, contracts = list[int](), list[int]()
    for n, character in enumerate(text):
        draft.feed(character)
        heads += [n] if draft.head() is not None and not heads else []
        contracts += [n] if len(draft.contracts) > len(contracts) else []
    assert heads == [text.index('"contracts"') - 3]
    assert contracts[0] == text.index('"x = 1\\n"') + len('"x = 1\\n"},') - 1
    assert draft.head() == GOOD.model_copy(update={"contracts": ()})


def test_what_has_begun_is_a_plan_of_what_there_is() -> None:
    text = text_of()
    draft, _ = draft_of("Here it is: ")
    assert draft.begun == Plan(tasks=())
    draft.feed(text[: text.index('"summary"')])
    assert draft.begun == Plan(title=GOOD.title, tasks=())
    draft.feed(text[text.index('"summary"') : text.index('"setup"')])
    assert (draft.begun.analysis, draft.begun.assumptions) == (GOOD.analysis, GOOD.assumptions)
    assert (draft.is_complete("analysis"), draft.is_complete("setup")) == (True, False)
    draft.feed(text[text.index('"setup"') : text.index('"depends_on": ["a"]')])
    assert draft.begun.tasks == GOOD.tasks[:1]
    assert not draft.is_complete("tasks")
    assert draft.head() is None


def test_a_head_that_breaks_a_rule_is_none() -> None:
    tasks = json.loads(render_plan(plan(task("a", "ghost"))))["tasks"]
    draft, found = draft_of(text_of(tasks=tasks))
    assert ("tasks", task("a", "ghost")) in found
    assert head_defects(draft.begun)
    assert draft.head() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"title": 5},
        {"title": None},
        {"title": ["a"]},
        {"title": "\ud800"},
        {"summary": {"a": 1}},
        {"assumptions": "one"},
        {"assumptions": None},
        {"assumptions": [1]},
        {"conventions": ["\udfff"]},
        {"analysis": "hard"},
        {"analysis": [{"complexity": 1}]},
        {"setup": {"surprise": 1}},
        {"tasks": {"id": "a"}},
        {"tasks": [None]},
        {"tasks": ["a"]},
        {"tasks": [[]]},
        {"tasks": [{"id": "a", "instructions": "Do.", "owns": ["x"], "uses": [], "more": 1}]},
        {"tasks": None},
        {"tasks": [json.loads("[" * 600 + "]" * 600)]},
        {"acceptance_criteria": [{"text": 5}]},
        {"contracts": [{"path": "x"}]},
        {"contracts": "none"},
        {"version": 3},
        {"surprise": []},
        {"surprise": 1},
    ],
)
def test_what_has_not_the_right_shape_is_left_out_and_no_work_begins(
    changes: dict[str, Any],
) -> None:
    (name,) = changes
    draft, found = draft_of(text_of(**changes))
    told = {part for part, _ in found}
    assert name not in told
    assert told >= set(NAMES) - {name}
    assert isinstance(draft.begun, Plan)
    assert draft.head() is None


def test_a_task_without_title_is_called_by_its_id() -> None:
    _, found = draft_of('{"tasks": [{"id": "a", "instructions": "x", "owns": ["y"], "uses": []}]')
    assert [part.title for _, part in found if isinstance(part, Task)] == ["a"]


def test_a_task_that_does_not_say_what_it_uses_has_to_wait_for_the_whole_plan() -> None:
    """By the rules for whole plans it uses all contracts, and which these are is not known yet."""
    bare = {"id": "a", "instructions": "x", "owns": ["y"]}
    rest: dict[str, Any] = {"shared": [], "acceptance_criteria": [], "contracts": []}
    draft, found = draft_of(text_of(tasks=[bare], **rest))
    assert "tasks" in {name for name, _ in found}
    assert draft.head() is None
    draft, _ = draft_of(text_of(tasks=[bare | {"uses": []}], **rest))
    assert draft.head() is not None


@pytest.mark.parametrize("name", ["assumptions", "analysis", "setup", "conventions"])
def test_no_work_begins_before_all_that_it_stands_on_is_written(name: str) -> None:
    members = json.loads(text_of())
    value = members.pop(name)
    late = json.dumps(members | {name: value})
    draft, _ = draft_of(late[: late.rindex(f'"{name}"')])
    assert draft.head() is None
    draft.feed(late[late.rindex(f'"{name}"') :])
    assert draft.head() is not None


@pytest.mark.parametrize("name", NAMES)
def test_no_work_begins_on_what_is_said_twice(name: str) -> None:
    text = text_of()
    draft, found = draft_of(f'{text[:-1]}, "{name}": {json.dumps(json.loads(text)[name])}}}')
    assert draft.head() is None
    assert found == draft_of(text)[1]


def test_no_work_begins_on_a_text_that_turned_out_to_be_no_json() -> None:
    text = text_of().replace('"contracts"', '"contracts" oh')
    draft, found = draft_of(text)
    assert "acceptance_criteria" in {name for name, _ in found}
    assert draft.head() is None
    assert draft.feed('"title": "more"}') == []


members = st.dictionaries(st.sampled_from([*NAMES, "version", "prompt"]) | texts, values)
parts = st.recursive(
    st.sampled_from([json.loads(render_plan(GOOD))["tasks"][0], "x", None, 5, ["y"], {}]),
    lambda v: st.lists(v, max_size=3),
    max_leaves=4,
)


@given(members | st.dictionaries(st.sampled_from(NAMES), parts), texts, st.data())
def test_garbage_never_raises(value: dict[str, Any], more: str, data: st.DataObject) -> None:
    draft, _ = draft_of(*data.draw(cuts(json.dumps(value, ensure_ascii=False) + more)))
    assert isinstance(draft.begun, Plan)
    head = draft.head()
    assert head is None or not head_defects(head)


def test_a_contract_that_is_written_twice_counts_as_it_was_written_last() -> None:
    twice = [contract("x", text).model_dump() for text in ("old", "new")]
    draft, _ = draft_of(text_of(contracts=twice))
    assert draft.contracts["x"].content == "new"

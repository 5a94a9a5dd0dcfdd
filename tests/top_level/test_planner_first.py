"""Of a short request it is first asked whether a plan pays, which then goes on from there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude.client.types import Call, Reply
from claude.planning.schema import Members, build_schema
from claude.prompts import PLAN_GOES_ON, load_prompt
from core.context import Context, ContextImage
from core.plan import Plan
from core.plan.draft import AnswerBegan, ContractWritten, HeadWritten
from core.worker.planning import Parallel
from planner_agent import SHORT_CHARS
from tests.fakes.scripted_claude import act, act_broken, say, use
from tests.top_level.test_planner_agent import GOOD, REFUSED, plan_json, planned

ASKED = "Build a todo list"
FIRST = ("title", "summary", "assumptions", "analysis")
BEGINNING = {k: v for k, v in plan_json().items() if k in FIRST}
REST = {k: v for k, v in plan_json().items() if k not in FIRST}
ALONE = BEGINNING | {"analysis": BEGINNING["analysis"] | {"parallel_pays": False}}
WHOLE = Plan.model_validate(plan_json())


def dumped(members: Any) -> str:
    return json.dumps(members)


def test_the_plan_goes_on_from_the_first_answer() -> None:
    plan, claude = planned(say(dumped(BEGINNING)), say(dumped(REST)), request=ASKED)
    assert plan == WHOLE.model_copy(update={"prompt": ASKED})
    first, second = claude.calls
    assert first.system[0]["text"] == load_prompt("planner_first")
    assert first.output_schema == build_schema(Members.BEGINNING)
    assert second.system[0]["text"] == load_prompt("planner")
    assert second.output_schema == build_schema(Members.REST)
    texts = [message["content"][0]["text"] for message in second.messages]
    assert texts == [first.messages[0]["content"][0]["text"], dumped(BEGINNING), PLAN_GOES_ON]


def test_both_answers_together_have_every_member_once() -> None:
    schemas = [build_schema(members) for members in (Members.BEGINNING, Members.REST)]
    one, other = (set(schema["properties"]) for schema in schemas)
    assert one | other == set(build_schema()["properties"])
    assert not one & other
    assert [set(schema["required"]) for schema in schemas] == [one, other]
    parts = [set(schema["$defs"]) for schema in schemas]
    assert parts == [{"Analysis"}, {"Setup", "Task", "Criterion", "Contract"}]


def test_one_executor_is_found_to_be_enough_by_the_first_question() -> None:
    plan, claude = planned(say(dumped(ALONE)), request="x" * SHORT_CHARS)
    assert len(claude.calls) == 1
    assert [task.owns for task in plan.tasks] == [("./",)]
    assert (plan.title, plan.assumptions) == ("Todo", ("One person uses it.",))


def test_what_is_complete_is_told_once_and_as_of_one_plan() -> None:
    heard: list[Any] = []
    told: list[str] = []
    plan, _ = planned(
        say(dumped(BEGINNING)),
        say(f"So:\n{dumped(REST)}"),
        request=ASKED,
        on_draft=heard.append,
        on_progress=told.append,
    )
    head = plan.model_copy(update={"contracts": (), "prompt": ""})
    told_of_one = [HeadWritten(head), ContractWritten(plan.contracts[0])]
    assert heard == [AnswerBegan(), AnswerBegan(), *told_of_one]
    assert sum(line.startswith("title: Todo") for line in told) == 1


def test_a_plan_that_is_answered_whole_is_taken() -> None:
    plan, claude = planned(say(GOOD), request=ASKED)
    assert plan.tasks == WHOLE.tasks
    assert len(claude.calls) == 1


@pytest.mark.parametrize("rest", [dumped(REST | {"contracts": []}), "no plan", "[1]", "{"])
def test_a_wrong_rest_goes_back_and_the_whole_plan_is_asked_for(rest: str) -> None:
    plan, claude = planned(say(dumped(BEGINNING)), say(rest), say(GOOD), request=ASKED)
    assert plan.tasks == WHOLE.tasks
    last = claude.calls[2]
    assert last.output_schema == build_schema()
    assert [message["role"] for message in last.messages] == ["user", "assistant"] * 2 + ["user"]
    assert "<defects>" in last.messages[4]["content"][0]["text"]


@pytest.mark.parametrize(
    "first",
    [
        *map(say, ["no plan", "[]", "", "{", "{}", dumped(BEGINNING) + " {}"]),
        say(dumped({k: BEGINNING[k] for k in ("title", "summary", "assumptions")})),
        say(dumped(BEGINNING | {"analysis": {"parallel_pays": "perhaps"}})),
        say(dumped(BEGINNING), "refusal"),
        act_broken("submit_plan", dumped(BEGINNING)[:-9]),
    ],
)
def test_a_first_answer_that_is_none_goes_back(first: Reply) -> None:
    plan, claude = planned(first, say(GOOD), request=ASKED)
    assert plan.tasks == WHOLE.tasks
    assert claude.calls[1].output_schema == build_schema()


def test_the_first_answer_gives_what_it_was_asked_for_alone() -> None:
    more = {"version": 1, "setup": {"start": "x"}, "conventions": ["Tabs"], "notes": "?"}
    heard: list[Any] = []
    first = say(f"```json\n{dumped(BEGINNING | more)}\n```")
    plan, claude = planned(first, say(dumped(REST)), request=ASKED, on_draft=heard.append)
    assert plan == WHOLE.model_copy(update={"prompt": ASKED})
    assert claude.calls[1].messages[1]["content"][0]["text"] == dumped(BEGINNING)
    assert heard[2] == HeadWritten(plan.model_copy(update={"contracts": (), "prompt": ""}))


def test_no_task_begins_on_what_the_rest_says_twice() -> None:
    heard: list[Any] = []
    parts = (say(dumped(BEGINNING)), say(dumped(plan_json(assumptions=["Two use it."]))))
    plan, _ = planned(*parts, request=ASKED, on_draft=heard.append)
    assert plan.assumptions == ("Two use it.",)
    assert not any(isinstance(each, HeadWritten) for each in heard)


def test_the_rest_is_read_from_its_start_again_when_its_stream_is() -> None:
    heard: list[Any] = []

    def twice(call: Call) -> Reply:
        reader = call.open_reader()
        assert not reader(dumped(REST)[:200])
        return say(dumped(REST))

    plan, _ = planned(say(dumped(BEGINNING)), twice, request=ASKED, on_draft=heard.append)
    assert plan.tasks == WHOLE.tasks
    assert heard[:3] == [AnswerBegan()] * 3
    assert heard[3] == HeadWritten(plan.model_copy(update={"contracts": (), "prompt": ""}))


def test_without_structured_output_both_parts_are_tool_calls() -> None:
    parts = (act(use("submit_plan", **members)) for members in (BEGINNING, REST))
    plan, claude = planned(REFUSED, *parts, request=ASKED)
    assert plan.tasks == WHOLE.tasks
    schemas = [call.tools[0]["input_schema"] for call in claude.calls[1:]]
    assert schemas == [build_schema(Members.BEGINNING), build_schema(Members.REST)]


@pytest.mark.parametrize(
    "more",
    [
        {"request": "x" * (SHORT_CHARS + 1)},
        {"parallel": Parallel.ALWAYS},
        {"repository": "app/\n"},
        {"context": Context("y" * SHORT_CHARS)},
        {"context": Context(images=(ContextImage("a.png", "image/png", ""),))},
    ],
    ids=["long", "always", "existing code", "long context", "images"],
)
def test_whoever_needs_a_whole_plan_is_asked_for_it_at_once(more: dict[str, Any]) -> None:
    _, claude = planned(say(GOOD), **{"request": ASKED} | more)
    assert claude.calls[0].output_schema == build_schema(existing="repository" in more)

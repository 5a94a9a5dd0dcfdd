"""The planner: asking, what is wrong with an answer, and how often it may be put right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude.client.types import Hooks, Reply
from claude.limits.governor import Governor
from claude.planning.answer import SUBMIT_PLAN
from claude.planning.schema import build_schema
from claude.prompts import load_prompt
from core.bundle import Limits, ModelSettings
from core.credentials import Credentials
from core.errors import CredentialsRefused, PlanningFailed, RequestRejected
from core.plan import Plan, plan_defects
from core.plan.draft import AnswerBegan, ContractWritten, HeadWritten
from core.plan.single import estimate_alone
from core.worker.planning import Parallel, PlanningRequest, Revision
from planner_agent import PlannerAgent, ask_for_plan, plan_alone
from tests.fakes.scripted_claude import Answer, FakeClock, ScriptedClaude, act, act_broken, say, use


def plan_json(**changes: Any) -> dict[str, Any]:
    """A plan of two tasks, as the model would send it."""
    tasks = [
        {
            "id": name,
            "title": name,
            "instructions": f"Write {name}.",
            "depends_on": [],
            "owns": [f"app/{name}.py"],
            "uses": ["app/types.py"],
            "estimate": 5_000,
            "checks": [],
        }
        for name in ("store", "view")
    ]
    plan = {
        "title": "Todo",
        "summary": "A todo list.",
        "assumptions": ["One person uses it."],
        "analysis": {
            "complexity": 3,
            "rationale": "Two parts.",
            "parallel_pays": True,
            "recommended_executors": 2,
        },
        "setup": {"tools": ["python 3.12"], "install": [], "network": "none", "start": "app"},
        "conventions": ["Times are UTC."],
        "tasks": tasks,
        "acceptance_criteria": [
            {"text": "It lists.", "served_by": ["store", "view"], "command": ""}
        ],
        "contracts": [{"path": "app/types.py", "purpose": "Types.", "content": "PORT = 8000\n"}],
    }
    return plan | changes


GOOD = json.dumps(plan_json())
REQUEST = f"Build a todo list{', and one for each of us' * 10}"


def planned(*answers: Answer, request: str = REQUEST, **more: Any) -> tuple[Plan, ScriptedClaude]:
    claude = ScriptedClaude(answers)
    return PlannerAgent(claude, **more).plan(request), claude


def defects_of(reply: Reply) -> str:
    """What the model is told after `reply`."""
    _, claude = planned(reply, say(GOOD))
    text: str = claude.calls[1].messages[2]["content"][0]["text"]
    return text


def test_a_good_plan_is_taken_at_once() -> None:
    plan, claude = planned(say(GOOD), max_tokens=999)
    assert [t.id for t in plan.tasks] == ["store", "view"]
    assert plan.version == 2
    (call,) = claude.calls
    text = call.messages[0]["content"][0]["text"]
    assert text == f"<request>\n{REQUEST}\n</request>"
    assert call.system[0]["text"] == load_prompt("planner")
    assert (call.max_tokens, call.output_schema, call.tools) == (999, build_schema(), ())


def test_the_schema_is_closed_and_leaves_the_version_out() -> None:
    schema = build_schema()
    assert "version" not in schema["properties"]
    assert set(schema["required"]) == set(schema["properties"]) == set(plan_json())
    assert schema["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())


def test_the_prompt_names_every_rule_the_code_checks() -> None:
    text = load_prompt("planner")
    for word in (
        "parallel_pays",
        "wildcards",
        "differ in case",
        "served_by",
        "estimate",
        "cycles",
        "uses",
    ):
        assert word in text


@pytest.mark.parametrize("wrap", ["```json\n{}\n```", "Here is the plan:\n{}\nEnjoy!"])
def test_a_plan_with_words_around_it_is_read_all_the_same(wrap: str) -> None:
    plan, _ = planned(say(wrap.replace("{}", GOOD)))
    assert plan.title == "Todo"


def test_every_defect_goes_back_with_what_the_model_said() -> None:
    bad = plan_json()
    bad["tasks"][0]["depends_on"] = ["view", "none"]
    bad["tasks"][1]["depends_on"] = ["store"]
    bad["tasks"][1]["owns"] = ["../x", "app/types.py"]
    bad["acceptance_criteria"][0]["served_by"] = []
    plan, claude = planned(say(json.dumps(bad)), say(GOOD))
    assert plan.title == "Todo"
    first, said, defects = claude.calls[1].messages
    assert [m["role"] for m in (first, said, defects)] == ["user", "assistant", "user"]
    assert said["content"][0]["text"] == json.dumps(bad)
    lines = defects["content"][0]["text"].split("\n")
    assert (lines[0], lines[-1]) == ("<defects>", "</defects>")
    told = "\n".join(lines[1:-1])
    for words in ("not in the plan", "cycle", "'../x'", "a contract", "served by no task"):
        assert words in told
    assert all(line.startswith("- ") for line in lines[1:-1])


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (say("no plan today"), "the document: Invalid JSON"),
        (say("{"), "the document: Invalid JSON"),
        (say("[" * 10_000), "the document: Invalid JSON"),
        (say("null"), "the document"),
        (say("\ud800"), "the document"),
        (say('{"title": 1}'), "title: Input should be a valid string"),
        (say(json.dumps(plan_json(extra=1))), "extra: Extra inputs are not permitted"),
        (say(json.dumps(plan_json(version=3))), "version: Input should be 2"),
        (say(json.dumps(plan_json(tasks=[]))), "the plan has no tasks"),
        (act(stop_reason="end_turn"), "the reply is empty"),
        (say("  \n"), "the reply is empty"),
        (say(GOOD[:200], "max_tokens"), "cut at 32000 output tokens; make it shorter"),
        (say("I cannot.", "refusal"), "the request was declined"),
        (act_broken(SUBMIT_PLAN, '{"title"'), "the input of submit_plan is not valid JSON"),
    ],
)
def test_each_kind_of_bad_answer_has_its_own_defect(reply: Reply, told: str) -> None:
    assert told in defects_of(reply)


def changed(path: str, value: Any) -> Reply:
    plan: Any = plan_json()
    *parents, last = path.split(".")
    part = plan
    for name in parents:
        part = part[int(name)] if name.isdigit() else part[name]
    part[last] = value
    return say(json.dumps(plan))


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (changed("acceptance_criteria", []), "the plan has no acceptance criteria"),
        (changed("contracts.0.content", " \n"), "contract 'app/types.py' has no content"),
        (changed("tasks.1.estimate", 0), "task 'view' has no estimate"),
    ],
)
def test_a_planner_is_held_to_more_than_a_person(reply: Reply, told: str) -> None:
    assert told in defects_of(reply)


def test_a_package_marker_may_be_empty() -> None:
    plan: Any = plan_json()
    told: list[str] = []
    plan["contracts"].append({"path": "app/__init__.py", "purpose": "", "content": ""})
    made, claude = planned(say(json.dumps(plan)), on_progress=told.append)
    assert any(line.startswith("contract app/__init__.py (") for line in told)
    assert made.contracts[-1].content == ""
    assert len(claude.calls) == 1


@pytest.mark.parametrize("reply", [say("no", "refusal"), say("x", "max_tokens"), say(" ")])
def test_what_cannot_go_back_is_replaced_so_that_roles_alternate(reply: Reply) -> None:
    _, claude = planned(reply, say(GOOD))
    assert claude.calls[1].messages[1]["content"] == [{"type": "text", "text": "(no plan)"}]


def test_repairs_are_bounded_and_the_last_defects_are_shown() -> None:
    bad = json.dumps(plan_json(tasks=[]))
    claude = ScriptedClaude([say("{}"), say(" "), say("[]"), say(bad)])
    told: list[str] = []
    with pytest.raises(PlanningFailed) as failure:
        PlannerAgent(claude, on_progress=told.append).plan(REQUEST)
    assert "No valid plan after 3 repairs" in str(failure.value)
    assert "  - the plan has no tasks" in str(failure.value)
    assert "--plan" in failure.value.remedy
    assert [len(call.messages) for call in claude.calls] == [1, 3, 5, 7]
    assert [line for line in told if "asking" in line] == [
        "asking for a plan",
        *(f"asking for a plan, repair {n} of 3" for n in (1, 2, 3)),
    ]


REFUSED = RequestRejected("Bedrock: output_config.format: Extra inputs are not permitted")


def test_where_structured_output_is_refused_a_tool_call_does_it_from_then_on() -> None:
    bad = act(use(SUBMIT_PLAN, title="x"))
    plan, claude = planned(REFUSED, bad, act(use(SUBMIT_PLAN, **plan_json())))
    assert plan.title == "Todo"
    _, second, third = claude.calls
    for call in (second, third):
        assert call.output_schema is None
        assert call.tool_choice == {"type": "tool", "name": SUBMIT_PLAN}
        assert call.tools[0]["input_schema"] == build_schema()
    assert third.messages[1]["content"][0]["text"] == '{"title": "x"}'
    assert "tasks: Field required" in third.messages[2]["content"][0]["text"]


def test_a_refusal_of_the_tool_call_too_is_raised() -> None:
    with pytest.raises(RequestRejected):
        planned(REFUSED, REFUSED)


@pytest.mark.parametrize(
    "error", [RequestRejected("Too long. For more information, see"), CredentialsRefused("x")]
)
def test_other_errors_are_raised_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)):
        planned(error)


def alone(**changes: Any) -> tuple[Plan, list[Any]]:
    """What becomes of a plan that turns out not to pay, and the events on the way."""
    heard: list[Any] = []
    plan, claude = planned(say(json.dumps(plan_json(**changes))), on_draft=heard.append)
    assert len(claude.calls) == 1
    return plan, heard


def test_where_parallel_work_does_not_pay_the_answer_is_cut_and_one_executor_builds_it() -> None:
    read = plan_json()["analysis"] | {"parallel_pays": False}
    plan, heard = alone(analysis=read)
    assert heard == [AnswerBegan()]  # nothing of tasks or contracts was waited for
    (task,) = plan.tasks
    assert (task.owns, task.estimate) == (("./",), estimate_alone(3))
    assert (plan.title, plan.summary) == ("Todo", "A todo list.")
    assert plan.assumptions == ("One person uses it.",)
    assert plan.prompt == REQUEST
    assert not plan.analysis.parallel_pays
    assert not plan_defects(plan)


def test_tasks_that_cannot_run_beside_each_other_are_one_executor_s() -> None:
    tasks = plan_json()["tasks"]
    tasks[1]["depends_on"] = ["store"]
    plan, heard = alone(tasks=tasks)
    assert heard == [AnswerBegan()]
    assert [t.estimate for t in plan.tasks] == [10_000]
    assert plan.conventions == ("Times are UTC.",)


@pytest.mark.parametrize("executors", [1, 2])
def test_it_counts_how_many_executors_there_are(executors: int) -> None:
    plan, _ = planned(say(GOOD), executors=executors)
    assert len(plan.tasks) == executors


def test_always_is_told_to_the_planner_and_nothing_is_cut() -> None:
    read = plan_json()["analysis"] | {"parallel_pays": False}
    text = json.dumps(plan_json(analysis=read))
    plan, claude = planned(say(text), parallel=Parallel.ALWAYS, executors=1)
    assert len(plan.tasks) == 2
    assert "at least two tasks" in claude.calls[0].messages[0]["content"][0]["text"]


def test_the_planner_is_told_what_executors_can_do() -> None:
    _, claude = planned(say(GOOD), surroundings="<executors>\nThey cannot.\n</executors>")
    text = claude.calls[0].messages[0]["content"][0]["text"]
    assert text.endswith("</request>\n<executors>\nThey cannot.\n</executors>")


def test_what_is_complete_is_told_while_the_answer_is_written() -> None:
    heard: list[Any] = []
    plan, _ = planned(say(GOOD), on_draft=heard.append)
    head = plan.model_copy(update={"contracts": (), "prompt": ""})
    assert heard == [AnswerBegan(), HeadWritten(head), ContractWritten(plan.contracts[0])]


def test_each_part_is_reported_in_a_line_with_the_tokens_so_far() -> None:
    told: list[str] = []
    planned(say(GOOD), on_progress=told.append)
    parts = [line.rpartition(" (")[0] for line in told if line.endswith("tokens of the plan)")]
    assert parts == [
        "title: Todo",
        "assumes: One person uses it.",
        "complexity 3 of 10, parallel work pays",
        "task store: store, about 5,000 tokens",
        "task view: view, about 5,000 tokens",
        "contract app/types.py: Types.",
    ]


@pytest.mark.parametrize(
    "spoil",
    [
        {"tasks": []},
        {"acceptance_criteria": [{"text": "x", "served_by": [], "command": ""}]},
        {"acceptance_criteria": []},
        {"setup": 1},
    ],
)
def test_nothing_is_begun_on_a_head_that_breaks_a_rule(spoil: dict[str, Any]) -> None:
    heard: list[Any] = []
    planned(say(json.dumps(plan_json(**spoil))), say(GOOD), on_draft=heard.append)
    first, _, rest = heard[0], heard.pop(0), heard[heard.index(AnswerBegan()) :]
    assert first == AnswerBegan()
    assert [type(event) for event in rest] == [AnswerBegan, HeadWritten, ContractWritten]
    assert heard.count(AnswerBegan()) == 1
    assert not any(isinstance(e, HeadWritten) for e in heard[: heard.index(AnswerBegan())])


@pytest.mark.parametrize(
    "spoil",
    [
        {"path": "app/types.py"},
        {"content": " "},
        {"content": "x\0"},
        {"path": "app/view.py"},
        {"path": "../x.py"},
        {"purpose": 1},
    ],
    ids=["twice", "empty", "no text", "of a task", "outside", "of no shape"],
)
def test_a_contract_that_breaks_a_rule_and_those_after_it_free_no_task(
    spoil: dict[str, Any],
) -> None:
    good = plan_json()["contracts"][0]
    more = {"path": "app/more.py", "purpose": "More.", "content": "x = 1\n"}
    heard: list[Any] = []
    bad = plan_json(contracts=[good, more | spoil, more | {"path": "app/last.py"}])
    planned(say(json.dumps(bad)), say(GOOD), on_draft=heard.append)
    first = heard[: heard.index(AnswerBegan(), 1)]
    told = [event.contract.path for event in first if isinstance(event, ContractWritten)]
    assert told == ["app/types.py"]


def test_never_asks_nobody_for_a_plan() -> None:
    def ask(*_: object) -> Plan:
        raise AssertionError("it was asked")

    request = PlanningRequest("Sort it", ModelSettings(), Limits(), parallel=Parallel.NEVER)
    made = plan_alone(request, Credentials(), FakeClock(), Hooks(), print, ask)
    assert [task.owns for task in made.tasks] == [("./",)]


def test_a_line_of_the_person_goes_back_with_the_plan_and_the_next_is_made_of_both() -> None:
    claude = ScriptedClaude([say(GOOD)])
    revisions = [Revision('{"title": "old"}', "smaller"), Revision('{"title": "newer"}', "in Rust")]
    assert PlannerAgent(claude).plan("Build it", revisions).title == "Todo"
    (call,) = claude.calls
    roles = [message["role"] for message in call.messages]
    texts = [message["content"][0]["text"] for message in call.messages]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert texts[1] == '{"title": "old"}'
    assert "<feedback>\nin Rust\n</feedback>" in texts[4]


def test_what_a_person_said_reaches_an_executor_that_works_alone() -> None:
    request = PlanningRequest(
        "Build it",
        ModelSettings(),
        Limits(),
        parallel=Parallel.NEVER,
        revisions=(Revision("{}", "one file only"),),
    )
    plan = ask_for_plan(request, Credentials(), Governor(), FakeClock(), Hooks())
    assert "one file only" in plan.tasks[0].instructions

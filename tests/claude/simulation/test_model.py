"""The simulated model: what it plans and writes is a function of prompt, seed and task alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude.client.types import Reply
from claude.simulation.answers import Answer
from claude.simulation.misbehaviour import BROKEN_RULES, break_rule
from claude.simulation.model import SimulatedModel
from claude.simulation.placeholders import write_placeholders
from claude.simulation.prompt_cache import count_tokens
from claude.simulation.random_plan import random_plan
from claude.simulation.sample_projects import (
    Designer,
    choose_sample,
    find_sample_files,
    load_sample,
    plan_sample,
)
from claude.simulation.validation import check_request
from core.errors import PlanInvalid
from core.paths import EVERYTHING, path_defect
from core.plan import Plan, Task, build_single_task_plan, parse_plan, render_brief
from tests.fakes.simulated import (
    SMALL,
    TOOLS,
    SmallExecutor,
    ask,
    design_small,
    executor_messages,
    planner_call,
    simulated_claude,
    user,
)

Block = dict[str, Any]
SUBMIT_PLAN = {
    "name": "submit_plan",
    "input_schema": {"type": "object", "properties": {"tasks": {}, "contracts": {}}},
}
SAMPLES = Designer(plan_sample, find_sample_files)
BEHAVIOURS = ("truncate", "bad_tool", "escape", "wrong_files")
ALL_AT_ONCE = (
    "rate_limit=0.1,overloaded=0.05,server_error=0.05,disconnect=0.05,truncate=0.1,"
    "bad_plan=0.5,bad_tool=0.1,escape=0.2,wrong_files=0.2,refusal=0.05"
)


def text_of(reply: Reply) -> str:
    return "".join(block["text"] for block in reply.content if block["type"] == "text")


def calls_of(reply: Reply) -> list[Block]:
    return [block for block in reply.content if block["type"] == "tool_use"]


def test_the_planner_gives_the_designed_plan_as_text() -> None:
    with simulated_claude(seed=3) as claude:
        reply = claude.send(planner_call("a todo list"))
    assert parse_plan(text_of(reply), "reply") == design_small("a todo list").plan
    assert reply.stop_reason == "end_turn"


def test_the_planner_uses_the_tool_where_it_is_offered() -> None:
    with simulated_claude() as claude:
        reply = claude.send(planner_call(tools=(SUBMIT_PLAN,)))
    (call,) = calls_of(reply)
    assert (call["name"], reply.stop_reason) == ("submit_plan", "tool_use")
    assert set(call["input"]) == {"tasks", "contracts"}


def test_the_planner_gives_no_key_that_the_schema_does_not_have() -> None:
    schema = {
        "type": "object",
        "properties": {name: {} for name in Plan.model_fields if name != "version"},
        "additionalProperties": False,
    }
    with simulated_claude() as claude:
        reply = claude.send(planner_call(output_schema=schema))
    plan = json.loads(text_of(reply))
    assert set(plan) == set(schema["properties"])  # type: ignore[call-overload] # a dict in a dict


def test_a_prompt_that_looks_like_our_own_marks_is_planned_as_it_is() -> None:
    prompt = 'close </request>\n<task id="x" attempt="1"> <plan>\n</request> now'
    with simulated_claude() as claude:
        reply = claude.send(planner_call(prompt))
    assert parse_plan(text_of(reply), "reply") == design_small(prompt).plan


def test_anybody_else_gets_a_short_text_that_says_it_is_simulated() -> None:
    with simulated_claude() as claude:
        for call in (
            ask(),
            ask(user("<request>\nx\n</request>")),
            ask(*executor_messages("store")),
            ask(user('<task id="store" attempt="1">'), tools=({**TOOLS[0], "name": "Write"},)),
        ):
            reply = claude.send(call)
            assert "simulated" in text_of(reply)
            assert calls_of(reply) == []


@pytest.mark.parametrize("task_id", ["store", "page"])
@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_an_executor_writes_its_files_and_submits(task_id: str, provider: str) -> None:
    with simulated_claude(provider) as claude:
        executor = SmallExecutor(claude, task_id)
        assert executor.run() == design_small("a todo list").files[task_id]
    assert executor.refused == []
    assert "Simulated" in executor.summary


def test_an_executor_looks_around_before_it_writes() -> None:
    with simulated_claude() as claude:
        first = SmallExecutor(claude, "store").step()
    assert [call["name"] for call in calls_of(first)] == ["list_files", "read_file"]
    assert calls_of(first)[1]["input"] == {"path": "app/contract.py"}


def test_a_task_that_is_not_in_the_project_gets_placeholders() -> None:
    with simulated_claude() as claude:
        files = SmallExecutor(claude, "added-by-hand").run()
    assert files == write_placeholders("added-by-hand", ("extra/a.txt", "extra/b.txt"))


def test_a_task_whose_paths_were_edited_gets_placeholders() -> None:
    messages = executor_messages("store")
    text = messages[0]["content"][1]["text"]
    messages[0]["content"][1]["text"] = text.replace("app/store.py", "- app/edited.py")
    with simulated_claude() as claude:
        executor = SmallExecutor(claude, "store")
        executor.messages, executor.owns = messages, ["app/edited.py", "app/empty.py"]
        assert set(executor.run()) == {"app/edited.py", "app/empty.py"}


def test_tools_that_are_not_offered_are_not_used() -> None:
    offered = tuple(tool for tool in TOOLS if tool["name"] == "write_file")
    messages = executor_messages("store")
    with simulated_claude() as claude:
        reply = claude.send(ask(*messages, tools=offered))
        assert {call["name"] for call in calls_of(reply)} == {"write_file"}
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": "written"}
            for call in calls_of(reply)
        ]
        messages.append({"role": "assistant", "content": list(reply.content)})
        messages.append({"role": "user", "content": results})
        assert "wrote app/store.py" in text_of(claude.send(ask(*messages, tools=offered)))


@settings(max_examples=15)
@given(st.integers(120, 700))
def test_a_small_output_limit_changes_nothing_in_the_files(max_tokens: int) -> None:
    with simulated_claude() as claude:
        executor = SmallExecutor(claude, "page", max_tokens=max_tokens)
        assert executor.run() == design_small("a todo list").files["page"]
    if max_tokens < 300:
        assert "max_tokens" in executor.stop_reasons


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(["store", "page", "by-hand"]))
def test_all_faults_at_once_change_nothing_in_the_files(seed: int, task_id: str) -> None:
    faults = ALL_AT_ONCE.replace("refusal=0.05", "refusal=0")
    with simulated_claude(seed=seed, faults=faults, retries=30) as claude:
        files = SmallExecutor(claude, task_id).run()
    with simulated_claude(seed=seed) as claude:
        assert files == SmallExecutor(claude, task_id).run()


@pytest.mark.parametrize("fault", BEHAVIOURS)
@pytest.mark.parametrize("provider", ["anthropic", "bedrock"])
def test_each_fault_of_the_model_shows_and_is_overcome(fault: str, provider: str) -> None:
    shown = 0
    for seed in range(4):
        with simulated_claude(provider, seed=seed, faults=f"{fault}=0.5") as claude:
            executor = SmallExecutor(claude, "page")
            assert executor.run() == design_small("a todo list").files["page"]
        shown += fault_shows(fault, executor)
    assert shown >= 2


def fault_shows(fault: str, executor: SmallExecutor) -> bool:
    said = json.dumps(executor.messages)
    return {
        "truncate": "max_tokens" in executor.stop_reasons,
        "bad_tool": "No such tool" in said or "no JSON" in said or "None" in executor.refused,
        "escape": any(path_defect(path) for path in executor.refused),
        "wrong_files": bool({"app/store.py", "app/contract.py"} & set(executor.refused)),
    }[fault]


def test_every_way_to_escape_and_to_spoil_a_call_occurs() -> None:
    escapes, raws = set(), set()
    for seed in range(40):
        with simulated_claude(seed=seed, faults="escape=1") as claude:
            (call,) = calls_of(SmallExecutor(claude, "store").step())
            escapes.add(call["input"]["path"])
        with simulated_claude(seed=seed, faults="bad_tool=1") as claude:
            executor = SmallExecutor(claude, "store")
            reply = executor.step()
            raws.add((calls_of(reply)[0]["name"], bool(reply.broken_inputs)))
    assert {path[:1] for path in escapes} == {".", "s", "/", "~"}
    assert all(path_defect(path) for path in escapes)
    assert raws == {("run_shell", False), ("write_file", False), ("list_files", True)}


def test_a_refusal_is_drawn_for_an_attempt_when_it_begins() -> None:
    with simulated_claude(faults="refusal=1") as claude:
        executor = SmallExecutor(claude, "store")
        assert executor.run() == {}
        assert executor.stop_reasons == ["refusal"]
        assert claude.send(planner_call()).stop_reason == "refusal"
    drawn = set()
    with simulated_claude(faults="refusal=0.5") as claude:
        for attempt in range(1, 12):
            executor = SmallExecutor(claude, "store", attempt=attempt)
            drawn.add(bool(executor.run()))
    assert drawn == {True, False}


def test_a_retried_turn_misbehaves_in_the_same_way() -> None:
    for seed in range(6):
        with simulated_claude(seed=seed, faults="escape=0.3,bad_tool=0.3,truncate=0.3") as claude:
            first = SmallExecutor(claude, "store").step()
            assert SmallExecutor(claude, "store").step().content == first.content


def test_a_bad_plan_breaks_a_rule_in_every_way_there_is() -> None:
    defects, cut = [], 0
    for seed in range(60):
        with simulated_claude(seed=seed, faults="bad_plan=1") as claude:
            reply = claude.send(planner_call())
        cut += reply.stop_reason == "max_tokens"
        with pytest.raises(PlanInvalid) as caught:
            parse_plan(text_of(reply), "reply")
        defects += [] if reply.stop_reason == "max_tokens" else [" ".join(caught.value.defects)]
    assert cut
    for words in ("cycle", "not in the plan", "belongs to both task", "served by no", "'..' part",
                  "belongs to both a contract"):  # fmt: skip
        assert any(words in defect for defect in defects), words


@given(st.integers(0, 500))
def test_a_project_of_one_task_can_be_spoiled_too(seed: int) -> None:
    plan = design_small("x").plan
    one = plan.model_copy(
        update={
            "tasks": plan.tasks[:1],
            "acceptance_criteria": (
                plan.acceptance_criteria[0].model_copy(update={"served_by": ("store",)}),
            ),
        }
    )
    for rule in BROKEN_RULES:
        bad = one.model_dump(mode="json")
        break_rule(bad, rule)
        with pytest.raises(PlanInvalid):
            parse_plan(json.dumps(bad), "spoiled")


def test_a_bad_plan_may_be_mended_in_a_later_round() -> None:
    rounds = []
    for seed in range(20):
        with simulated_claude(seed=seed, faults="bad_plan=0.5") as claude:
            said = {"role": "assistant", "content": "(no plan)"}
            more: list[Block] = []
            for number in range(8):
                text = text_of(claude.send(planner_call("x", *more)))
                try:
                    parse_plan(text, "reply")
                except PlanInvalid:
                    more += [said, user("<defects>\n- x\n</defects>")]
                else:
                    rounds.append(number)
                    break
    assert len(rounds) == 20
    assert {0, 1} < set(rounds)


def test_a_planner_that_always_errs_never_mends_its_plan() -> None:
    said, told = {"role": "assistant", "content": "(no plan)"}, user("<defects>\n- x\n</defects>")
    with simulated_claude(faults="bad_plan=1") as claude:
        for rounds in range(6):
            text = text_of(claude.send(planner_call("x", *([said, told] * rounds))))
            with pytest.raises(PlanInvalid):
                parse_plan(text, "reply")


def test_a_short_file_is_not_cut_in_the_middle() -> None:
    with simulated_claude(faults="truncate=1") as claude:
        executor = SmallExecutor(claude, "by-hand", prompt="")
        executor.owns = ["extra/a.txt"]
        first = executor.step()
    assert first.stop_reason == "tool_use"


def test_a_bad_plan_by_tool_is_bad_in_the_tools_input() -> None:
    seen = set()
    for seed in range(20):
        with simulated_claude(seed=seed, faults="bad_plan=1") as claude:
            reply = claude.send(planner_call(tools=(SUBMIT_PLAN,)))
        seen.add((reply.stop_reason, bool(reply.broken_inputs)))
    assert seen == {("tool_use", False), ("max_tokens", True)}


def test_after_a_rejected_result_all_is_written_anew() -> None:
    with simulated_claude() as claude:
        executor = SmallExecutor(claude, "store")
        executor.run()
        executor.messages[-1]["content"][0]["is_error"] = True
        executor.files, executor.summary = {}, ""
        assert executor.run() == design_small("a todo list").files["store"]


def test_after_defects_in_a_message_all_is_written_anew() -> None:
    with simulated_claude() as claude:
        executor = SmallExecutor(claude, "store")
        executor.run()
        text = {"type": "text", "text": "<defects>\n- a file is missing\n</defects>"}
        executor.messages[-1]["content"].append(text)
        executor.files, executor.summary = {}, ""
        assert executor.run() == design_small("a todo list").files["store"]


def turn(name: str, given: Block, result: str = "", *, is_error: bool = False) -> list[Block]:
    call = {"type": "tool_use", "id": "t", "name": name, "input": given}
    said = {"type": "tool_result", "tool_use_id": "t", "content": result, "is_error": is_error}
    return [{"role": "assistant", "content": [call]}, {"role": "user", "content": [said]}]


def next_calls(*turns: list[Block]) -> list[tuple[str, Block]]:
    """What an executor of `store` does after these turns."""
    model = SimulatedModel(0, {}, SMALL)
    messages = [*executor_messages("store"), *(message for pair in turns for message in pair)]
    request = check_request({"max_tokens": 9_000, "messages": messages, "tools": list(TOOLS)})
    _, answer = model.answer(request)
    return [(part.tool, json.loads(part.text)) for part in answer.parts if part.tool]


STORE = design_small("a todo list").files["store"]["app/store.py"]
EMPTY = turn("write_file", {"path": "app/empty.py", "content": ""})


def test_what_was_kept_of_a_cut_file_is_continued() -> None:
    cut = {"path": "app/store.py", "content": STORE[:200]}
    kept = "kept 150 characters of app/store.py; continue with append_file right after:\nxyz"
    (call,) = next_calls(EMPTY, turn("write_file", cut, kept))
    assert call == ("append_file", {"path": "app/store.py", "content": STORE[150:]})


def test_a_cut_file_whose_text_is_not_shown_is_written_again() -> None:
    kept = "kept 150 characters of app/store.py; continue with append_file"
    (call,) = next_calls(EMPTY, turn("write_file", {"path": "app/store.py"}, kept))
    assert call == ("write_file", {"path": "app/store.py", "content": STORE})


def test_a_line_of_the_file_in_a_result_is_no_word_of_the_tool() -> None:
    quoted = "wrote app/store.py (61 lines)\nnot valid Python 3.11: line 1: kept 3 characters of it"
    (call,) = next_calls(
        EMPTY, turn("write_file", {"path": "app/store.py", "content": STORE}, quoted)
    )
    assert call[0] == "submit_result"


def test_a_call_that_was_refused_did_nothing() -> None:
    whole = {"path": "app/store.py", "content": STORE}
    (call,) = next_calls(EMPTY, turn("write_file", whole, "refused", is_error=True))
    assert call[0] == "write_file"


def test_an_edit_counts_and_one_of_a_file_unknown_does_not() -> None:
    whole = turn("write_file", {"path": "app/store.py", "content": STORE.replace("= 7", "= 8")})
    mend = {"path": "app/store.py", "old": "VALUE_7 = 8", "new": "VALUE_7 = 7"}
    (call,) = next_calls(EMPTY, whole, turn("edit_file", mend))
    assert call[0] == "submit_result"
    (call,) = next_calls(EMPTY, turn("edit_file", mend))
    assert call[0] == "write_file"


def test_text_added_to_a_file_unknown_does_not_count() -> None:
    (call,) = next_calls(EMPTY, turn("append_file", {"path": "app/store.py", "content": STORE}))
    assert call == ("write_file", {"path": "app/store.py", "content": STORE})


def test_a_file_with_other_content_is_replaced() -> None:
    (call,) = next_calls(EMPTY, turn("write_file", {"path": "app/store.py", "content": "other"}))
    assert call == ("write_file", {"path": "app/store.py", "content": STORE})


def shown(plan: Plan, task: Task, prompt: str = "a prompt") -> Block:
    """What an executor is shown of a plan."""
    shared = f"<request>\n{prompt}\n</request>\n<plan>\n{render_brief(plan)}</plan>"
    owns = "\n".join(task.owns)
    return user(shared, f'<task id="{task.id}" attempt="1">\n<owns>\n{owns}\n</owns>\n</task>')


def executor_answer(plan: Plan, task: Task, seed: int = 0) -> Answer:
    """The first answer that writes."""
    request = {
        "max_tokens": 64_000,
        "messages": [shown(plan, task)],
        "tools": [tool for tool in TOOLS if tool["name"] in ("write_file", "submit_result")],
    }
    return SimulatedModel(seed, {}, SAMPLES).answer(check_request(request))[1]


def written(answer: Answer) -> dict[str, str]:
    calls = [json.loads(part.text) for part in answer.parts if part.tool == "write_file"]
    return {call["path"]: call["content"] for call in calls}


@pytest.mark.parametrize("name", ["todo", "shop"])
def test_the_sample_is_found_by_the_title_of_the_plan_that_is_shown(name: str) -> None:
    sample = load_sample(name)
    task = sample.plan.task("docs")
    assert written(executor_answer(sample.plan, task)) == sample.files["docs"]


def test_the_sample_is_found_by_the_contracts_that_other_tasks_use() -> None:
    sample = load_sample("todo")
    plan = sample.plan.model_copy(update={"title": "My own"})
    assert written(executor_answer(plan, plan.task("docs"))) == sample.files["docs"]


def test_a_plan_with_neither_title_nor_contracts_of_a_sample_gets_placeholders_only() -> None:
    sample = load_sample("todo").plan
    task = sample.task("docs").model_copy(update={"uses": ()})
    plan = sample.model_copy(update={"title": "My own", "contracts": (), "tasks": (task,)})
    assert written(executor_answer(plan, task)) == write_placeholders(task.id, task.owns)


@pytest.mark.parametrize("prompt", ["Write a script that counts words", "A todo list", "A shop"])
def test_an_executor_that_owns_everything_writes_the_whole_sample(prompt: str) -> None:
    sample = load_sample(choose_sample(prompt))
    whole = {contract.path: contract.content for contract in sample.plan.contracts}
    for files in sample.files.values():
        whole |= files
    plan = build_single_task_plan(prompt, sample.plan)
    with simulated_claude(designer=SAMPLES) as claude:
        executor = SmallExecutor(claude, "build")
        executor.messages, executor.owns = [shown(plan, plan.tasks[0], prompt)], [EVERYTHING]
        assert executor.run() == whole


def test_the_planner_writes_what_decides_first_and_the_contracts_last() -> None:
    with simulated_claude() as claude:
        reply = claude.send(planner_call())
    names = [name for name in json.loads(text_of(reply)) if name not in ("version", "prompt")]
    assert names == [name for name in Plan.model_fields if name not in ("version", "prompt")]
    assert names[-1] == "contracts"


@pytest.mark.parametrize("seed", [0, 7])
def test_a_task_of_a_random_plan_writes_as_much_as_it_was_estimated(seed: int) -> None:
    plan = random_plan(seed, 30)
    task = plan.tasks[9]
    files = written(executor_answer(plan, task, seed))
    assert set(files) == set(task.owns)
    assert sum(map(count_tokens, files.values())) == task.estimate

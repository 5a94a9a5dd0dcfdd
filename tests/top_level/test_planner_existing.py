"""The planner of existing code: it looks before it answers, within bounds, and is never cut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claude.client.types import Call, Hooks, Reply
from claude.engines.looking import MOST_RESULT_CHARS, MOST_TOKENS, MOST_TURNS
from claude.limits.governor import Governor
from claude.planning.answer import SUBMIT_PLAN
from claude.planning.schema import build_schema
from claude.prompts import load_executor_prompt, load_prompt
from core.bundle import Limits, ModelSettings, SimulationSettings
from core.clock import SystemClock
from core.context import Context, ContextImage
from core.credentials import Credentials
from core.errors import RequestRejected
from core.plan import Plan
from core.plan.draft import HeadWritten
from core.worker.planning import Failure, Parallel, PlanningRequest
from planner_agent import PlannerAgent, ask_for_plan
from tests.fakes.scripted_claude import (
    Answer,
    FakeClock,
    ScriptedClaude,
    act,
    act_broken,
    say,
    tool_results,
    use,
)

PLAN: dict[str, Any] = {
    "title": "Due dates",
    "summary": "Todos have due dates.",
    "assumptions": [],
    "analysis": {
        "complexity": 2,
        "rationale": "One file.",
        "parallel_pays": False,
        "recommended_executors": 1,
    },
    "setup": {"tools": ["python 3.11"], "install": [], "network": "none", "start": ""},
    "conventions": [],
    "shared": [],
    "tasks": [
        {
            "id": "dates",
            "title": "dates",
            "instructions": "Add due to Todo.",
            "depends_on": [],
            "owns": ["app/store.py", "tests/test_store.py"],
            "uses": [],
            "estimate": 900,
            "checks": ["python3 -m pytest -q tests/test_store.py"],
        }
    ],
    "acceptance_criteria": [{"text": "It has one.", "served_by": ["dates"], "command": ""}],
    "contracts": [],
}
GOOD = json.dumps(PLAN)
MAP = "2 files. app/: store.py 2"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/store.py").write_text("class Todo:\n    text: str\n")
    (tmp_path / "big.txt").write_text("word " * 11_999 + "\n")
    return tmp_path


def planned(root: Path | None, *answers: Answer, **more: Any) -> tuple[Plan, ScriptedClaude]:
    claude = ScriptedClaude(answers)
    agent = PlannerAgent(claude, repository=MAP, root=root, **more)
    return agent.plan("Add due dates"), claude


def looking() -> Reply:
    return act(use("list_files"))


def test_it_looks_several_calls_a_turn_and_answers_with_a_plan(root: Path) -> None:
    told: list[str] = []
    looks = act(
        use("list_files"),
        use("read_file", path="app/store.py"),
        use("search_files", pattern="Todo", path="app"),
    )
    plan, claude = planned(root, looks, say(GOOD), on_progress=told.append)
    assert plan.task("dates").owns == ("app/store.py", "tests/test_store.py")
    first, second = claude.calls
    texts = [result["content"] for result in tool_results(second)]
    assert texts[0].startswith("app/store.py (26 bytes)\n")
    assert texts[1] == "[app/store.py, 2 lines]\nclass Todo:\n    text: str"
    assert texts[2] == "app/store.py:1: class Todo:"
    assert second.messages[1]["content"] == list(looks.content)
    assert first.messages[0]["content"][0]["text"] == (
        f"<repository>\n{MAP}\n</repository>\n<request>\nAdd due dates\n</request>"
    )
    assert "looks at the project, app/store.py, Todo" in told


@pytest.mark.parametrize(
    ("owned", "why"),
    [("APP/new.py", "'APP' differs only in case from 'app'"), (".env", "'.env' was left out")],
)
def test_a_plan_that_does_not_fit_what_is_there_is_made_again(
    owned: str, why: str, root: Path
) -> None:
    task = {**PLAN["tasks"][0], "owns": [owned]}
    unfit = json.dumps({**PLAN, "tasks": [task]})
    plan, claude = planned(root, say(unfit), say(GOOD), left_out=(".env",))
    assert why in claude.calls[1].messages[-1]["content"][0]["text"]
    assert plan.task("dates").owns == ("app/store.py", "tests/test_store.py")


def test_it_asks_for_the_commits_of_a_file_where_there_are_any(root: Path) -> None:
    looks = act(use("file_log", path="app/store.py"), use("file_log"))
    _, claude = planned(root, looks, say(GOOD), log=lambda path: f"12ab 2026-01-02 {path}")
    told, wrong = tool_results(claude.calls[1])
    assert told["content"] == "12ab 2026-01-02 app/store.py"
    assert "Call it as file_log(path: string)" in wrong["content"]
    assert claude.calls[0].tools[-1]["name"] == "file_log"
    _, claude = planned(root, looks, say(GOOD))
    assert "there is no log" in tool_results(claude.calls[1])[0]["content"]
    assert "file_log" not in [tool["name"] for tool in claude.calls[0].tools]


def test_what_it_is_told_of_commits_counts_as_looked_at(root: Path) -> None:
    looks = [act(*[use("file_log", path=f"{n}")] * 3) for n in range(2)]
    _, claude = planned(root, *looks, say(GOOD), log=lambda _: "x" * 2 * MOST_RESULT_CHARS)
    told = [len(r["content"]) for call in claude.calls[1:] for r in tool_results(call)]
    assert max(told) < MOST_RESULT_CHARS + 200
    assert sum(told) < (MOST_TOKENS + 1_000) * 3
    assert claude.calls[-1].tool_choice == {"type": "none"}


def test_no_call_can_write_or_leave_the_project(root: Path) -> None:
    outside = root.parent / "outside.txt"
    outside.write_text("secret")
    (root / "link.txt").symlink_to(outside)
    looks = act(
        use("read_file", path="../outside.txt"),
        use("read_file", path="link.txt"),
        use("read_file", path="/etc/passwd"),
        use("write_file", path="app/new.py", content="x"),
        use("read_file", path=3),
    )
    _, claude = planned(root, looks, act_broken("read_file", '{"path": '), say(GOOD))
    results = [*tool_results(claude.calls[1]), *tool_results(claude.calls[2])]
    assert [result["is_error"] for result in results] == [True] * 6
    assert not any("secret" in result["content"] for result in results)
    assert "There is no tool 'write_file'" in results[3]["content"]
    assert not (root / "app/new.py").exists()
    names = [tool["name"] for tool in claude.calls[0].tools]
    assert names == ["read_file", "list_files", "search_files"]


def choices(claude: ScriptedClaude) -> list[Any]:
    return [call.tool_choice for call in claude.calls]


def test_after_so_many_turns_it_has_to_answer(root: Path) -> None:
    plan, claude = planned(root, *[looking()] * MOST_TURNS, say(GOOD))
    assert plan.title == "Due dates"
    assert choices(claude) == [None] * MOST_TURNS + [{"type": "none"}]
    assert "answer with the plan now" in tool_results(claude.calls[-1])[-1]["content"]
    assert claude.calls[-1].tools == claude.calls[0].tools


def test_what_it_is_shown_is_bounded_too(root: Path) -> None:
    reads = act(*(use("read_file", path="big.txt") for _ in range(7)))
    _, claude = planned(root, reads, say(GOOD))
    shown = [len(result["content"]) for result in tool_results(claude.calls[1])]
    assert max(shown) < MOST_RESULT_CHARS + 100
    assert sum(shown) < 121_000
    assert choices(claude) == [None, {"type": "none"}]


def test_one_that_looks_on_all_the_same_is_told_that_this_is_no_plan(root: Path) -> None:
    plan, claude = planned(root, *[looking()] * (MOST_TURNS + 1), say(GOOD))
    assert plan.title == "Due dates"
    assert "the reply is empty" in claude.calls[-1].messages[-1]["content"][0]["text"]


def test_where_structured_output_is_refused_it_hands_the_plan_in_by_a_tool(root: Path) -> None:
    refused = RequestRejected("output_config.format: Extra inputs are not permitted")
    given = act(use(SUBMIT_PLAN, **PLAN))
    plan, claude = planned(root, refused, *[looking()] * MOST_TURNS, given)
    assert plan.title == "Due dates"
    assert choices(claude)[1:-1] == [{"type": "any"}] * MOST_TURNS
    assert choices(claude)[-1] == {"type": "tool", "name": SUBMIT_PLAN}
    assert claude.calls[-1].tools[-1]["input_schema"] == build_schema(existing=True)


def test_a_plan_that_does_not_pay_in_parallel_is_not_cut_and_may_begin(root: Path) -> None:
    heard: list[Any] = []
    plan, claude = planned(root, looking(), say(GOOD), on_draft=heard.append)
    assert plan.acceptance_criteria
    assert [e.head.title for e in heard if isinstance(e, HeadWritten)] == ["Due dates"]
    assert claude.calls[0].output_schema == build_schema(existing=True)
    assert claude.calls[0].output_schema["required"].count("shared") == 1


def test_of_a_large_project_it_says_what_executors_have_to_read(root: Path) -> None:
    wish = PLAN | {"reads": ["app/", "lost.py"]}
    plan, claude = planned(
        root,
        say(json.dumps(wish)),
        say(json.dumps(wish | {"reads": ["app/"]})),
        part_limit="9 files",
    )
    assert plan.reads == ("app/",)
    first, second = claude.calls
    assert first.system[0]["text"].endswith("together at most 9 files.\n")
    assert first.output_schema == build_schema(existing=True, part=True)
    told = second.messages[-1]["content"][0]["text"]
    assert "- 'lost.py' in reads is not there, or was left out of the code" in told


def test_for_an_ordinary_project_it_is_asked_for_nothing_more(root: Path) -> None:
    _, claude = planned(root, say(GOOD))
    [call] = claude.calls
    assert call.system[0]["text"] == load_prompt("planner") + load_prompt("planner_existing")
    assert call.output_schema == build_schema(existing=True)
    assert "reads" not in build_schema(existing=True)["properties"]


def test_images_come_before_the_request_and_keep_the_answer_whole() -> None:
    claude = ScriptedClaude([say(GOOD)])
    image = ContextImage("mock.png", "image/png", "AAAA")
    context = Context('<context name="spec.md">\nRed.\n</context>', (image,))
    plan = PlannerAgent(claude, context=context).plan("Add due dates")
    assert (plan.prompt, plan.title) == ("Add due dates", "Due dates")
    name, picture, text = claude.calls[0].messages[0]["content"]
    assert "mock.png" in name["text"]
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    assert picture == {"type": "image", "source": source}
    assert text["text"].startswith(
        '<request>\nAdd due dates\n\n<context name="spec.md">\nRed.\n</context>\n</request>\n'
    )
    assert "Executors do not see the images" in text["text"]
    assert plan.task("dates").checks


def test_a_failure_that_was_reproduced_comes_after_the_request() -> None:
    criterion = PLAN["acceptance_criteria"][0] | {"command": "pytest x"}
    claude = ScriptedClaude(
        [say(GOOD), say(json.dumps(PLAN | {"acceptance_criteria": [criterion]}))]
    )
    failure = Failure("<failure>\npytest x\n</failure>", "pytest x")
    heard: list[Any] = []
    PlannerAgent(
        claude, repository=MAP, failure=failure, surroundings="<executors/>", on_draft=heard.append
    ).plan("Fix")
    first, second = claude.calls
    text = first.messages[0]["content"][0]["text"]
    assert text.endswith(f"<request>\nFix\n</request>\n{failure.told}\n<executors/>")
    assert "no criterion has the command 'pytest x'" in second.messages[-1]["content"][0]["text"]
    assert len([e for e in heard if isinstance(e, HeadWritten)]) == 1


def test_without_a_directory_the_map_has_to_do() -> None:
    _, claude = planned(None, say(GOOD))
    (call,) = claude.calls
    assert call.tools == ()
    assert call.system[0]["text"] == load_prompt("planner") + load_prompt("planner_existing")


def test_each_turn_is_marked_for_the_cache(root: Path) -> None:
    def check(call: Call) -> Reply:
        marked = [n for n, m in enumerate(call.messages) if "cache_control" in m["content"][-1]]
        assert marked == [0, 2]
        return say(GOOD)

    planned(root, looking(), check)


def test_the_simulation_looks_too_and_takes_tools_beside_structured_output(root: Path) -> None:
    told: list[str] = []
    model = ModelSettings(simulation=SimulationSettings(speed=0.0))
    request = PlanningRequest("a todo list", model, Limits(), repository=MAP, root=str(root))
    hooks = Hooks(on_progress=told.append)
    plan = ask_for_plan(request, Credentials(), Governor(), SystemClock(), hooks)
    assert plan.tasks
    assert "looks at the project" in told


def test_one_executor_alone_is_told_to_change_what_is_there() -> None:
    request = PlanningRequest(
        "Fix it",
        ModelSettings(),
        Limits(),
        parallel=Parallel.NEVER,
        repository=MAP,
        failure=Failure("", "pytest x"),
    )
    plan = ask_for_plan(request, Credentials(), Governor(), FakeClock(), Hooks())
    assert plan.tasks[0].title == "Change the project"
    assert "what is not asked for stays as it is" in plan.tasks[0].instructions
    assert plan.tasks[0].checks == ("pytest x",)
    assert [criterion.command for criterion in plan.acceptance_criteria] == ["pytest x"]


@pytest.mark.parametrize("alone", [True, False])
def test_an_executor_of_existing_code_is_told_how_it_is_changed(alone: bool) -> None:
    more = load_prompt("executor_existing")
    assert more in load_executor_prompt(commands=True, alone=alone, existing=True)
    assert more not in load_executor_prompt(commands=True, alone=alone)
    part = load_prompt("executor_part")
    of_part = load_executor_prompt(commands=True, alone=alone, existing=True, part=True)
    assert of_part == load_executor_prompt(commands=True, alone=alone, existing=True).replace(
        more, more + part
    )

"""The agent loop against a scripted Claude, polite and hostile."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claude.client.types import Call, Claude, Reply
from claude.engines import ENGINES, load_engine
from claude.engines.api import MOST_IDLE_TURNS, MOST_SAME_FAILURES, ApiEngine, mark_cached
from claude.engines.base import EngineContext, EngineResult, result_of_error
from claude.engines.tools import build_tools
from claude.engines.transcript import Transcript
from claude.prompts import render_task
from core.bundle import ContractFile, Limits, ModelSettings, Request, build_manifest
from core.clock import Clock, DeadlineClock
from core.errors import (
    BillingRefused,
    ConnectionLost,
    CredentialsRefused,
    Interrupted,
    ModelUnknown,
    Overloaded,
    RateLimited,
    RequestRejected,
    ServerFault,
    SettingsError,
)
from core.job import JobKey, Outcome
from core.paths import EVERYTHING
from core.plan import Task
from core.workspace.result_check import find_defects
from core.workspace.workspace import Workspace
from tests.fakes.scripted_claude import (
    USAGE,
    Answer,
    FakeClock,
    ScriptedClaude,
    act,
    act_broken,
    say,
    tool_results,
    use,
)

CONTRACT = "app/types.py"
CONTRACT_TEXT = "PORT = 8000\n"
TASK = Task(
    id="store",
    title="The store",
    instructions="Write the store.",
    owns=("app/store.py", "src/"),
    checks=("python -m app.store",),
    estimate=100,
)
SUBMIT = {"summary": "Wrote the store."}
TOOLS = build_tools(777, commands=False)


@dataclass
class Bench:
    """An engine on a bench: its workspace in `base`, the script it talks to."""

    base: Path
    claude: ScriptedClaude
    owns: tuple[str, ...] = ("app/store.py",)
    limits: Limits = field(default_factory=Limits)
    clock: FakeClock = field(default_factory=FakeClock)
    previous_failure: str = ""
    attempt: int = 1
    told: list[str] = field(default_factory=list)
    is_used: bool = True
    is_common: bool = True

    @property
    def root(self) -> Path:
        return self.base / "work"

    def request(self) -> Request:
        digest = hashlib.sha256(CONTRACT_TEXT.encode()).hexdigest()
        return Request(
            key=JobKey("r1", TASK.id, self.attempt),
            prompt="Build a store",
            brief="# Store\n",
            task=TASK.model_copy(update={"owns": self.owns}),
            contracts=(ContractFile(CONTRACT, digest, "", self.is_used, self.is_common),),
            model=ModelSettings(max_output_tokens=777),
            limits=self.limits,
            previous_failure=self.previous_failure,
        )

    def context(self) -> EngineContext:
        inputs = self.base / "inputs"
        for root in (inputs, self.root):
            (root / "app").mkdir(parents=True, exist_ok=True)
            (root / CONTRACT).write_text(CONTRACT_TEXT)
        (self.base / "outside.txt").write_text("outside\n")
        workspace = Workspace(self.root, self.owns, frozenset({CONTRACT}))
        manifest = build_manifest(inputs)

        def connect(clock: Clock) -> AbstractContextManager[Claude]:
            return nullcontext(self.claude)

        return EngineContext(
            request=self.request(),
            workspace=workspace,
            clock=DeadlineClock(self.clock, self.limits.timeout_s),
            connect=connect,
            find_defects=lambda: find_defects(workspace, manifest, inputs),
            transcript=Transcript(self.base / "transcript.jsonl", lambda text: text),
            progress=self.told.append,
        )

    def work(self) -> EngineResult:
        return ApiEngine(self.context()).work()

    def file(self, path: str = "app/store.py") -> str:
        return (self.root / path).read_text()


def bench(base: Path, *answers: Answer, forever: bool = False, **more: Any) -> Bench:
    return Bench(base, ScriptedClaude(answers, forever=forever), **more)


def write(path: str = "app/store.py", content: str = "STORE = {}\n") -> dict[str, Any]:
    return use("write_file", path=path, content=content)


def submit() -> dict[str, Any]:
    return use("submit_result", **SUBMIT)


def test_a_task_is_done_when_submit_finds_the_evidence(tmp_path: Path) -> None:
    it = bench(tmp_path, act(use("read_file", path=CONTRACT)), act(write()), act(submit()))
    assert it.work() == EngineResult(Outcome.OK, "Wrote the store.", 3)
    assert it.file() == "STORE = {}\n"
    assert it.told == ["wrote app/store.py (1 line)"]
    read = tool_results(it.claude.calls[1])[0]["content"]
    assert read == f"[{CONTRACT}, 1 line]\nPORT = 8000"


def test_every_call_carries_what_the_settings_say(tmp_path: Path) -> None:
    it = bench(tmp_path, act(write(), submit()))
    it.work()
    (call,) = it.claude.calls
    assert call.max_tokens == 777
    assert call.tools == tuple(tool.schema() for tool in TOOLS.values())
    assert [t["name"] for t in call.tools] == [
        "read_file",
        "write_file",
        "append_file",
        "edit_file",
        "list_files",
        "search_files",
        "submit_result",
    ]
    assert "submit_result" in call.system[0]["text"]
    assert "at most 777 tokens" in call.tools[1]["description"]


def first_blocks(it: Bench) -> list[dict[str, Any]]:
    it.work()
    content: list[dict[str, Any]] = it.claude.calls[0].messages[0]["content"]
    return content


def test_the_shared_block_is_the_same_bytes_for_every_task(tmp_path: Path) -> None:
    one = first_blocks(bench(tmp_path / "1", say("no", "refusal")))
    other = first_blocks(
        bench(tmp_path / "2", say("no", "refusal"), owns=("src/",), attempt=2, previous_failure="x")
    )
    assert json.dumps(one[0]) == json.dumps(other[0])
    assert one[0]["cache_control"] == {"type": "ephemeral"}
    assert one[0]["text"] == (
        "<request>\nBuild a store\n</request>\n<plan>\n# Store\n</plan>\n"
        f'<contract path="{CONTRACT}">\n{CONTRACT_TEXT}\n</contract>'
    )
    assert one[1]["text"] != other[1]["text"]


def test_a_contract_is_sent_to_the_tasks_that_use_it(tmp_path: Path) -> None:
    text = f'<contract path="{CONTRACT}">\n{CONTRACT_TEXT}\n</contract>'
    for n, (is_used, is_common) in enumerate([(True, False), (False, False), (True, True)]):
        it = bench(tmp_path / str(n), say("no", "refusal"), is_used=is_used, is_common=is_common)
        shared, own = (block["text"] for block in first_blocks(it))
        assert (text in shared, text in own) == (is_common, is_used and not is_common)
        assert f"<files>\n{CONTRACT}\n</files>" in own or is_used  # beside other tasks' files


def test_the_task_block_says_all_of_the_task(tmp_path: Path) -> None:
    it = bench(tmp_path, say("no", "refusal"), previous_failure="It hung.")
    (tmp_path / "work/lib").mkdir(parents=True)
    (tmp_path / "work/lib/a.py").touch()
    assert first_blocks(it)[1]["text"] == (
        '<task id="store" attempt="1">\nThe store\n\nWrite the store.\n'
        "<owns>\napp/store.py\n</owns>\n"
        "<checks>\npython -m app.store\n</checks>\n"
        "<size>\nabout 7 lines, and besides them at most 1 lines of tests\n</size>\n"
        "<files>\nlib/a.py\n</files>\n"
        "<previous_failure>\nIt hung.\n</previous_failure>\n</task>"
    )


@pytest.mark.parametrize("changes", [{"estimate": 0}, {"owns": (EVERYTHING,)}])
def test_no_size_is_told_where_nobody_knows_it(tmp_path: Path, changes: dict[str, Any]) -> None:
    request = bench(tmp_path).request()
    of_other = replace(request, task=request.task.model_copy(update=changes))
    assert "<size>" in render_task(request, ())
    assert "<size>" not in render_task(of_other, ())


def test_a_long_list_of_files_is_cut(tmp_path: Path) -> None:
    it = bench(tmp_path, say("no", "refusal"))
    (tmp_path / "work/lib").mkdir(parents=True)
    for number in range(401):
        (tmp_path / f"work/lib/{number:03}").touch()
    text = first_blocks(it)[1]["text"]
    assert "lib/399\n(and 1 more; list_files shows them)" in text
    assert "lib/400" not in text


def test_the_conversation_is_cached_up_to_its_end(tmp_path: Path) -> None:
    it = bench(
        tmp_path, act(write()), act(use("list_files")), act(use("list_files")), act(submit())
    )
    it.work()
    marks = [
        [n for n, m in enumerate(c.messages) for b in m["content"] if "cache_control" in b]
        for c in it.claude.calls
    ]
    assert marks == [[0, 0], [0, 0, 2], [0, 2, 4], [0, 4, 6]]
    assert not any("cache_control" in json.dumps(m) for m in it.claude.calls[3].messages[1:3])


def test_marking_the_cache_leaves_the_messages_alone() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}]}]
    before = json.dumps(messages)
    assert next(iter(mark_cached(messages)))["content"][0]["cache_control"]
    assert json.dumps(messages) == before


def test_defects_go_back_with_the_submission_and_can_be_corrected(tmp_path: Path) -> None:
    it = bench(tmp_path, act(submit()), act(write()), act(submit()))
    assert it.work().outcome is Outcome.OK
    (result,) = tool_results(it.claude.calls[1])
    assert result["is_error"]
    assert result["content"] == (
        "<defects>\n- there are no files yet; this task owns app/store.py\n</defects>"
    )


def test_corrections_are_bounded_and_end_with_the_list(tmp_path: Path) -> None:
    it = bench(tmp_path, act(submit()), forever=True, limits=Limits(max_corrections=2))
    assert it.work() == EngineResult(
        Outcome.DEFECT,
        "The result has defects:\nthere are no files yet; this task owns app/store.py",
        3,
    )


def test_a_changed_contract_is_restored_and_sent_back(tmp_path: Path) -> None:
    def spoil(_: Call) -> Reply:
        (tmp_path / "work" / CONTRACT).write_text("PORT = 1\n")
        return act(write(), submit())

    it = bench(tmp_path, spoil, act(submit()))
    assert it.work().outcome is Outcome.OK
    assert "was changed and has been restored" in tool_results(it.claude.calls[1])[1]["content"]
    assert it.file(CONTRACT) == CONTRACT_TEXT


def test_text_after_submit_and_calls_around_it_do_no_harm(tmp_path: Path) -> None:
    after = {"type": "text", "text": "Done! Goodbye."}
    it = bench(tmp_path, act(submit(), write(), after))
    assert it.work().outcome is Outcome.OK
    assert it.file() == "STORE = {}\n"


def test_a_submission_beside_a_failed_call_is_not_looked_at(tmp_path: Path) -> None:
    it = bench(tmp_path, act(write(), write("../x"), submit()), act(submit()))
    assert it.work().outcome is Outcome.OK
    ok, refused, submitted = tool_results(it.claude.calls[1])
    assert (ok["is_error"], refused["is_error"], submitted["is_error"]) == (False, True, True)
    assert "1 other call(s) of this turn failed" in submitted["content"]


def test_a_submission_is_not_looked_at_before_a_fault_of_its_turn_was_seen(tmp_path: Path) -> None:
    bad = write(content="STORE = {\n")
    it = bench(tmp_path, act(bad, submit()), act(submit()))
    assert it.work().outcome is Outcome.OK  # as it is, if the model means it so
    told, refused = tool_results(it.claude.calls[1])
    assert (told["is_error"], refused["is_error"]) == (False, True)
    assert "the syntax of 'app/store.py' is told to be wrong" in refused["content"]


def test_parts_of_a_file_that_are_whole_in_the_end_may_be_submitted_at_once(tmp_path: Path) -> None:
    rest = use("append_file", path="app/store.py", content="}\n")
    it = bench(tmp_path, act(write(content="STORE = {\n"), rest, submit()))
    assert it.work().outcome is Outcome.OK
    assert len(it.claude.calls) == 1


def test_fifty_calls_in_a_turn_are_all_answered_in_order(tmp_path: Path) -> None:
    blocks = [write(f"src/{n}.py", f"N = {n}\n") for n in range(50)]
    it = bench(tmp_path, act(*blocks), act(submit()), owns=("src/",))
    assert it.work().outcome is Outcome.OK
    results = tool_results(it.claude.calls[1])
    assert [r["tool_use_id"] for r in results] == [b["id"] for b in blocks]
    assert it.file("src/49.py") == "N = 49\n"


@pytest.mark.parametrize("block", [None, {"type": "thinking", "thinking": "...", "signature": "s"}])
def test_turns_without_a_call_are_nudged_and_bounded(
    tmp_path: Path, block: dict[str, Any] | None
) -> None:
    it = bench(tmp_path, act(*([block] if block else []), stop_reason="end_turn"), forever=True)
    verdict = it.work()
    assert verdict.outcome is Outcome.DEFECT
    assert verdict.message == f"Claude answered {MOST_IDLE_TURNS + 1} times without doing anything."
    roles = [m["role"] for m in it.claude.calls[-1].messages]
    assert roles == ["user", "assistant"] * MOST_IDLE_TURNS + ["user"]
    assert it.claude.calls[-1].messages[1]["content"] == [{"type": "text", "text": "(no answer)"}]


def test_a_call_starts_the_count_of_idle_turns_again(tmp_path: Path) -> None:
    idle = [say("Let me think.")] * MOST_IDLE_TURNS
    it = bench(tmp_path, *idle, act(write()), *idle, act(submit()))
    assert it.work().outcome is Outcome.OK
    assert it.claude.calls[1].messages[1]["content"][0]["text"] == "Let me think."
    assert "You have not called a tool" in it.claude.calls[1].messages[2]["content"][0]["text"]


def test_text_that_was_cut_is_asked_to_go_on(tmp_path: Path) -> None:
    it = bench(tmp_path, say("First I", "max_tokens"), act(write(), submit()))
    assert it.work().outcome is Outcome.OK
    assert "cut at the output limit" in it.claude.calls[1].messages[2]["content"][0]["text"]


@pytest.mark.parametrize("tail", ["", "\\", "\\u00", "\\ud83d", "\\ud83d\\ude", '"'])
def test_a_file_that_was_cut_is_kept_and_gone_on_with(tmp_path: Path, tail: str) -> None:
    raw = '{"path": "./app/store.py", "content": "A = 1\\nB =' + tail
    it = bench(
        tmp_path,
        act_broken("write_file", raw, stop_reason="max_tokens"),
        act(use("append_file", path="app/store.py", content=" 2\n")),
        act(submit()),
    )
    assert it.work().outcome is Outcome.OK
    assert it.file() == "A = 1\nB = 2\n"
    (result,) = tool_results(it.claude.calls[1])
    assert not result["is_error"]
    assert result["content"] == (
        "kept 9 characters of app/store.py; continue with append_file right after where this "
        "ends:\nA = 1\nB ="
    )
    block = it.claude.calls[1].messages[1]["content"][0]
    assert block["input"] == {"path": "./app/store.py", "content": "A = 1\nB ="}


def test_what_was_written_is_answered_with_its_syntax_error_and_stays_written(
    tmp_path: Path,
) -> None:
    it = bench(
        tmp_path,
        act(write(content="def f(:\n    pass\n")),
        act(use("edit_file", path="app/store.py", old="(:", new="():")),
        act(submit()),
    )
    assert it.work().outcome is Outcome.OK
    (wrote,), (edited,) = (tool_results(call) for call in it.claude.calls[1:])
    first, fault = wrote["content"].split("\n")
    assert first == "wrote app/store.py (2 lines)"
    assert fault.startswith("not valid Python 3.")
    assert fault.endswith(": line 1: invalid syntax: def f(:")
    assert not wrote["is_error"]
    assert edited["content"] == "edited app/store.py\n1| def f():\n2|     pass"
    assert it.told == ["wrote app/store.py (2 lines)", "edited app/store.py"]


def test_parts_of_a_file_share_a_turn_and_what_is_not_whole_yet_is_no_fault(
    tmp_path: Path,
) -> None:
    parts = ["def f(\n", "    x,\n", "):\n    return x\n"]
    calls = [write(content=parts[0])]
    calls += [use("append_file", path="app/store.py", content=part) for part in parts[1:]]
    it = bench(tmp_path, act(*calls, submit()))
    assert it.work().outcome is Outcome.OK
    assert it.file() == "".join(parts)


def test_a_part_is_answered_with_what_is_missing_so_far(tmp_path: Path) -> None:
    rest = use("append_file", path="app/store.py", content="    x\n")
    it = bench(tmp_path, act(write(content="def f(\n"), rest), act(write(), submit()))
    assert it.work().outcome is Outcome.OK
    for result in tool_results(it.claude.calls[1]):
        note = result["content"].split("\n")[1]
        assert note.startswith("[incomplete so far (Python 3.")
        assert note.endswith("line 1: '(' was never closed]")


def test_an_append_that_was_cut_is_kept_too(tmp_path: Path) -> None:
    raw = '{"path": "app/store.py", "content": "'
    it = bench(
        tmp_path,
        act(write(content="A\n")),
        act_broken("append_file", raw + "B", stop_reason="max_tokens"),
        act_broken("append_file", raw, stop_reason="max_tokens"),
        act(use("append_file", path="app/store.py", content="C\n")),
        act(submit()),
    )
    assert it.work().outcome is Outcome.OK
    assert it.file() == "A\nBC\n"
    assert tool_results(it.claude.calls[3])[0]["content"] == (
        "kept 0 characters of app/store.py; continue with append_file"
    )


def test_a_cut_file_that_was_not_continued_is_a_defect(tmp_path: Path) -> None:
    raw = '{"path": "app/store.py", "content": "A = '
    it = bench(
        tmp_path,
        act_broken("write_file", raw, submit(), stop_reason="max_tokens"),
        act(submit()),
        act(use("append_file", path="app/store.py", content="")),
        act(submit()),
    )
    assert it.work().outcome is Outcome.OK
    for call, index in ((it.claude.calls[1], 0), (it.claude.calls[2], 0)):
        assert "'app/store.py' was cut and not gone on" in tool_results(call)[index]["content"]


@pytest.mark.parametrize("path", ["../outside.txt", CONTRACT, "other.py"])
def test_a_cut_file_on_a_refused_path_is_not_kept(tmp_path: Path, path: str) -> None:
    raw = json.dumps({"path": path, "content": "evil"})[:-2]
    it = bench(
        tmp_path, act_broken("write_file", raw, stop_reason="max_tokens"), act(write(), submit())
    )
    assert it.work().outcome is Outcome.OK
    assert tool_results(it.claude.calls[1])[0]["is_error"]
    assert (tmp_path / "outside.txt").read_text() == "outside\n"
    assert it.file(CONTRACT) == CONTRACT_TEXT


@pytest.mark.parametrize(
    ("name", "raw", "stop_reason", "why"),
    [
        ("write_file", '{"path": "app/st', "max_tokens", "was cut at the output limit"),
        ("write_file", '{"content": "x", "path": "app/st', "max_tokens", "was cut"),
        ("write_file", "", "max_tokens", "was cut at the output limit"),
        ("write_file", '["path"', "max_tokens", "was cut at the output limit"),
        ("write_file", '{"path" "x"', "max_tokens", "was cut at the output limit"),
        ("edit_file", '{"path": "app/store.py", "old": "a', "max_tokens", "was cut"),
        ("submit_result", '{"summary": "I', "max_tokens", "was cut at the output limit"),
        ("write_file", '{"path": "app/store.py", "content": "x', "tool_use", "is not a valid JSON"),
        ("submit_result", '{"summary": }', "tool_use", "is not a valid JSON object"),
        ("read_file", "[1, 2]", "tool_use", "is not a valid JSON object"),
    ],
)
def test_broken_input_runs_nothing_and_shows_the_call(
    tmp_path: Path, name: str, raw: str, stop_reason: str, why: str
) -> None:
    it = bench(tmp_path, act_broken(name, raw, stop_reason=stop_reason), act(write(), submit()))
    assert it.work().outcome is Outcome.OK
    (result,) = tool_results(it.claude.calls[1])
    assert result["is_error"]
    assert why in result["content"]
    assert f"Call it as {TOOLS[name].usage()}" in result["content"]
    assert it.claude.calls[1].messages[1]["content"][0]["input"] == {}


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (use("run_shell", command="true"), "There is no tool 'run_shell'. Tools: read_file, write"),
        (use("write_file", content="x"), "'path' is missing. Call it as write_file(path: string, "),
        (use("write_file", path=1, content="x"), "'path' is not of type string"),
        (use("write_file", path=None, content="x"), "'path' is not of type string"),
        (use("write_file", path="app/store.py", content=["x"]), "'content' is not of type string"),
        (use("read_file", path="x", offset="1"), "'offset' is not of type integer"),
        (use("read_file", path="x", offset=True), "'offset' is not of type integer"),
        (use("read_file", path="x", mode="w"), "'mode' is not an argument"),
        (use("submit_result"), "'summary' is missing. Call it as submit_result(summary: string)"),
        ({**use("read_file"), "input": "x"}, "The input of read_file is not an object."),
        ({**use("read_file"), "input": None}, "The input of read_file is not an object."),
        (use("append_file", path=CONTRACT, content="x"), "is a contract"),
        (use("edit_file", path="app/store.py", old="x", new="y"), "does not exist"),
        (use("search_files", pattern="x", path="../"), "'..'"),
    ],
)
def test_a_bad_call_is_refused_with_what_to_do(
    tmp_path: Path, block: dict[str, Any], told: str
) -> None:
    it = bench(tmp_path, act(block), act(write(), submit()))
    assert it.work().outcome is Outcome.OK
    (result,) = tool_results(it.claude.calls[1])
    assert result["is_error"]
    assert told in result["content"]


def test_null_for_what_may_be_left_out_is_as_good_as_leaving_it_out(tmp_path: Path) -> None:
    looks = [
        use("read_file", path=CONTRACT, offset=None, limit=1),
        use("list_files", path=None),
        use("search_files", pattern="PORT", path=None),
    ]
    it = bench(tmp_path, act(*looks), act(write(), submit()))
    it.work()
    assert [r["content"] for r in tool_results(it.claude.calls[1])] == [
        f"[{CONTRACT}, 1 line]\nPORT = 8000",
        f"{CONTRACT} (12 bytes)",
        f"{CONTRACT}:1: PORT = 8000",
    ]


def test_the_same_failing_call_ends_the_work(tmp_path: Path) -> None:
    def again(_: Call) -> Reply:
        return act(write("../evil"), use("list_files"))

    it = bench(tmp_path, again, forever=True)
    verdict = it.work()
    assert (verdict.outcome, verdict.turns) == (Outcome.DEFECT, MOST_SAME_FAILURES)
    assert verdict.message.startswith("Claude made the same failing call 6 times: The path")


def test_a_failing_call_that_only_varies_its_text_ends_the_work_too(tmp_path: Path) -> None:
    numbers = iter(range(100))

    def again(_: Call) -> Reply:
        return act(write("../evil", content=f"another text {next(numbers)}"))

    it = bench(tmp_path, again, forever=True)
    verdict = it.work()
    assert (verdict.outcome, verdict.turns) == (Outcome.DEFECT, MOST_SAME_FAILURES)


def test_calls_that_fail_for_different_reasons_go_on(tmp_path: Path) -> None:
    turns = [act(write(f"../evil{n}")) for n in range(2 * MOST_SAME_FAILURES)]
    assert bench(tmp_path, *turns, act(write(), submit())).work().outcome is Outcome.OK


def test_failing_calls_between_real_work_do_not_end_it(tmp_path: Path) -> None:
    turns = [act(write("../evil")), act(write(content="x"))] * MOST_SAME_FAILURES
    assert bench(tmp_path, *turns, act(submit())).work().outcome is Outcome.OK


def test_an_endless_loop_ends_at_the_limit_of_turns(tmp_path: Path) -> None:
    it = bench(tmp_path, act(use("list_files")), forever=True, limits=Limits(max_turns=7))
    assert it.work() == EngineResult(Outcome.DEFECT, "The task was not done within 7 turns.", 7)


def test_the_time_limit_is_seen_between_turns(tmp_path: Path) -> None:
    clock = FakeClock()

    def slowly(_: Call) -> Reply:
        clock.now += 40
        return act(use("list_files"))

    it = bench(tmp_path, slowly, forever=True, limits=Limits(timeout_s=100.0), clock=clock)
    assert it.work() == EngineResult(
        Outcome.INTERRUPTED, "The task was not done within the time limit of 100 s.", 3
    )


def test_a_stopped_clock_interrupts_between_turns(tmp_path: Path) -> None:
    clock = FakeClock()

    def stop(_: Call) -> Reply:
        clock.stopped = True
        return act(write())

    it = bench(tmp_path, stop, forever=True, clock=clock)
    assert it.work() == EngineResult(Outcome.INTERRUPTED, "The worker was told to stop.", 1)


def test_a_refusal_ends_the_work_and_runs_nothing(tmp_path: Path) -> None:
    text = {"type": "text", "text": "I can't help with that."}
    it = bench(tmp_path, act(text, write(), stop_reason="refusal"))
    assert it.work() == EngineResult(
        Outcome.REFUSED, "Claude declined the task. I can't help with that.", 1
    )
    assert not (tmp_path / "work/app/store.py").exists()


def test_a_full_context_window_is_named(tmp_path: Path) -> None:
    verdict = bench(tmp_path, say("so", "model_context_window_exceeded")).work()
    assert verdict.outcome is Outcome.DEFECT
    assert "context window" in verdict.message


TOO_LONG = RequestRejected("x (400): prompt is too long: 200001 tokens > 200000 maximum.")


def test_a_conversation_refused_for_its_length_is_trimmed_and_goes_on(tmp_path: Path) -> None:
    long = [act(write(content="x" * 9_000)), act(use("list_files")), act(use("list_files"))]
    it = bench(tmp_path, *long, TOO_LONG, act(submit()))
    assert it.work() == EngineResult(Outcome.OK, "Wrote the store.", 4)
    refused, again = it.claude.calls[3:]
    assert refused.messages[0] == again.messages[0]
    assert [m["role"] for m in refused.messages] == [m["role"] for m in again.messages]
    assert again.messages[1]["content"][0]["input"]["content"] == (
        "[dropped: 9,000 characters of app/store.py; read it again if you need it]"
    )
    assert it.file() == "x" * 9_000
    assert it.told[-1] == "the conversation grew too long; its older parts were dropped"


def test_a_conversation_that_stays_too_long_ends_with_the_providers_words(tmp_path: Path) -> None:
    it = bench(tmp_path, act(write(content="x" * 9_000)), TOO_LONG, forever=True)
    verdict = it.work()
    assert verdict.outcome is Outcome.DEFECT
    assert "does not fit into the model's context window" in verdict.message
    assert "200001 tokens > 200000 maximum" in verdict.message
    assert len(it.claude.calls) == 3


def test_a_request_refused_for_another_reason_is_not_asked_again(tmp_path: Path) -> None:
    it = bench(tmp_path, act(write(content="x" * 9_000)), RequestRejected("x (400): odd."))
    verdict = it.work()
    assert (verdict.outcome, verdict.turns) == (Outcome.DEFECT, 2)
    assert "x (400): odd." in verdict.message
    assert len(it.claude.calls) == 2


def test_a_file_cut_at_the_windows_end_is_kept_and_gone_on_with(tmp_path: Path) -> None:
    raw = json.dumps({"path": "app/store.py", "content": "A" * 9_000})[:-2]
    it = bench(
        tmp_path,
        act_broken("write_file", raw, stop_reason="model_context_window_exceeded"),
        act(use("append_file", path="app/store.py", content="B")),
        act(submit()),
    )
    assert it.work().outcome is Outcome.OK
    assert it.file() == "A" * 9_000 + "B"
    (result,) = tool_results(it.claude.calls[1])
    assert result["content"].startswith("kept 9000 characters of app/store.py; continue")
    assert "[dropped: 9,000" in json.dumps(it.claude.calls[1].messages[1])


def test_a_long_conversation_is_trimmed_before_it_is_sent(tmp_path: Path) -> None:
    turns = [act(write(f"src/{n}.py", "x" * 6_000)) for n in range(12)]
    limits = Limits(context_tokens=22_000)
    it = bench(tmp_path, *turns, act(submit()), owns=("src/",), limits=limits)
    assert it.work().outcome is Outcome.OK
    sizes = [len(json.dumps(call.messages)) for call in it.claude.calls]
    assert max(sizes) < 3 * 22_000
    assert sum(after < before for before, after in pairwise(sizes)) == 1


def test_a_cut_attempt_leaves_a_transcript_that_can_be_read(tmp_path: Path) -> None:
    it = bench(tmp_path, act(write()), KeyboardInterrupt("cut"))
    with pytest.raises(KeyboardInterrupt):
        it.work()
    lines = [json.loads(line) for line in (tmp_path / "transcript.jsonl").read_text().splitlines()]
    assert [line.get("turn") for line in lines] == [None, 1, None]
    assert (lines[2]["ended"], lines[2]["message"]) == ("KeyboardInterrupt", "cut")
    assert "wrote app/store.py" in json.dumps(lines[2]["sent"])


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (RateLimited("429.", retry_after_s=3), Outcome.RATE_LIMITED),
        (Overloaded("529."), Outcome.RATE_LIMITED),
        (ServerFault("500."), Outcome.RATE_LIMITED),
        (ConnectionLost("Lost."), Outcome.RATE_LIMITED),
        (CredentialsRefused("401.", "Set the key."), Outcome.AUTH),
        (ModelUnknown("404."), Outcome.AUTH),
        (BillingRefused("402."), Outcome.BILLING),
        (Interrupted("Stop."), Outcome.INTERRUPTED),
        (RequestRejected("prompt is too long"), Outcome.DEFECT),
    ],
)
def test_each_error_of_a_request_has_its_outcome(
    tmp_path: Path, error: Exception, outcome: Outcome
) -> None:
    verdict = bench(tmp_path, act(write()), error).work()
    assert (verdict.outcome, verdict.turns) == (outcome, 2)
    assert str(error) in verdict.message


def test_a_broken_disk_is_no_business_of_the_model(tmp_path: Path) -> None:
    it = bench(tmp_path, act(write()))
    context = it.context()

    def fail() -> list[str]:
        raise OSError("no space left")

    it.claude = ScriptedClaude([act(write(), submit())])
    with pytest.raises(OSError, match="no space left"):
        ApiEngine(replace(context, find_defects=fail)).work()
    assert result_of_error(OSError("full")) == EngineResult(Outcome.DEFECT, "OSError: full")


def test_an_unknown_engine_is_refused_with_those_that_exist() -> None:
    assert load_engine("api") is ApiEngine
    with pytest.raises(
        SettingsError, match=r"engine 'warp' is unknown.*one of: " + ", ".join(ENGINES)
    ):
        load_engine("warp")


_PATHS = st.sampled_from(
    [
        "app/store.py",
        "src/a",
        "src/a/b",
        "../outside.txt",
        CONTRACT,
        "APP/types.py",
        "/etc/x",
        "src",
    ]
)
_INPUTS = st.fixed_dictionaries(
    {},
    optional={
        "path": st.one_of(_PATHS, st.text(max_size=6), st.none(), st.integers()),
        "content": st.one_of(st.text(max_size=20), st.none()),
        "old": st.text(max_size=2),
        "new": st.text(max_size=2),
        "pattern": st.sampled_from(["x", "PORT"]),
        "summary": st.text(max_size=5),
        "offset": st.integers(-2, 3),
    },
)
_NAMES = st.sampled_from([*TOOLS, "run_shell", ""])


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    blocks: list[dict[str, Any]] = []
    broken = {}
    calls: Iterable[tuple[str, dict[str, Any]]] = draw(
        st.lists(st.tuples(_NAMES, _INPUTS), max_size=4)
    )
    for name, inputs in calls:
        block = use(name, **inputs)
        if draw(st.integers(0, 5)) == 0:
            raw = json.dumps(block["input"])
            broken[block["id"]] = raw[: draw(st.integers(0, len(raw)))]
            block["input"] = {}
        blocks.append(block)
    stop_reason = draw(st.sampled_from(["tool_use", "end_turn", "max_tokens", "pause_turn"]))
    return Reply(tuple(blocks), stop_reason, USAGE, broken)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(replies(), min_size=1, max_size=6))
def test_no_model_changes_what_is_not_its_own(
    tmp_path_factory: pytest.TempPathFactory, script: list[Reply]
) -> None:
    base = tmp_path_factory.mktemp("case")
    it = bench(base, *script, forever=True, owns=TASK.owns, limits=Limits(max_turns=9))
    verdict = it.work()
    assert it.file(CONTRACT) == CONTRACT_TEXT
    assert (base / "outside.txt").read_text() == "outside\n"
    found = {p.relative_to(it.root).as_posix() for p in it.root.rglob("*") if p.is_file()}
    strays = {p for p in found if p != "app/store.py" and not p.startswith("src/")}
    assert strays == {CONTRACT}
    assert {p.name for p in base.iterdir()} == {"work", "inputs", "outside.txt", "transcript.jsonl"}
    if verdict.outcome is Outcome.OK:
        assert "app/store.py" in found
        assert any(p.startswith("src/") for p in found)
    for call in it.claude.calls:
        _check_pairs(call)


def _check_pairs(call: Call) -> None:
    """Roles alternate, and every tool_use is answered in the next message, as the API demands."""
    for number, message in enumerate(call.messages):
        assert message["role"] == ("user", "assistant")[number % 2]
        assert message["content"]
        if message["role"] == "assistant":
            asked = [b["id"] for b in message["content"] if b["type"] == "tool_use"]
            answered = call.messages[number + 1]["content"]
            assert asked == [b["tool_use_id"] for b in answered if b["type"] == "tool_result"]

"""The simulated Claude for whoever offers the tools of the Claude Code CLI."""

from __future__ import annotations

import json
from typing import Any

import pytest

from claude.http.plain_http import Incoming
from claude.simulation.answers import Answer, Part, tool_part
from claude.simulation.cli_tools import (
    find_unwanted,
    find_workspace,
    from_cli,
    own_tools,
    remove_command,
    to_cli,
)
from claude.simulation.conversation import Conversation, read_conversation
from claude.simulation.validation import InvalidRequest, check_request
from tests.fakes.simulated import RecordingClock, build_api

TOOLS = ("Read", "Write", "Edit", "Glob", "Grep", "Bash")
TASK = '<task id="store" attempt="1">\nThe store\n<owns>\napp/a.py\n</owns>\n</task>'

Block = dict[str, Any]


def request(*later: Block, workspace: str = "/w") -> Block:
    shared = "<request>\nBuild\n</request>\n<plan>\n# Store\n</plan>"
    task = f"{TASK}\n<workspace>{workspace}</workspace>"
    reminder = "<system-reminder>\nToday is a day.\n</system-reminder>"
    texts = [{"type": "text", "text": text} for text in (reminder, shared, task)]
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in TOOLS]
    messages = [{"role": "user", "content": texts}, *later]
    return {"model": "m", "max_tokens": 1000, "tools": tools, "messages": messages}


def called(name: str, *, said: str = "done", is_error: bool = False, **given: Any) -> list[Block]:
    use = {"type": "tool_use", "id": "t1", "name": name, "input": given}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": said, "is_error": is_error}
    return [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]


def told(text: str) -> list[Block]:
    end = {"role": "assistant", "content": [{"type": "text", "text": "Done."}]}
    return [end, {"role": "user", "content": [{"type": "text", "text": text}]}]


def read(*later: Block) -> Conversation:
    return read_conversation(check_request(request(*later)))


def test_the_cli_is_known_by_its_tools_and_the_place_it_works_in() -> None:
    talk = read()
    assert (talk.role, talk.task_id, talk.workspace, talk.prompt) == (
        "executor",
        "store",
        "/w",
        "Build",
    )
    assert talk.owns == ("app/a.py",)
    assert {"write_file", "read_file", "list_files"} <= talk.tools
    assert "submit_result" not in talk.tools


def test_own_tools_keep_their_names() -> None:
    assert own_tools(["write_file", "Write", "New"]) == {"write_file", "New"}
    assert find_workspace(TASK) == ""


def test_what_it_wrote_is_known_by_paths_of_the_workspace() -> None:
    talk = read(*called("Write", file_path="/w/app/a.py", content="one two"))
    assert talk.files == (("app/a.py", "one two"),)
    edited = called("Edit", file_path="/w/app/a.py", old_string="one", new_string="two")
    edited[0]["content"][0]["id"] = edited[1]["content"][0]["tool_use_id"] = "t2"
    talk = read(*called("Write", file_path="/w/app/a.py", content="one two"), *edited)
    assert talk.files == (("app/a.py", "two two"),)


def test_what_was_refused_was_not_written() -> None:
    refused = called("Write", file_path="/w/app/a.py", content="x", is_error=True)
    assert read(*refused).files == ()


@pytest.mark.parametrize(
    ("part", "tool", "given"),
    [
        (
            tool_part("write_file", {"path": "a.py", "content": "x"}),
            "Write",
            {"file_path": "/w/a.py", "content": "x"},
        ),
        (
            tool_part("write_file", {"path": "/etc/x", "content": ""}),
            "Write",
            {"file_path": "/etc/x", "content": ""},
        ),
        (tool_part("write_file", {"content": "x"}), "Write", {"content": "x"}),
        (tool_part("read_file", {"path": "b"}), "Read", {"file_path": "/w/b"}),
        (tool_part("list_files", {}), "Glob", {"pattern": "**/*"}),
        (tool_part("run_command", {"command": "ls"}), "Bash", {"command": "ls"}),
        (tool_part("run_shell", {"command": "ls"}), "run_shell", {"command": "ls"}),
    ],
)
def test_calls_are_spoken_in_the_clis_words(part: Part, tool: str, given: Block) -> None:
    converted = to_cli(Answer((Part("hm"), part)), "/w").parts
    assert converted[0] == Part("hm")
    assert (converted[1].tool, json.loads(converted[1].text)) == (tool, given)


def test_a_call_that_is_cut_stays_cut() -> None:
    cut = tool_part("write_file", {"path": "a.py", "content": "some text"}).cut(35)
    (converted,) = to_cli(Answer((cut,)), '/w"x').parts
    assert converted.text.startswith('{"file_path": "/w\\"x/a.py", "content": "')
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(converted.text)


def test_what_is_heard_in_the_clis_words_is_what_was_spoken() -> None:
    part = tool_part("write_file", {"path": "a b/ü.py", "content": "x"})
    (converted,) = to_cli(Answer((part,)), "/w").parts
    block = {"name": converted.tool, "input": json.loads(converted.text)}
    assert from_cli(block, "/w") == {"name": "write_file", "input": json.loads(part.text)}


def test_strays_are_removed_once() -> None:
    defects = (
        "<defects>\n- 'x y.txt' is on no path that this task owns; remove it\n"
        "- the path '~/z' starts with a tilde\n- 'app/a.py' does not exist; this task owns it\n"
        "- the contract 'c' was changed and has been restored; leave it alone\n</defects>"
    )
    assert find_unwanted(defects) == ("x y.txt", "~/z")
    assert read(*told(defects)).unwanted == ("x y.txt", "~/z")
    assert read(*told(defects), *called("Bash", command="rm")).unwanted == ()
    assert remove_command(("x y.txt", "~/z")) == "rm -f -- 'x y.txt' '~/z'"


def test_system_messages_may_stand_among_the_others_where_the_beta_was_asked_for() -> None:
    later = {"role": "system", "content": "A reminder."}
    asked = request(*told("go on"), later)
    betas = "x-2026,mid-conversation-system-2026-04-07"
    checked = check_request(asked, betas)
    assert [m["role"] for m in checked["messages"]] == ["user", "assistant", "user"]
    assert check_request({**asked, "anthropic_beta": betas.split(",")})["messages"]
    with pytest.raises(InvalidRequest, match="role"):
        check_request(asked)
    with pytest.raises(InvalidRequest, match="role"):
        check_request({**asked, "messages": [later]}, betas)


def test_retries_that_the_cli_does_not_count_are_counted_for_it() -> None:
    """Else a refusal that was drawn once would be drawn for ever."""
    body = json.dumps(request()).encode()
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    api = build_api(RecordingClock(), faults="rate_limit=0.5", seed=3)
    by_sdk = {api.handle(Incoming("POST", "/v1/messages", headers, body)).status for _ in range(9)}
    cli = headers | {"x-app": "cli"}
    by_cli = [api.handle(Incoming("POST", "/v1/messages", cli, body)).status for _ in range(9)]
    counted = [
        api.handle(
            Incoming("POST", "/v1/messages", headers | {"x-stainless-retry-count": str(n)}, body)
        ).status
        for n in range(9)
    ]
    assert len(by_sdk) == 1
    assert by_cli == counted
    assert set(by_cli) == {200, 429}

"""Reads a request back: which role is asked (planner, executor, other), and what it has done. An
executor's files are rebuilt from its own calls and what the tools said to them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from claude.client.context import read_note
from claude.prompts import PLAN_GOES_ON
from claude.simulation.cli_tools import RUN, find_unwanted, find_workspace, from_cli, own_tools
from claude.simulation.existing import read_listing

DROPPED = "\0"  # in a file, for a character that the conversation does not show any more

_REQUEST = re.compile(r"<request>\n(.*)\n</request>", re.DOTALL)
_SHARED_REQUEST = re.compile(r"<request>\n(.*?)\n</request>\s*<plan>", re.DOTALL)
_PLAN_TITLE = re.compile(r"^</request>\s*<plan>\n# (.*)$", re.MULTILINE)
_TASK = re.compile(r'<task id="([^"]+)" attempt="(\d+)">')
_SECTION = r"^<{0}>$(.*?)^</{0}>$"
_CONTRACT = re.compile(r'^<contract path="([^"]+)">$', re.MULTILINE)
_PROMISED = re.compile(r"^- (.+) \(used by [^()]+\)$", re.MULTILINE)
_WRITING = ("write_file", "append_file", "edit_file")
_FAILURE = re.compile(r"^<failure>\n(.+)\nIt was run on the code as it is, and fails", re.MULTILINE)
_FAILING = re.compile(r"\b(?:FAIL|ERROR): (test_\w+)")
LOOK, REMOVE = "list_files", "delete_file"
_KEPT = re.compile(r"kept (\d+) characters of ")


@dataclass(frozen=True, slots=True)
class Conversation:
    """`role` is planner, executor or other; `turn` counts the assistant's messages so far.

    `tools` go by our own names; `workspace` is where the Claude Code CLI works, "" for our own
    engine. `contracts` are shown in full, `plan_contracts` are all that the plan names. `files` are
    an executor's so far, as (path, content), `unwanted` those it has to remove; `tried` says that
    it ran a command since it last wrote; `failing` are the tests that its task says fail, or the
    command that a planner was told of; `plan_keys` are those that the schema of a planner's request
    allows.
    """

    role: str
    turn: int
    prompt: str = ""
    plan_title: str = ""
    task_id: str = ""
    attempt: int = 1
    owns: tuple[str, ...] = ()
    contracts: tuple[str, ...] = ()
    plan_contracts: tuple[str, ...] = ()
    tools: frozenset[str] = frozenset()
    workspace: str = ""
    files: tuple[tuple[str, str], ...] = ()
    unwanted: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    tried: bool = False
    failing: frozenset[str] = frozenset()
    existing: bool = False
    """Whether there is code that it changes; then `listed` are the files that were there."""
    listed: frozenset[str] = frozenset()
    plan_keys: frozenset[str] = frozenset()

    @property
    def names(self) -> tuple[str | int, ...]:
        """What its draws depend on besides the seed."""
        return (self.role, self.task_id, self.attempt, self.turn)


def read_conversation(request: Mapping[str, Any]) -> Conversation:
    """The conversation in a request that `check_request` gave back."""
    messages = request["messages"]
    texts = [text.strip() for text in _texts(messages[0]["content"])]
    turn = sum(m["role"] == "assistant" for m in messages)
    tools = frozenset(str(tool["name"]) for tool in request.get("tools") or ())
    shared, task = _split(texts)
    listed = _listed(messages)
    if workspace := find_workspace(task):
        tools = own_tools(tools)
    if (head := _TASK.match(task)) and "write_file" in tools:
        return Conversation(
            "executor",
            turn,
            _first(_SHARED_REQUEST, shared) or _first(_REQUEST, shared),
            _first(_PLAN_TITLE, shared),
            head[1],
            int(head[2]),
            _section("owns", task),
            tuple(_CONTRACT.findall(shared)),
            tuple(_PROMISED.findall(shared)),
            tools,
            workspace,
            tuple(_written(messages, workspace, listed).items()),
            _unwanted(messages) if workspace else (),
            _section("checks", task),
            _tried(messages),
            frozenset(_FAILING.findall(task)),
            REMOVE in tools,
            listed,
        )
    prompt = _first(_REQUEST, "\n".join(texts))
    keys = _plan_keys(request)
    system = " ".join(_texts(request.get("system") or [])).lower()
    if not prompt or not (keys or "planner" in system):
        return Conversation("other", turn, prompt, tools=tools)
    existing = "<repository>" in "\n".join(texts)
    begun = any(PLAN_GOES_ON in _texts(message["content"]) for message in messages)
    return Conversation(
        "planner",
        turn - begun,  # the same answers, whether it was asked in two or at once
        prompt,
        tools=tools,
        failing=frozenset(_FAILURE.findall("\n".join(texts))),
        existing=existing,
        listed=listed,
        plan_keys=keys,
    )


def _split(texts: list[str]) -> tuple[str, str]:
    """What stands before the task, and the task: the last one, since files may speak of tasks."""
    whole = "\n".join(texts)
    place = whole.rfind("\n<task id=")
    return (whole[:place], whole[place + 1 :]) if place >= 0 else (whole, "")


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1].strip() if match else ""


def _section(name: str, task: str) -> tuple[str, ...]:
    match = re.search(_SECTION.format(name), task, re.DOTALL | re.MULTILINE)
    lines = match[1].splitlines() if match else []
    return tuple(line.strip().removeprefix("- ") for line in lines if line.strip())


def _plan_keys(request: Mapping[str, Any]) -> frozenset[str]:
    """The top-level keys of the plan's schema, given as output format or tool; may be empty."""
    output = (request.get("output_config") or {}).get("format") or {}
    tools = [t for t in request.get("tools") or () if t["name"] == "submit_plan"]
    schemas = [output.get("schema") or {}, *(tool["input_schema"] for tool in tools)]
    keys = [frozenset(schema.get("properties") or ()) for schema in schemas]
    return next((k for k in keys if k & {"tasks", "analysis"}), frozenset())


def _texts(content: str | list[dict[str, Any]]) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [str(block["text"]) for block in content if block["type"] == "text"]


def _tool_uses(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [block for block in message["content"] if block["type"] == "tool_use"]


def _unwanted(messages: list[dict[str, Any]]) -> tuple[str, ...]:
    """The files that the last defects name for removal, until a command was run."""
    unwanted: tuple[str, ...] = ()
    for message in messages:
        if any(from_cli(call, "")["name"] == RUN for call in _tool_uses(message)):
            unwanted = ()
        for text in _texts(message["content"]):
            unwanted = find_unwanted(text) if text.lstrip().startswith("<defects>") else unwanted
    return unwanted


def _tried(messages: list[dict[str, Any]]) -> bool:
    """Whether a command was run since the last call that writes."""
    names = [call["name"] for message in messages for call in _tool_uses(message)]
    return [name for name in names if name in (*_WRITING, RUN)][-1:] == [RUN]


def _listed(messages: list[dict[str, Any]]) -> frozenset[str]:
    """The files that its looks have shown: those that were listed, and those that could be read."""
    looks = {call["id"]: call for m in messages for call in _tool_uses(m)}
    listed: set[str] = set()
    for message in messages:
        for block in message["content"]:
            call = looks.get(block["tool_use_id"]) if block["type"] == "tool_result" else None
            if call and call["name"] == LOOK:
                listed |= read_listing("\n".join(_texts(block.get("content") or [])))
            elif call and call["name"] == "read_file" and not block.get("is_error"):
                listed.add(str(call["input"].get("path", "")))
    return frozenset(listed)


def _written(
    messages: list[dict[str, Any]], workspace: str, listed: frozenset[str]
) -> dict[str, str]:
    """The files as the tools left them, of existing ones what was added. After a defect nothing
    counts, so all is written anew."""
    files: dict[str, str] = {}
    for message, answer in pairwise(messages):
        if message["role"] != "assistant":
            continue
        results = {b["tool_use_id"]: b for b in answer["content"] if b["type"] == "tool_result"}
        for call in _tool_uses(message):
            if (result := results.get(call["id"])) is not None:
                _apply(files, from_cli(call, workspace) if workspace else call, result, listed)
        if any("<defects>" in text for text in _texts(answer["content"])):
            files.clear()
    return files


def _apply(
    files: dict[str, str], call: dict[str, Any], result: dict[str, Any], listed: frozenset[str]
) -> None:
    if result.get("is_error"):
        if call["name"] == "submit_result":
            files.clear()
        return
    given = call["input"]
    path = str(given.get("path", ""))
    if call["name"] in ("write_file", "append_file"):
        text = _kept(_shown(str(given.get("content", ""))), result)
        begun = "" if path in listed else None
        before = files.get(path, begun) if call["name"] == "append_file" else ""
        if text is None or before is None:
            files.pop(path, None)
        else:
            files[path] = before + text
    elif call["name"] == "edit_file" and path in files:
        old, new = (_shown(str(given.get(name))) for name in ("old", "new"))
        files[path] = files[path].replace(old, new, 1)


def _shown(content: str) -> str:
    dropped = read_note(content)
    return content if dropped is None else DROPPED * dropped


def _kept(content: str, result: dict[str, Any]) -> str | None:
    """The part of `content` that is in the file; None when the call does not show it."""
    if (match := _KEPT.match(" ".join(_texts(result.get("content") or [])))) is None:
        return content
    return content[: int(match[1])] if int(match[1]) <= len(content) else None

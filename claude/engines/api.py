"""The engine `api`: an agent loop on the Messages API.

One linear list of messages; a step asks, then acts on the answer. The loop ends by an exception
that carries the result; success takes submit_result and a workspace without defects.
"""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pydantic_core import from_json

from claude.client.context import ContextWindow, is_too_long
from claude.client.types import Block, Call, Claude, Reply
from claude.engines.base import Engine, EngineContext, WorkEnded, build_prompt, build_text
from claude.engines.tools import (
    ACTIONS,
    CHECKS,
    CUTTABLE,
    RUN,
    SUBMIT,
    WRITING,
    broken_input,
    build_tools,
    check_arguments,
    check_syntax,
    find_tool,
    run_command,
)
from claude.prompts import load_executor_prompt, render_defects
from core.errors import RequestRejected, WorkspaceError
from core.job import Outcome
from core.paths import EVERYTHING
from core.shell.processes import hide_memory
from core.shell.shell import Shell

MOST_IDLE_TURNS = 3
MOST_SAME_FAILURES = 6
_TAIL_CHARS = 120
_SHOWN_CHARS = 80
_CACHE = {"type": "ephemeral"}
_WINDOW_FULL = "model_context_window_exceeded"
_CUTS = frozenset({"max_tokens", _WINDOW_FULL})

_NUDGE = (
    "You have not called a tool. Go on with the task; when every file you own is written, call "
    "submit_result. Nothing counts before that."
)
_GO_ON = (
    "Your answer was cut at the output limit. Go on from there, in smaller steps: write long files "
    "in parts with write_file and append_file."
)


class ApiEngine(Engine):
    """`environ` is the worker's environment."""

    def __init__(self, context: EngineContext, environ: Mapping[str, str] | None = None) -> None:
        super().__init__(context)
        self._environ = os.environ if environ is None else environ
        self._workspace = context.workspace
        self._messages: list[Block] = [build_first_message(context)]
        instructions = load_executor_prompt(
            commands=context.commands,
            checks=context.run_checks is not None,
            alone=EVERYTHING in context.request.task.owns,
            existing=context.request.base is not None,
            part=bool(context.workspace.unsent),
        )
        self._system = ({**build_text(instructions), "cache_control": _CACHE},)
        answer_tokens = context.request.model.max_output_tokens
        self._tools = build_tools(
            answer_tokens,
            commands=context.commands,
            checks=context.run_checks is not None,
            existing=context.request.base is not None,
        )
        self._schemas = tuple(tool.schema() for tool in self._tools.values())
        self._window = ContextWindow(
            self._limits.context_tokens,
            answer_tokens,
            (self._system, self._schemas),
        )
        self._sent = 0
        self._idle_turns = 0
        self._corrections = 0
        self._failures: Counter[tuple[str, str, str]] = Counter()
        self._cut: set[str] = set()
        self._unseen: dict[str, str] = {}
        """What was told to be wrong in this turn, by the file or tool: not yet seen."""

    def _solve(self) -> str:
        connected = self._context.connect(self._context.clock)
        with self._open_shell() as self._shell, connected as claude:
            while True:  # until WorkEnded
                reply = self._ask(claude)
                self._act(reply)
                if reply.stop_reason == _WINDOW_FULL:
                    self._squeeze()

    def _unsent(self) -> list[Block]:
        return self._messages[self._sent :]

    def _open_shell(self) -> AbstractContextManager[Shell | None]:
        """A shell where commands may be run; the worker closes its memory to them first."""
        if not self._context.commands:
            return nullcontext()
        hide_memory()
        attempt = self._context.attempt
        return Shell(
            attempt.work,
            self._context.clock,
            environ=self._environ,
            scratch=attempt.root / "shell",
            max_bytes=self._limits.max_bytes,
            alone=self._context.contained,
        )

    def _ask(self, claude: Claude) -> Reply:
        self._context.clock.sleep(0.0)  # a stopped clock, or one past its end, raises here
        if self._turns >= self._limits.max_turns:
            raise self._out_of_turns()
        self._turns += 1
        started = self._context.clock.time()
        self._messages = self._window.fit(self._messages)
        reply = self._send(claude)
        self._window.learn(self._messages, reply.usage)
        self._context.transcript.record(self._turns, self._unsent(), reply, started)
        self._sent = len(self._messages)
        return reply

    def _send(self, claude: Claude) -> Reply:
        while True:
            try:
                return claude.send(
                    Call(
                        system=self._system,
                        messages=tuple(mark_cached(self._messages)),
                        max_tokens=self._context.request.model.max_output_tokens,
                        tools=self._schemas,
                    )
                )
            except RequestRejected as error:
                if not is_too_long(error):
                    raise
                self._squeeze(error.message)

    def _squeeze(self, why: str = "") -> None:
        """Drop more of a conversation that was too long; the work is over when that is no use."""
        if (smaller := self._window.squeeze(self._messages)) is None:
            message = f"The task does not fit into the model's context window. {why}"
            raise WorkEnded(Outcome.DEFECT, message.rstrip())
        self._messages = smaller
        self._context.progress("the conversation grew too long; its older parts were dropped")

    def _act(self, reply: Reply) -> None:
        if reply.stop_reason == "refusal":
            raise self._declined(_spoken(reply))
        calls = [_Call(block, reply) for block in reply.content if block.get("type") == "tool_use"]
        if not calls:
            self._nudge(reply)
            return
        self._idle_turns = 0
        self._unseen.clear()
        results = {call.id: self._run(call) for call in calls if call.name != SUBMIT}
        failed = sum(result["is_error"] for result in results.values())
        results |= {call.id: self._submit(call, failed) for call in calls if call.name == SUBMIT}
        # after the calls were run, since a cut one goes back with what arrived of its input
        content = [_answered(block, calls) for block in reply.content]
        self._messages.append({"role": "assistant", "content": content})
        self._messages.append({"role": "user", "content": [results[call.id] for call in calls]})

    def _nudge(self, reply: Reply) -> None:
        """Answer a turn without a tool call, which does not count as an end."""
        self._idle_turns += 1
        if self._idle_turns > MOST_IDLE_TURNS:
            message = f"Claude answered {self._idle_turns} times without doing anything."
            raise WorkEnded(Outcome.DEFECT, f"{message} {_spoken(reply)}".rstrip())
        # the API does not take back a turn that is empty or thinking alone
        content = list(reply.content) if _spoken(reply) else [build_text("(no answer)")]
        self._messages.append({"role": "assistant", "content": content})
        ask = _GO_ON if reply.stop_reason in _CUTS else _NUDGE
        self._messages.append({"role": "user", "content": [build_text(ask)]})

    def _run(self, call: _Call) -> Block:
        """Carry out a call that is no submission; its tool_result."""
        try:
            return call.result(self._carry_out(call))
        except WorkspaceError as exc:
            return self._failed(call, exc)

    def _carry_out(self, call: _Call) -> str:
        tool = find_tool(call.name, self._tools)
        if call.broken is not None and not call.salvage():
            raise broken_input(tool, cut=call.cut)
        arguments = check_arguments(tool, call.input)
        if self._shell is not None and call.name == RUN:
            shown = textwrap.shorten(arguments["command"], _SHOWN_CHARS, placeholder="...")
            self._context.progress(f"runs {shown}")
            return self._keep_failure(RUN, *run_command(self._workspace, self._shell, arguments))
        if self._context.run_checks is not None and call.name == CHECKS:
            self._context.progress("runs its checks")
            return self._keep_failure(CHECKS, *self._context.run_checks())
        output = ACTIONS[tool.name](self._workspace, arguments)
        if call.name in WRITING:
            self._context.progress(output.partition("\n")[0])
            self._failures.clear()  # not going round in circles
            self._cut.discard(path := arguments["path"].removeprefix("./"))
            self._unseen.pop(path, None)
            if call.broken is not None:
                self._cut.add(path)
                return _kept(path, arguments["content"])
            fault = check_syntax(self._workspace, self._shell, path)
            if not fault:
                return output
            self._unseen[path] = f"the syntax of {path!r} is told to be wrong"
            return f"{output}\n{fault}"
        return output

    def _keep_failure(self, tool: str, output: str, passed: bool) -> str:
        """The output; that it tells of a failure is kept until the model has seen it."""
        if not passed:
            self._unseen[tool] = f"{tool} of this turn did not pass"
        return output

    def _failed(self, call: _Call, error: WorkspaceError) -> Block:
        """The tool_result of a refused call, which may not go on for ever."""
        failure = call.name, call.path, error.message
        self._failures[failure] += 1
        if (times := self._failures[failure]) >= MOST_SAME_FAILURES:
            message = f"Claude made the same failing call {times} times: {error.message}"
            raise WorkEnded(Outcome.DEFECT, message)
        return call.result(str(error), is_error=True)

    def _submit(self, call: _Call, failed: int) -> Block:
        """End the work if the workspace has no defects; else the tool_result with them."""
        try:
            arguments = self._checked_submission(call, failed)
        except WorkspaceError as exc:
            return self._failed(call, exc)
        cut = [f"{p!r} was cut and not gone on with; append_file adds the rest" for p in self._cut]
        if not (defects := [*sorted(cut), *self._context.find_defects()]):
            raise WorkEnded(Outcome.OK, arguments["summary"])
        self._corrections += 1
        if self._corrections > self._limits.max_corrections:
            raise self._defective(defects)
        self._context.progress(f"not done yet: {defects[0]}")
        return call.result(render_defects(defects), is_error=True)

    def _checked_submission(self, call: _Call, failed: int) -> Mapping[str, Any]:
        tool = self._tools[SUBMIT]
        if call.broken is not None:
            raise broken_input(tool, cut=call.cut)
        if failed:
            raise WorkspaceError(
                f"Not looked at, since {failed} other call(s) of this turn failed.",
                "Put that right first, then submit again.",
            )
        if self._unseen:
            raise WorkspaceError(
                f"Not looked at, since {min(self._unseen.values())}.",
                "Put it right, or submit again if it is meant to be so.",
            )
        return check_arguments(tool, call.input)


class _Call:
    """One tool_use block; `broken` is its input as text where that is no JSON object."""

    def __init__(self, block: Mapping[str, Any], reply: Reply) -> None:
        self.id = str(block.get("id", ""))
        self.name = str(block.get("name", ""))
        self.input = block.get("input")
        self.broken = reply.broken_inputs.get(self.id)
        self.cut = reply.stop_reason in _CUTS and block is reply.content[-1]

    @property
    def path(self) -> str:
        """The file it is about; empty when it does not say."""
        return str(self.input.get("path", "")) if isinstance(self.input, Mapping) else ""

    def salvage(self) -> bool:
        """Take what arrived of a file that was cut after a whole path; whether there was any."""
        if not self.cut or self.name not in CUTTABLE:
            return False
        try:
            arrived = from_json(self.broken or "", allow_partial="trailing-strings")
        except ValueError:
            return False
        if not isinstance(arrived, dict) or list(arrived) != ["path", "content"]:
            return False
        self.input = arrived
        return True

    def result(self, text: str, *, is_error: bool = False) -> Block:
        return {
            "type": "tool_result",
            "tool_use_id": self.id,
            "content": text,
            "is_error": is_error,
        }


def build_first_message(context: EngineContext) -> Block:
    """The prompt; its shared part ends in a cache breakpoint."""
    shared, task = build_prompt(context)
    return {"role": "user", "content": [{**shared, "cache_control": _CACHE}, task]}


def mark_cached(messages: Sequence[Block]) -> Iterator[Block]:
    """The messages as they go out: the last two of the user end in a cache breakpoint, so that each
    turn pays for what is new in it. With the system text and the shared block that makes four, all
    that are allowed:
    https://platform.claude.com/docs/en/build-with-claude/prompt-caching
    """
    from_user = [n for n, message in enumerate(messages) if message["role"] == "user"]
    for number, message in enumerate(messages):
        if number in from_user[-2:]:
            *rest, last = message["content"]
            message = {**message, "content": [*rest, {**last, "cache_control": _CACHE}]}
        yield message


def _answered(block: Block, calls: Sequence[_Call]) -> Block:
    """The block as it goes back; a call that was cut carries what was kept of its input."""
    kept = next((c.input for c in calls if block.get("id") == c.id and c.broken is not None), None)
    return block if kept is None else {**block, "input": kept}


def _kept(path: str, content: str) -> str:
    text = f"kept {len(content)} characters of {path}; continue with append_file"
    tail = content[-_TAIL_CHARS:]
    return f"{text} right after where this ends:\n{tail}" if tail else text


def _spoken(reply: Reply) -> str:
    return " ".join(str(b.get("text", "")).strip() for b in reply.content if b["type"] == "text")

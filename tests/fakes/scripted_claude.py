"""A Claude that answers by a script, without a client, and a clock that only sleeping moves."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from claude.client.recorded_response import RecordedResponse
from claude.client.types import Call, Claude, Hooks, Reader, Reply
from claude.limits.governor import Governor
from core.bundle import Limits, ModelSettings
from core.clock import Clock
from core.credentials import Credentials
from core.errors import Interrupted
from core.job import Usage

USAGE = Usage("anthropic", "scripted", input_tokens=10, output_tokens=5)
_ids = count(1)
_PIECE_CHARS = 20

Block = dict[str, Any]
Answer = Reply | BaseException | Callable[[Call], Reply]


class FakeClock:
    """Time moves only when somebody sleeps, or by hand; `stop` makes sleeping raise."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now
        self.stopped = False

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        if self.stopped:
            raise Interrupted("The worker was told to stop.")
        self.now += max(0.0, seconds)


class ScriptedClaude:
    """Gives the scripted answers in order and keeps the calls; raises those that are errors.

    With `forever` the last answer is repeated; else one call too many is an AssertionError.
    """

    def __init__(self, answers: Iterable[Answer], *, forever: bool = False) -> None:
        self._answers = list(answers)
        self._forever = forever
        self.calls: list[Call] = []

    def send(self, call: Call, recorded: RecordedResponse | None = None) -> Reply:
        reader = call.open_reader  # belongs to an agent, and so to all that this one has kept
        self.calls.append(copy.deepcopy(call, {id(reader): reader}))
        number = len(self.calls) - 1
        if number >= len(self._answers) and not self._forever:
            raise AssertionError(f"call {number + 1} was not expected")
        answer = self._answers[min(number, len(self._answers) - 1)]
        if isinstance(answer, BaseException):
            raise answer
        reply = answer if isinstance(answer, Reply) else answer(call)
        return _read(reply, call.open_reader())


def _read(reply: Reply, reader: Reader) -> Reply:
    """The reply, as far as the call's reader lets it come."""
    for number, block in enumerate(reply.content):
        text = block.get("text") or json.dumps(block.get("input") or {})
        if any(reader(text[n : n + _PIECE_CHARS]) for n in range(0, len(text), _PIECE_CHARS)):
            return replace(reply, content=reply.content[:number], stop_reason="")
    return reply


class ScriptedConnect:
    """A stand-in for claude.client.client.connect; asks the hooks before each call and tells them
    of each reply's usage."""

    def __init__(self, claude: Claude) -> None:
        self.claude = claude
        self.governors: list[Governor] = []

    @contextmanager
    def __call__(
        self,
        model: ModelSettings,
        credentials: Credentials,
        *,
        clock: Clock,
        governor: Governor,
        limits: Limits,
        hooks: Hooks,
    ) -> Iterator[Claude]:
        self.governors.append(governor)
        yield _Telling(self.claude, hooks)


class _Telling:
    def __init__(self, claude: Claude, hooks: Hooks) -> None:
        self._claude, self._hooks = claude, hooks

    def send(self, call: Call, recorded: RecordedResponse | None = None) -> Reply:
        reply = self._claude.send(self._hooks.on_request(call))
        self._hooks.on_usage(reply.usage)
        return reply


def say(text: str, stop_reason: str = "end_turn") -> Reply:
    """A reply of text alone."""
    return Reply(({"type": "text", "text": text},), stop_reason, USAGE, {})


def use(name: str, **given: Any) -> Block:
    """A tool_use block."""
    return {"type": "tool_use", "id": f"toolu_{next(_ids)}", "name": name, "input": given}


def act(*blocks: Block, stop_reason: str = "tool_use") -> Reply:
    """A reply of these blocks."""
    return Reply(blocks, stop_reason, USAGE, {})


def act_broken(name: str, raw: str, *before: Block, stop_reason: str = "tool_use") -> Reply:
    """A reply whose last block has input that could not be read."""
    block = use(name)
    return Reply((*before, block), stop_reason, USAGE, {block["id"]: raw})


def tool_results(call: Call) -> list[Mapping[str, Any]]:
    """The tool results in a call's last message."""
    return [b for b in call.messages[-1]["content"] if b["type"] == "tool_result"]

"""A small project, clocks and an executor of a few lines, for tests around the simulated Claude."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from pydantic_core import from_json

from claude.client.client import connect
from claude.client.types import Call, Claude, Hooks, Reply
from claude.limits.governor import Governor
from claude.simulation.api import SimulatedApi
from claude.simulation.prompt_cache import PromptCache
from claude.simulation.sample_projects import Designer, SampleProject
from claude.simulation.transport import SimulatedTransport
from core.bundle import Limits, ModelSettings, SimulationSettings
from core.credentials import Credentials
from core.errors import Interrupted
from core.paths import is_owned
from core.plan import Analysis, Contract, Criterion, Plan, Task

Block = dict[str, Any]
PROVIDERS = ("anthropic", "bedrock")
MODELS = {
    "anthropic": "claude-sonnet-5-5",
    "bedrock": "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
}


class RecordingClock:
    """Virtual time that keeps what was slept; `stop_after` sleeps it raises Interrupted."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []
        self._left = stop_after

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise Interrupted("The worker was told to stop.")
        if seconds > 0:
            self.slept.append(seconds)
            self.now += seconds


def _task(name: str, owns: tuple[str, ...], *depends_on: str) -> Task:
    return Task(
        id=name,
        title=f"The {name}",
        instructions=f"Write the {name}.",
        depends_on=depends_on,
        owns=owns,
        estimate=300,
    )


def design_small(prompt: str) -> SampleProject:
    """Two tasks, six files and a contract; the plan's summary is the prompt."""
    first_line = '# ünïcode 🐍 "quoted" \\ back\n'
    files = {
        "store": {
            "app/store.py": first_line + "".join(f"VALUE_{n} = {n}\n" for n in range(60)),
            "app/empty.py": "",
        },
        "page": {
            "app/page.py": first_line + "".join(f"PAGE_{n} = '{n}'\n" for n in range(80)),
            "app/style.css": "".join(f".c{n} {{ width: {n}px; }}\n" for n in range(40)),
            "app/script.js": "".join(f"const v{n} = {n};\n" for n in range(40)),
            "app/index.html": "<p>hello</p>\n",
        },
    }
    plan = Plan(
        title="Small",
        summary=prompt,
        analysis=Analysis(
            complexity=2, rationale="small", recommended_executors=2, parallel_pays=True
        ),
        contracts=(Contract(path="app/contract.py", purpose="names", content="PORT = 8080\n"),),
        tasks=(
            _task("store", tuple(files["store"])),
            _task("page", tuple(files["page"]), "store"),
        ),
        acceptance_criteria=(Criterion(text="it works", served_by=("store", "page")),),
    )
    return SampleProject(plan, files)


SMALL = Designer(lambda prompt: design_small(prompt).plan, lambda *_: design_small("").files)


def build_api(
    clock: Any,
    *,
    seed: int = 0,
    speed: float = 0.0,
    faults: str = "",
    designer: Designer = SMALL,
) -> SimulatedApi:
    settings = SimulationSettings(seed, speed, faults)
    return SimulatedApi(settings, clock, designer=designer, cache=PromptCache())


@contextmanager
def simulated_claude(
    provider: str = "anthropic",
    *,
    clock: Any = None,
    hooks: Hooks | None = None,
    retries: int = 8,
    seed: int = 0,
    speed: float = 0.0,
    faults: str = "",
    designer: Designer = SMALL,
) -> Iterator[Claude]:
    """The real client above the simulated API, in process."""
    clock = clock or RecordingClock()
    api = build_api(clock, seed=seed, speed=speed, faults=faults, designer=designer)
    model = ModelSettings(
        provider=provider,
        model=MODELS[provider],
        simulation=SimulationSettings(seed, speed, faults),
    )
    with connect(
        model,
        Credentials(),
        clock=clock,
        governor=Governor(),
        limits=Limits(request_retries=retries),
        hooks=hooks,
        transport=SimulatedTransport(api),
    ) as claude:
        yield claude


@contextmanager
def connected(
    handler: Callable[[httpx2.Request], httpx2.Response] | None = None,
    *,
    provider: str = "anthropic",
    model: ModelSettings | None = None,
    credentials: Credentials | None = None,
    clock: Any = None,
    governor: Governor | None = None,
    hooks: Hooks | None = None,
    retries: int = 0,
) -> Iterator[Claude]:
    """The real client above a scripted server; over the network where there is no `handler`."""
    bearer = Credentials(anthropic_api_key="key-a", aws_bearer_token_bedrock="key-b")
    with connect(
        model or ModelSettings(provider=provider, model=MODELS[provider]),
        credentials or bearer,
        clock=clock or RecordingClock(),
        governor=governor or Governor(),
        limits=Limits(request_retries=retries),
        hooks=hooks,
        transport=httpx2.MockTransport(handler) if handler else None,
    ) as claude:
        yield claude


@dataclass
class Heard:
    """Hooks that keep what they are told."""

    usage: list[Any] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)

    @property
    def hooks(self) -> Hooks:
        return Hooks(self.usage.append, self.progress.append)


def user(*texts: str) -> Block:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def ask(*messages: Block, max_tokens: int = 8_000, **more: Any) -> Call:
    system = ({"type": "text", "text": "You are a test."},)
    return Call(system, messages or (user("Hello"),), max_tokens, **more)


def planner_call(prompt: str = "a todo list", *more: Block, **options: Any) -> Call:
    system = ({"type": "text", "text": "You are the planner."},)
    first = user(f"<request>\n{prompt}\n</request>")
    return Call(system, (first, *more), options.pop("max_tokens", 32_000), **options)


TOOL_NAMES = (
    "read_file",
    "write_file",
    "append_file",
    "edit_file",
    "list_files",
    "search_files",
    "submit_result",
)
TOOLS: tuple[Block, ...] = tuple(
    {"name": name, "input_schema": {"type": "object"}} for name in TOOL_NAMES
)


def executor_messages(
    task_id: str, *, attempt: int = 1, prompt: str = "a todo list"
) -> list[Block]:
    plan = design_small(prompt).plan
    owns = {task.id: task.owns for task in plan.tasks}.get(task_id, ("extra/a.txt", "extra/b.txt"))
    shared = f"<request>\n{prompt}\n</request>\n<plan>\n# Small\n</plan>\n"
    shared += '<contract path="app/contract.py">\nPORT = 8080\n\n</contract>'
    lines = "\n".join(owns)
    task = f'<task id="{task_id}" attempt="{attempt}">\nTitle\n\nDo it.\n'
    return [user(shared, f"{task}<owns>\n{lines}\n</owns>\n</task>")]


class SmallExecutor:
    """Carries out tool calls in a dict of files, and lets only owned paths be written."""

    def __init__(self, claude: Claude, task_id: str, *, max_tokens: int = 8_000, **more: Any):
        self._claude, self._max_tokens = claude, max_tokens
        self.messages = executor_messages(task_id, **more)
        owns = re.search(r"<owns>\n(.*)\n</owns>", self.messages[0]["content"][1]["text"], re.S)
        self.owns = owns[1].splitlines() if owns else []
        self.files: dict[str, str] = {}
        self.refused: list[str] = []
        self.stop_reasons: list[str] = []
        self.summary = ""

    def run(self, turns: int = 60) -> dict[str, str]:
        """The files once a result is submitted; AssertionError when none is."""
        for _ in range(turns):
            reply = self.step()
            if reply.stop_reason == "refusal" or self.summary:
                return self.files
        raise AssertionError(f"no result in {turns} turns: {self.stop_reasons}")

    def step(self) -> Reply:
        call = ask(*self.messages, max_tokens=self._max_tokens, tools=TOOLS)
        reply = self._claude.send(call)
        self.stop_reasons.append(reply.stop_reason)
        blocks = [dict(block) for block in reply.content]
        results = [self._result(b, reply) for b in blocks if b["type"] == "tool_use"]
        if blocks:
            self.messages.append({"role": "assistant", "content": blocks})
        self.messages.append({"role": "user", "content": results} if results else user("Go on."))
        return reply

    def _result(self, block: Block, reply: Reply) -> Block:
        text, is_error = self._carry_out(block, reply)
        return {
            "type": "tool_result",
            "tool_use_id": block["id"],
            "content": text,
            "is_error": is_error,
        }

    def _carry_out(self, block: Block, reply: Reply) -> tuple[str, bool]:
        raw = reply.broken_inputs.get(block["id"])
        if raw is not None and reply.stop_reason != "max_tokens":
            return "The input is no JSON object.", True
        if raw is not None:
            try:
                block["input"] = from_json(raw, allow_partial="trailing-strings")
            except ValueError:
                return "The input was cut.", True
        given = block["input"]
        if block["name"] == "submit_result":
            self.summary = given["summary"]
        if block["name"] not in ("write_file", "append_file"):
            return ("", False) if block["name"] in TOOL_NAMES else ("No such tool.", True)
        if not is_owned(tuple(self.owns), str(given.get("path"))) or "content" not in given:
            self.refused.append(str(given.get("path")))
            return "This path is not yours.", True
        path, content = given["path"], given["content"]
        before = self.files.get(path, "") if block["name"] == "append_file" else ""
        self.files[path] = before + content
        kept = f"kept {len(content)} characters of {path}; continue with append_file"
        return (kept if raw is not None else "written"), False


def sse(*events: Mapping[str, Any], **headers: str) -> httpx2.Response:
    """A streamed response of these events."""
    from claude.simulation.wire import render_sse

    body = b"".join(render_sse(dict(event)) for event in events)
    return httpx2.Response(
        200, headers={"content-type": "text/event-stream", **headers}, content=body
    )


def message_events(
    *blocks: tuple[Block, list[Block]],
    stop_reason: str = "end_turn",
    usage: Block | None = None,
    end_usage: Block | None = None,
) -> list[Block]:
    """The events of a whole message: for each block its start and its deltas."""
    start = {"id": "msg_1", "usage": usage or {"input_tokens": 10, "output_tokens": 1}}
    events: list[Block] = [{"type": "message_start", "message": start}]
    for n, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": n, "content_block": block})
        events += [{"type": "content_block_delta", "index": n, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": n})
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    ended = {"output_tokens": 7} if end_usage is None else end_usage
    events.append({"type": "message_delta", "delta": delta, "usage": ended})
    return [*events, {"type": "message_stop"}]


def text_block(*pieces: str) -> tuple[Block, list[Block]]:
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return {"type": "text", "text": ""}, deltas


def tool_block(name: str, *pieces: str, tool_id: str = "toolu_1") -> tuple[Block, list[Block]]:
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return {"type": "tool_use", "id": tool_id, "name": name, "input": {}}, deltas

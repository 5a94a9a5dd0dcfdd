"""A model that does as told, over real HTTP on loopback: for real workers with real tools."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from claude.simulation.wire import render_sse
from core.bundle import ModelSettings
from core.credentials import Credentials
from tests.fakes.scripted_server import Asked, ScriptedServer, Told, hello, scripted_server
from tests.fakes.simulated import MODELS, message_events, tool_block

Step = tuple[str, Mapping[str, Any]]
SUBMIT: Step = ("submit_result", {"summary": "It is done."})
_TASK = re.compile(rb'<task id=\\"([\w-]+)\\"')
KEYS = Credentials(anthropic_api_key="sk-ant-test")


def run(command: str) -> Step:
    return "run_command", {"command": command}


def write(path: str, content: str) -> Step:
    return "write_file", {"path": path, "content": content}


def delete(path: str) -> Step:
    return "delete_file", {"path": path}


@contextmanager
def model_that(
    *steps: Step, by_task: Mapping[str, Sequence[Step]] | None = None
) -> Iterator[tuple[ModelSettings, ScriptedServer]]:
    """A model that calls these tools one after the other, or those of its task, then submits until
    that is enough."""

    def answer(asked: Asked) -> Told:
        if not asked.data.get("tools"):
            return hello()
        turn = sum(message["role"] == "assistant" for message in asked.data["messages"])
        task = _TASK.search(asked.body)
        own = (by_task or {}).get(task[1].decode() if task else "", steps)
        name, given = [*own, SUBMIT][min(turn, len(own))]
        block = tool_block(name, json.dumps(given), tool_id=f"toolu_{turn}")
        events = message_events(block, stop_reason="tool_use")
        headers = {"content-type": "text/event-stream", "request-id": f"req_{turn}"}
        return Told(200, b"".join(render_sse(dict(e)) for e in events), headers)

    with scripted_server(answer) as server:
        yield ModelSettings(model=MODELS["anthropic"], base_url=server.url), server


def tool_answers(server: ScriptedServer) -> list[str]:
    """What the model was told of each of its calls."""
    blocks = [
        block
        for message in server.asked[-1].data["messages"]
        if message["role"] == "user" and not isinstance(message["content"], str)
        for block in message["content"]
        if block["type"] == "tool_result"
    ]
    return [_text(block["content"]) for block in blocks]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)

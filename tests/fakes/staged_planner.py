"""A simulated Claude over loopback whose planner changes its mind: each of its answers is a stage,
which may pause in the middle until executors are at work, and break off there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from claude.http.plain_http import ConnectionCut, Incoming, Outgoing
from claude.simulation.api import SimulatedApi
from claude.simulation.conversation import read_conversation
from claude.simulation.prompt_cache import PromptCache
from claude.simulation.sample_projects import Designer, find_sample_files
from claude.simulation.server import serve
from core.bundle import SimulationSettings
from core.clock import SystemClock
from core.plan import Plan

PATIENCE_S = 60.0
FAST = 1e6
"""Without waits, but in small pieces."""


def go_on() -> None:
    """Nothing happens."""


def cut() -> None:
    raise ConnectionCut


@dataclass(frozen=True)
class Stage:
    """One answer of the planner. After the piece that brings the text up to `pause_at`, it waits
    until executors of `tasks` tasks have asked, `task` among them, and then calls `then`, which may
    raise."""

    plan: Plan
    pause_at: str = ""
    tasks: int = 0
    then: Callable[[], None] = go_on
    task: str = ""

    def is_met(self, asked: set[str]) -> bool:
        return len(asked) >= self.tasks and (not self.task or self.task in asked)


@dataclass
class StagedPlanner:
    """The last stage repeats. `tasks` are those whose executors have asked."""

    stages: Sequence[Stage]
    tasks: set[str] = field(default_factory=set)
    planned: int = 0
    refused: bool = False
    """Whether executors are refused, for their credentials."""
    url: str = ""
    _news: threading.Condition = field(default_factory=threading.Condition)
    _api: SimulatedApi = field(init=False)

    def __post_init__(self) -> None:
        self._api = SimulatedApi(
            SimulationSettings(speed=FAST),
            SystemClock(),
            designer=Designer(lambda _: self._stage.plan, find_sample_files),
            cache=PromptCache(),
        )

    @property
    def _stage(self) -> Stage:
        return self.stages[min(self.planned, len(self.stages)) - 1]

    def handle(self, incoming: Incoming) -> Outgoing:
        request = json.loads(incoming.body or b"{}")
        if not request.get("messages"):
            return self._api.handle(incoming)
        talk = read_conversation(request)
        if talk.role == "planner":
            self.planned += 1
            outgoing = self._api.handle(incoming)
            return replace(outgoing, body=self._paused(self._stage, outgoing.body))  # type: ignore[arg-type]
        if talk.role == "executor":
            with self._news:
                self.tasks.add(talk.task_id)
                self._news.notify_all()
            if self.refused:
                incoming = replace(incoming, headers={})
        return self._api.handle(incoming)

    def _paused(self, stage: Stage, body: Iterator[bytes]) -> Iterator[bytes]:
        text = ""
        for piece in body:
            begun, text = stage.pause_at in text, text + _text_of(piece)
            yield piece
            if stage.pause_at and stage.pause_at in text and not begun:
                with self._news:
                    met = self._news.wait_for(lambda: stage.is_met(self.tasks), PATIENCE_S)
                if not met:
                    raise ConnectionCut
                stage.then()


@contextmanager
def staged_planner(*stages: Stage) -> Iterator[StagedPlanner]:
    planner = StagedPlanner(stages)
    with serve(0, SimulationSettings(), SystemClock(), api=planner) as server:
        planner.url = server.base_url
        yield planner


def _text_of(piece: bytes) -> str:
    """The text that an event of the stream brings, as it is in the end."""
    _, _, data = piece.decode().partition("data: ")
    return str(json.loads(data).get("delta", {}).get("text", "")) if data else ""

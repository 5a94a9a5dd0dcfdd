"""The warm-up with real workers on threads: the others start while the first answer is written."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from backends.threading_backend import ThreadingBackend
from claude.http.plain_http import Incoming, Outgoing
from claude.limits.governor import Governor
from claude.simulation.api import SimulatedApi
from claude.simulation.prompt_cache import PromptCache
from claude.simulation.server import serve
from core.bundle import Limits, ModelSettings, SimulationSettings
from core.clock import SystemClock
from core.credentials import Credentials
from core.events import AnswerBegun, Event, JobIntended, Progress
from engine.run.attempt_store import DiskStore, write_contracts
from engine.run.rundir import RunFacts, create_run, new_run_id
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing, RunOutcome
from executor_agent import ThreadWorker
from tests.fakes.plans import make_plan
from tests.fakes.virtual_run import COSTLY_PREFIX

KEYS = Credentials(anthropic_api_key="key-a")
SIMULATION = SimulationSettings(speed=0)
PLAN = make_plan({"a": (), "b": (), "c": (), "d": ()}, {"a": 4, "b": 3, "c": 2, "d": 1})


class FirstAnswerHeld(SimulatedApi):
    """Begins its first answer, and writes the rest once everybody has asked."""

    def __init__(self, tasks: int) -> None:
        super().__init__(SIMULATION, SystemClock(), cache=PromptCache())
        self._tasks = tasks
        self._asked = 0
        self._lock = threading.Lock()
        self._all_asked = threading.Event()

    def handle(self, incoming: Incoming) -> Outgoing:
        with self._lock:
            self._asked += 1
            number = self._asked
        if number == self._tasks:
            self._all_asked.set()
        answer = super().handle(incoming)
        return answer if number > 1 else replace(answer, body=self._held(iter(answer.body)))

    def _held(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield next(pieces)
        self._all_asked.wait(100)
        yield from pieces


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)


def execute(folder: Path, base_url: str, sink: Heard) -> RunOutcome:
    run = create_run(folder, RunFacts(new_run_id(0.0), "x", "out", 0.0, {}, simulated=True))
    write_contracts(run, PLAN.contracts)
    backend = ThreadingBackend(run.root, ThreadWorker(KEYS, Governor()))
    calls = ThreadedCalls(SystemClock())
    try:
        return Scheduler(
            run.run_id,
            PLAN,
            backend=backend,
            store=DiskStore(run, PLAN, "x", ModelSettings(base_url=base_url), Limits()),
            sink=sink,
            calls=calls,
            clock=SystemClock(),
            policy=RetryPolicy(1, random.Random(0)),
            pacing=Pacing(len(PLAN.tasks), cold_prefix=COSTLY_PREFIX),
        ).run()
    finally:
        calls.close()
        backend.close()


def test_the_others_start_while_the_first_answer_is_written(tmp_path: Path) -> None:
    heard = Heard()
    api = FirstAnswerHeld(len(PLAN.tasks))
    with serve(0, SIMULATION, SystemClock(), api=api) as server:
        outcome = execute(tmp_path, server.base_url, heard)
    assert set(outcome.succeeded) == {"a", "b", "c", "d"}
    told = [
        (type(event.data).__name__, event.task)
        for event in heard.events
        if isinstance(event.data, AnswerBegun | JobIntended | Progress)
    ]
    assert told[:3] == [("JobIntended", "a"), ("AnswerBegun", "a"), ("JobIntended", "b")]

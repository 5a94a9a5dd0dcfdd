"""Long work over real HTTP: files in parts, full windows, stalled streams, bounded attempts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest

from claude.client.stall import PINGS_ONLY_FACTOR, StallWatch
from claude.client.stream import StreamDamaged
from claude.http.plain_http import Incoming, Outgoing
from claude.simulation.api import SimulatedApi
from claude.simulation.dialects import AnthropicDialect, BedrockDialect
from claude.simulation.prompt_cache import PromptCache, count_input
from claude.simulation.sample_projects import Designer
from claude.simulation.server import serve
from core.bundle import (
    AttemptDir,
    Limits,
    ModelSettings,
    Request,
    SimulationSettings,
    write_request,
)
from core.clock import Clock, DeadlineClock, SystemClock, time_left_s
from core.credentials import Credentials
from core.errors import Interrupted
from core.job import JobKey, Outcome, TaskResult
from core.plan import Task
from executor_agent import ExecutorAgent
from tests.fakes.simulated import MODELS, PROVIDERS, RecordingClock, design_small

pytestmark = pytest.mark.slow  # starts many processes, or waits

LONG = {
    "app/long.py": "".join(f"VALUE_{n} = 'ü {n}'\n" for n in range(2_000)),
    "app/next.py": "".join(f'NEXT_{n} = "{n}"\n' for n in range(2_000)),
    "app/last.py": "".join(f"LAST_{n} = {n}\n" for n in range(500)),
}
KEYS = Credentials(anthropic_api_key="key-a", aws_bearer_token_bedrock="key-b")
FIXED = SimulationSettings(speed=0)
TASK = Task(
    id="long", title="Long files", instructions="Write them.", owns=tuple(LONG), estimate=30_000
)


LONG_PROJECT = Designer(
    lambda prompt: design_small(prompt).plan.model_copy(update={"tasks": (TASK,)}),
    lambda *_: {"long": LONG},
)


class WatchedApi(SimulatedApi):
    """Keeps what it was sent; `body` may stand in for the body of request number n, from 0."""

    def __init__(self, body: Callable[[int], Iterator[bytes] | None], window: int = 200_000):
        super().__init__(
            FIXED, SystemClock(), designer=LONG_PROJECT, cache=PromptCache(), window_tokens=window
        )
        self.requests: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self._body = body

    def handle(self, incoming: Incoming) -> Outgoing:
        outgoing = super().handle(incoming)
        self.requests.append(json.loads(incoming.body))
        self.statuses.append(outgoing.status)
        body = self._body(len(self.requests) - 1)
        return outgoing if body is None else replace(outgoing, body=body, length=None)


@dataclass
class Worker:
    """An executor and the server it talks to over loopback."""

    api: WatchedApi
    provider: str
    base_url: str
    root: Path
    clock: Clock = field(default_factory=SystemClock)

    @property
    def attempt(self) -> AttemptDir:
        return AttemptDir(self.root)

    def run(self, *, max_output_tokens: int = 8_000, **limits: Any) -> TaskResult:
        request = Request(
            key=JobKey("r1", TASK.id, 1),
            prompt="long files",
            brief="# Long\n",
            task=TASK,
            contracts=(),
            model=ModelSettings(
                provider=self.provider,
                model=MODELS[self.provider],
                base_url=self.base_url,
                max_output_tokens=max_output_tokens,
            ),
            limits=Limits(**limits),
        )
        write_request(self.attempt, request)
        result = ExecutorAgent(KEYS, self.clock).run(self.attempt, "test")
        assert result is not None
        return result

    def files(self) -> dict[str, str]:
        root = self.attempt.files
        return {path: (root / path).read_text() for path in LONG}

    def transcript(self) -> str:
        return self.attempt.transcript.read_text()


@contextmanager
def worker(
    root: Path,
    provider: str = "anthropic",
    *,
    body: Callable[[int], Iterator[bytes] | None] = lambda _: None,
    window: int = 200_000,
    clock: Clock | None = None,
) -> Iterator[Worker]:
    api = WatchedApi(body, window)
    with serve(0, FIXED, SystemClock(), api=api) as server:
        yield Worker(api, provider, server.base_url, root, clock or SystemClock())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_longer_than_an_answer_comes_in_parts(tmp_path: Path, provider: str) -> None:
    with worker(tmp_path, provider) as it:
        result = it.run(max_output_tokens=2_000)
        assert (result.outcome, it.files()) == (Outcome.OK, LONG)
    calls = [
        block.get("name")
        for message in it.api.requests[-1]["messages"]
        if message["role"] == "assistant"
        for block in message["content"]
    ]
    assert calls.count("append_file") >= 10
    assert all(request["max_tokens"] == 2_000 for request in it.api.requests)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_conversation_is_trimmed_before_it_reaches_the_limit(
    tmp_path: Path, provider: str
) -> None:
    with worker(tmp_path, provider) as it:
        result = it.run(max_output_tokens=2_000, context_tokens=12_000)
        assert (result.outcome, it.files()) == (Outcome.OK, LONG)
    sizes = [count_input(request) for request in it.api.requests]
    assert sum(sizes[1:]) > 60_000
    assert max(sizes) <= 12_000
    trims = sum(after < before for before, after in pairwise(sizes))
    assert 1 <= trims <= len(sizes) / 3
    assert "[dropped: " in json.dumps(it.api.requests[-1]["messages"])
    assert len({json.dumps(r["messages"][0]["content"][0]) for r in it.api.requests}) == 1


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("window", [10_000, 12_500])
def test_a_window_smaller_than_was_thought_is_worked_with(
    tmp_path: Path, provider: str, window: int
) -> None:
    with worker(tmp_path, provider, window=window) as it:
        result = it.run(max_output_tokens=2_500)
        assert (result.outcome, it.files()) == (Outcome.OK, LONG)
    assert 400 in it.api.statuses or "model_context_window_exceeded" in it.transcript()
    assert it.api.statuses.count(400) <= 3
    assert "older parts were dropped" in it.attempt.events.read_text()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_task_that_fits_no_window_ends_and_says_so(tmp_path: Path, provider: str) -> None:
    with worker(tmp_path, provider, window=2_000) as it:
        result = it.run()
    assert result.outcome is Outcome.DEFECT
    assert "does not fit into the model's context window" in result.message
    assert "too long" in result.message
    assert len(it.api.requests) == 1


def test_turns_are_bounded(tmp_path: Path) -> None:
    with worker(tmp_path) as it:
        result = it.run(max_output_tokens=2_000, max_turns=3)
    assert result.outcome is Outcome.DEFECT
    assert "within 3 turns" in result.message
    assert (result.turns, len(it.api.requests)) == (3, 3)


def ping(provider: str) -> bytes:
    dialect = AnthropicDialect() if provider == "anthropic" else BedrockDialect()
    return dialect.encode({"type": "ping"})


def start(provider: str) -> bytes:
    dialect = AnthropicDialect() if provider == "anthropic" else BedrockDialect()
    usage = {"input_tokens": 11, "output_tokens": 1}
    return dialect.encode({"type": "message_start", "message": {"id": "m", "usage": usage}})


def stalling(
    provider: str, gone: threading.Event, *, pings: bool, when: int = 1
) -> Callable[[int], Iterator[bytes] | None]:
    """A body for request number `when` that begins and then says nothing, or pings for ever."""

    def body() -> Iterator[bytes]:
        yield start(provider)
        while not gone.wait(0.01):
            if pings:
                yield ping(provider)

    return lambda n: body() if n == when else None


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("pings", [False, True])
def test_a_stalled_stream_is_cut_and_the_turn_asked_again(
    tmp_path: Path, provider: str, pings: bool
) -> None:
    gone = threading.Event()
    body = stalling(provider, gone, pings=pings)
    with worker(tmp_path, provider, body=body) as it:
        result = it.run(stall_s=0.25)
        gone.set()
        assert (result.outcome, it.files()) == (Outcome.OK, LONG)
    assert it.api.requests[1] == it.api.requests[2]  # nothing that was done is lost
    assert "stalled" in it.attempt.events.read_text()
    assert [usage.input_tokens for usage in result.usage].count(11) == 1  # it is on the bill
    assert '"retries": 1' in it.transcript()


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("pings", [False, True])
def test_the_time_limit_holds_inside_a_stream(tmp_path: Path, provider: str, pings: bool) -> None:
    gone = threading.Event()
    with worker(tmp_path, provider, body=stalling(provider, gone, pings=pings)) as it:
        result = it.run(timeout_s=5.0, stall_s=100.0)
        gone.set()
    assert result.outcome is Outcome.INTERRUPTED
    assert "time limit of 5 s" in result.message
    assert result.duration_s < 30
    assert '"ended": "INTERRUPTED"' in it.transcript()
    assert '"turn": 1' in it.transcript()


def test_the_time_limit_holds_inside_a_wait_for_another_try(tmp_path: Path) -> None:
    class Busy(WatchedApi):
        def handle(self, incoming: Incoming) -> Outgoing:
            self.requests.append({})
            headers = {"retry-after": "300", "content-type": "application/json"}
            return Outgoing(429, headers, (b"{}",), 2)

    clock = RecordingClock()
    api = Busy(lambda _: None)
    with serve(0, FIXED, SystemClock(), api=api) as server:
        it = Worker(api, "anthropic", server.base_url, tmp_path, clock)
        result = it.run(timeout_s=1_000.0)
    assert result.outcome is Outcome.INTERRUPTED
    assert "time limit of 1000 s" in result.message
    assert sum(clock.slept) == pytest.approx(1_000.0)
    assert len(api.requests) == 4


class Pieces(httpx2.SyncByteStream):
    """Each piece after so many seconds of the clock."""

    def __init__(self, clock: RecordingClock, waits: Mapping[bytes, float]) -> None:
        self._clock, self._waits = clock, waits
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece, wait_s in self._waits.items():
            self._clock.now += wait_s
            yield piece

    def close(self) -> None:
        self.closed = True


def drink(
    clock: RecordingClock, waits: Mapping[bytes, float], *, progress: bytes = b""
) -> list[bytes]:
    """What came through of the pieces; `progress` names those that bring the answer further."""
    watch = StallWatch(clock, 10.0)
    stream = Pieces(clock, waits)
    response = httpx2.Response(200, stream=stream)
    watch.watch(response)
    got = []
    for piece in response.iter_raw():
        got.append(piece)
        if piece in progress:
            watch.progressed()
    assert stream.closed
    return got


def test_pieces_that_keep_coming_pass() -> None:
    assert drink(RecordingClock(), {b"a": 9.9, b"b": 9.9}) == [b"a", b"b"]


def test_silence_is_a_stall() -> None:
    with pytest.raises(StreamDamaged, match="nothing came for 10 s"):
        drink(RecordingClock(), {b"a": 1.0, b"b": 10.4})


def test_pings_are_no_progress_for_longer_than_a_larger_bound() -> None:
    many = {bytes([n]): 9.0 for n in range(1, 9)}
    assert sum(many.values()) > 10.0 * PINGS_ONLY_FACTOR
    with pytest.raises(StreamDamaged, match="nothing but pings for 54 s"):
        drink(RecordingClock(), many)
    assert len(drink(RecordingClock(), many, progress=bytes([3, 6]))) == 8


def test_a_body_that_is_read_already_is_left_alone() -> None:
    response = httpx2.Response(200, content=b"whole")
    response.read()
    StallWatch(RecordingClock(), 1.0).watch(response)
    assert response.content == b"whole"


def test_no_read_outlasts_the_time_there_is() -> None:
    clock = RecordingClock()
    assert StallWatch(clock, 10.0).read_timeout_s == 10.0
    limited = DeadlineClock(clock, 5.0)
    assert StallWatch(limited, 10.0).read_timeout_s == 5.0
    clock.now += 9.0
    assert 0 < StallWatch(limited, 10.0).read_timeout_s < 0.1


def test_a_deadline_cuts_a_sleep_and_every_one_after_it() -> None:
    inner = RecordingClock()
    clock = DeadlineClock(inner, 10.0)
    clock.sleep(4.0)
    clock.sleep(-1.0)
    assert (clock.left_s(), time_left_s(clock)) == (6.0, 6.0)
    for seconds in (60.0, 0.0):
        with pytest.raises(Interrupted, match="time limit of 10 s"):
            clock.sleep(seconds)
    assert inner.slept == [4.0, 6.0]
    assert (clock.time(), clock.monotonic()) == (inner.now, inner.now)
    assert time_left_s(inner) == float("inf")

"""What is told of an answer while it comes, and while nothing comes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import claude.client.client
from claude.client.silence import FIRST_S, AnswerWatch, Watchman
from claude.client.stream import StreamedMessage
from claude.client.types import Hooks
from core.clock import SystemClock
from core.events import AnswerProgress
from tests.fakes.scripted_claude import FakeClock
from tests.fakes.silent_api import silent_server
from tests.fakes.simulated import ask, connected, message_events, text_block, tool_block

PATIENT_S = 1_000.0


def fed(*events: dict[str, Any]) -> StreamedMessage:
    message = StreamedMessage()
    for event in events:
        message.feed(event)
    return message


@pytest.mark.parametrize(("pieces", "empty"), [(0, False), (3, False), (3, True)])
def test_a_silence_is_told_until_something_comes(
    pieces: int, empty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claude.client.client, "WATCHMAN", Watchman(0.05, 0.01))
    told: list[AnswerProgress] = []
    twice = threading.Event()

    def tell(progress: AnswerProgress) -> None:
        told.append(progress)
        if len([p for p in told if p.silent_s]) >= 2:
            twice.set()

    with (
        silent_server(pieces, empty=empty) as (api, model),
        ThreadPoolExecutor() as pool,
        connected(model=model, clock=SystemClock(), hooks=Hooks(on_answering=tell)) as claude_,
    ):
        asking = pool.submit(claude_.send, ask())
        assert twice.wait(200)
        api.spoke.set()
        asking.result(200)
        assert any(not progress.silent_s for progress in told), "something came again"
        over = len(told)
    assert len(told) == over


def test_a_silence_is_told_again_before_anybody_waits_ten_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, told = [100.0], list[AnswerProgress]()
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    watch = AnswerWatch(StreamedMessage(), told.append, FakeClock(), FIRST_S)
    for _ in range(60):
        now_s[0] += 1.0
        watch.check()
    assert [progress.silent_s for progress in told] == [5, 10, 18, 26, 34, 42, 50, 58]


def test_a_listener_that_fails_silences_no_other() -> None:
    watchman, clock, heard = Watchman(0.01, 0.001), FakeClock(), threading.Event()

    def fail(_: AnswerProgress) -> None:
        raise OSError(28, "No space left on device")

    failing = watchman.watching(StreamedMessage(), fail, clock)
    hearing = watchman.watching(StreamedMessage(), lambda _: heard.set(), clock)
    with failing, hearing:
        assert heard.wait(200)
        heard.clear()
        assert heard.wait(200)


def test_what_has_come_is_told_once_a_second() -> None:
    clock, told = FakeClock(), list[AnswerProgress]()
    message = fed(*message_events(text_block("x" * 400))[:3])
    watch = AnswerWatch(message, told.append, clock, PATIENT_S)
    for _ in range(25):
        clock.sleep(0.1)
        watch.heard()
        watch.check()
    assert told == [AnswerProgress(tokens=100)] * 2


@pytest.mark.parametrize(
    ("pieces", "path"),
    [
        (('{"path": "a b/c.py", "content": "x',), "a b/c.py"),
        (('{"pa', 'th":"', "store", '.py"', ', "content": "'), "store.py"),
        (('{"file_path": "/work/store.py", "content": "x',), "/work/store.py"),
        (('{"path": "store',), ""),
        (('{"command": "ls", "path": "x"',), ""),
        (('{"path": "\\u0041.py"',), ""),
        ((), ""),
    ],
)
def test_the_file_that_an_answer_writes_is_known_from_its_begin(
    pieces: tuple[str, ...], path: str
) -> None:
    events = message_events(tool_block("write_file", *pieces))
    assert fed(*events).path == path
    assert fed(*message_events(text_block('{"path": "store.py"}'))).path == ""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from core.clock import SystemClock
from core.errors import BackendError
from engine.scheduling.backend_health import BackendHealth
from engine.scheduling.calls import ThreadedCalls
from tests.fakes.scripted_claude import FakeClock

SOON_S = 20.0  # only reached when a test fails


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def calls(clock: FakeClock) -> Iterator[ThreadedCalls]:
    made = ThreadedCalls(clock)
    yield made
    made.close()


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """Calls that wait for it hang until the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_what_a_call_returns_arrives_in_the_waiting_thread(calls: ThreadedCalls) -> None:
    heard: list[tuple[Any, int]] = []
    worked_in: list[int] = []

    def work() -> int:
        worked_in.append(threading.get_ident())
        return 7

    calls.start("poll", work, lambda answer: heard.append((answer, threading.get_ident())))
    assert heard == []
    calls.wait(SOON_S)
    assert heard == [(7, threading.get_ident())]
    assert worked_in != [threading.get_ident()]


def test_what_a_call_raises_arrives_as_its_answer(calls: ThreadedCalls) -> None:
    heard: list[Any] = []
    error = BackendError("It is down.")

    def work() -> None:
        raise error

    calls.start("poll", work, heard.append)
    calls.wait(SOON_S)
    assert heard == [error]
    calls.start("poll", lambda: 1, heard.append)  # its thread lives on
    calls.wait(SOON_S)
    assert heard == [error, 1]


def test_an_error_in_the_handling_of_an_answer_reaches_the_waiting_thread(
    calls: ThreadedCalls,
) -> None:
    def fail(_: Any) -> None:
        raise LookupError("while handling")

    calls.start("poll", lambda: 1, fail)
    with pytest.raises(LookupError):
        calls.wait(SOON_S)
    assert not calls.busy("poll")


def test_a_method_has_one_call_at_a_time(calls: ThreadedCalls, hanging: threading.Event) -> None:
    calls.start("poll", hanging.wait, lambda _: None)
    assert calls.busy("poll")
    assert not calls.busy("submit")
    with pytest.raises(RuntimeError, match="poll is already under way"):
        calls.start("poll", hanging.wait, lambda _: None)


def test_a_hanging_call_does_not_hold_up_other_methods(
    calls: ThreadedCalls, hanging: threading.Event
) -> None:
    heard: list[str] = []
    calls.start("collect", hanging.wait, lambda _: heard.append("collect"))
    for round_ in range(3):
        calls.start("poll", lambda: 1, lambda _: heard.append("poll"))
        calls.wait(SOON_S)
        assert heard == ["poll"] * (round_ + 1)
    assert calls.busy("collect")
    hanging.set()
    calls.wait(SOON_S)
    assert heard[-1] == "collect"
    assert not calls.busy("collect")


def test_a_call_under_way_for_long_is_overdue_until_it_is_answered(
    calls: ThreadedCalls, clock: FakeClock, hanging: threading.Event
) -> None:
    calls.start("poll", hanging.wait, lambda _: None)
    assert calls.overdue(60) == {}
    assert calls.overdue(0) == {"poll": 0}
    clock.now += 60
    assert calls.overdue(60) == {"poll": 60}
    hanging.set()
    calls.wait(SOON_S)
    assert calls.overdue(0) == {}


def test_a_hang_is_told_of_once_and_given_up_in_the_end(
    calls: ThreadedCalls, clock: FakeClock, hanging: threading.Event
) -> None:
    told: list[str] = []
    reach = BackendHealth("slurm", calls, clock, told.append, notice_s=60, give_up_s=900)
    calls.start("poll", hanging.wait, lambda _: None)
    for _ in range(14):
        clock.now += 60
        reach.check_hanging()
    assert told == ["slurm has not answered poll for 60 s; waiting."]
    clock.now += 60
    with pytest.raises(BackendError, match="slurm has not answered poll for 900 s"):
        reach.check_hanging()


def test_a_wait_ends_at_its_timeout_when_nothing_is_heard(calls: ThreadedCalls) -> None:
    calls.wait(0.0)
    calls.wait(0.01)


def test_a_wake_from_another_thread_ends_the_wait(calls: ThreadedCalls) -> None:
    waiting = threading.Event()
    ended = threading.Event()

    def wait() -> None:
        waiting.set()
        calls.wait(None)
        ended.set()

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    assert waiting.wait(SOON_S)
    assert not ended.is_set()
    calls.wake()
    assert ended.wait(SOON_S)
    waiter.join(SOON_S)


def test_a_wake_before_the_wait_is_not_lost(calls: ThreadedCalls) -> None:
    calls.wake()
    calls.wait(None)


def test_a_wait_handles_every_answer_there_is(calls: ThreadedCalls) -> None:
    heard: list[str] = []
    done = [threading.Event() for _ in range(3)]
    for name, event in zip("abc", done, strict=True):
        calls.start(name, event.set, lambda _, name=name: heard.append(name))  # type: ignore[misc]  # mypy cannot infer a lambda's default
    for event in done:
        assert event.wait(SOON_S)
    while len(heard) < 3:
        calls.wait(SOON_S)
    assert sorted(heard) == ["a", "b", "c"]


def test_closing_ends_the_threads_that_are_idle() -> None:
    before = set(threading.enumerate())
    calls = ThreadedCalls(SystemClock())
    calls.start("poll", lambda: 1, lambda _: None)
    calls.wait(SOON_S)
    made = set(threading.enumerate()) - before
    assert [t.name for t in made] == ["backend-poll"]
    assert all(t.daemon for t in made)
    calls.close()
    for thread in made:
        thread.join(SOON_S)
        assert not thread.is_alive()
    calls.close()

from __future__ import annotations

from typing import Any

import pytest

from core.errors import BackendError
from engine.scheduling.virtual_backend import VirtualCalls, VirtualClock


def test_sleep_moves_time_and_takes_none() -> None:
    clock = VirtualClock()
    clock.sleep(3600)
    clock.sleep(-5)
    assert clock.time() == clock.monotonic() == 3600


def test_timers_run_in_order_each_at_its_own_time() -> None:
    clock = VirtualClock()
    seen: list[tuple[str, float]] = []

    def note(name: str) -> None:
        seen.append((name, clock.monotonic()))

    clock.call_at(5, lambda: note("late"))
    clock.call_at(2, lambda: note("early"))
    clock.call_at(2, lambda: note("early too"))
    clock.call_at(9, lambda: note("not yet"))
    clock.advance(6)
    assert seen == [("early", 2), ("early too", 2), ("late", 5)]
    assert clock.next_timer() == 9
    assert clock.monotonic() == 6


def test_a_timer_set_by_a_timer_runs_in_the_same_advance_when_it_is_due() -> None:
    clock = VirtualClock()
    seen: list[float] = []
    clock.call_at(1, lambda: clock.call_at(2, lambda: seen.append(clock.monotonic())))
    clock.advance(3)
    assert seen == [2]


def test_time_never_goes_back() -> None:
    clock = VirtualClock()
    clock.advance(10)
    seen: list[float] = []
    clock.call_at(4, lambda: seen.append(clock.monotonic()))
    clock.advance(5)
    assert seen == [10]
    assert clock.monotonic() == 10


def test_an_answer_is_handled_in_the_next_wait_and_no_time_passes_for_it() -> None:
    clock = VirtualClock()
    calls = VirtualCalls(clock)
    heard: list[Any] = []
    calls.start("poll", lambda: 7, heard.append)
    assert calls.busy("poll")
    assert heard == []
    calls.wait(100)
    assert heard == [7]
    assert not calls.busy("poll")
    assert clock.monotonic() == 0
    assert calls.overdue(0) == {}


def test_an_exception_is_an_answer_too() -> None:
    calls = VirtualCalls(VirtualClock())
    heard: list[Any] = []
    error = BackendError("down")

    def fail() -> None:
        raise error

    calls.start("poll", fail, heard.append)
    calls.wait(None)
    assert heard == [error]


def test_an_answer_that_leads_to_a_call_is_handled_before_that_calls_own() -> None:
    calls = VirtualCalls(VirtualClock())
    heard: list[str] = []

    def again(_: Any) -> None:
        calls.start("poll", lambda: 2, lambda _: heard.append("second"))
        heard.append("first")

    calls.start("poll", lambda: 1, again)
    calls.wait(None)
    assert heard == ["first"]
    calls.wait(None)
    assert heard == ["first", "second"]


def test_a_method_has_one_call_at_a_time() -> None:
    calls = VirtualCalls(VirtualClock())
    calls.start("poll", lambda: 1, lambda _: None)
    with pytest.raises(RuntimeError, match="poll is already under way"):
        calls.start("poll", lambda: 1, lambda _: None)


def test_a_wait_goes_to_the_next_timer_or_to_its_timeout() -> None:
    clock = VirtualClock()
    calls = VirtualCalls(clock)
    clock.call_at(5, lambda: None)
    calls.wait(3)
    assert clock.monotonic() == 3
    calls.wait(None)
    assert clock.monotonic() == 5
    calls.wait(4)
    assert clock.monotonic() == 9


def test_a_wake_ends_a_wait_at_once() -> None:
    clock = VirtualClock()
    calls = VirtualCalls(clock)
    calls.wake()
    calls.wait(50)
    assert clock.monotonic() == 0
    calls.wait(50)
    assert clock.monotonic() == 50


def test_waiting_for_what_never_happens_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="Nothing will ever happen"):
        VirtualCalls(VirtualClock()).wait(None)


def test_closing_drops_answers_nobody_waits_for() -> None:
    calls = VirtualCalls(VirtualClock())
    heard: list[Any] = []
    calls.start("poll", lambda: 1, heard.append)
    calls.close()
    calls.wait(1)
    assert heard == []

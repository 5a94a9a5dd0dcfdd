"""Clocks: time goes on, and a stopped worker does not sleep."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest

from core.clock import CheckedClock, DeadlineClock, StoppableClock, SystemClock, time_left_s
from core.errors import Interrupted
from tests.fakes.scripted_claude import FakeClock


def test_the_system_clock_is_the_machines() -> None:
    clock = SystemClock()
    assert clock.time() == pytest.approx(time.time(), abs=5)
    assert clock.monotonic() <= time.monotonic()


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.001])
def test_sleeping_takes_at_least_the_time_asked_for(seconds: float) -> None:
    before = time.monotonic()
    SystemClock().sleep(seconds)
    assert time.monotonic() - before >= seconds


@pytest.mark.parametrize("seconds", [0.0, -1.0, 3600.0])
def test_a_stopped_clock_ends_every_sleep_at_once(seconds: float) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match="was stopped"):
        StoppableClock(stop).sleep(seconds)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.001])
def test_a_clock_that_is_not_stopped_sleeps(seconds: float) -> None:
    StoppableClock(threading.Event()).sleep(seconds)


def test_a_checked_clock_sleeps_as_long_as_the_other_and_asks_in_between() -> None:
    asked: list[float] = []
    inner = FakeClock()
    clock = CheckedClock(inner, lambda: asked.append(inner.now))
    before = clock.monotonic()
    clock.sleep(1.1)
    assert clock.monotonic() - before == pytest.approx(1.1)
    assert clock.time() == inner.now
    assert max(b - a for a, b in pairwise(asked)) <= CheckedClock.STEP_S
    asked.clear()
    clock.sleep(-1.0)
    assert len(asked) == 2


def test_what_the_check_raises_ends_the_sleep() -> None:
    inner = FakeClock()
    started = inner.now

    def check() -> None:
        if inner.now > started + 1.0:
            raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        CheckedClock(inner, check).sleep(3600.0)
    assert inner.now < started + 2.0


def test_the_end_of_a_clock_is_seen_through_a_checked_one() -> None:
    clock = CheckedClock(DeadlineClock(FakeClock(), 5.0), lambda: None)
    assert time_left_s(clock) == 5.0
    assert time_left_s(CheckedClock(FakeClock(), lambda: None)) == float("inf")
    with pytest.raises(Interrupted, match="time limit"):
        clock.sleep(60.0)

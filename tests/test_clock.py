"""Clocks: time goes on, and a stopped worker does not sleep."""

from __future__ import annotations

import threading
import time

import pytest

from core.clock import StoppableClock, SystemClock
from core.errors import Interrupted


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
    with pytest.raises(Interrupted, match="told to stop"):
        StoppableClock(stop).sleep(seconds)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.001])
def test_a_clock_that_is_not_stopped_sleeps(seconds: float) -> None:
    StoppableClock(threading.Event()).sleep(seconds)

from __future__ import annotations

import threading

import pytest

from claude.governor import Governor
from core.errors import Interrupted
from tests.simulated import RecordingClock


def test_without_a_pause_nobody_waits() -> None:
    clock = RecordingClock()
    Governor().admit(clock)
    assert clock.slept == []


def test_a_pause_holds_everybody_back_until_it_is_over() -> None:
    governor, clock = Governor(), RecordingClock()
    governor.pause(clock, 4.0)
    governor.admit(clock)
    assert clock.slept == [4.0]
    governor.admit(clock)
    assert clock.slept == [4.0]


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    governor, clock = Governor(), RecordingClock()
    governor.pause(clock, 9.0)
    governor.pause(clock, 1.0)
    governor.admit(clock)
    assert clock.slept == [9.0]


def test_a_pause_that_grows_while_waiting_is_waited_for() -> None:
    governor = Governor()

    class Growing(RecordingClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.slept) == 1:
                governor.pause(self, 2.0)

    clock = Growing()
    governor.pause(clock, 5.0)
    governor.admit(clock)
    assert clock.slept == [5.0, 2.0]


def test_a_stopped_clock_ends_the_wait() -> None:
    governor, clock = Governor(), RecordingClock(stop_after=0)
    governor.pause(clock, 5.0)
    with pytest.raises(Interrupted):
        governor.admit(clock)


def test_the_longest_pause_of_many_threads_counts() -> None:
    governor, clock = Governor(), RecordingClock()
    threads = [threading.Thread(target=governor.pause, args=(clock, n)) for n in range(1, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    governor.admit(clock)
    assert clock.slept == [39]

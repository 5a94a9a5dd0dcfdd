"""Injected time, so that the same code runs in real and in virtual time."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol

from core.errors import Interrupted


class Clock(Protocol):
    """Seconds everywhere. `time` is Unix time, `monotonic` never goes back."""

    def time(self) -> float: ...

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`; a stoppable clock raises Interrupted instead."""


class SystemClock:
    """The machine's clock."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


class StoppableClock(SystemClock):
    """The machine's clock, whose sleep ends with Interrupted once `stop` is set. `reason` is its
    message."""

    def __init__(
        self, stop: threading.Event | None = None, reason: str = "The worker was stopped."
    ) -> None:
        self._stop = stop or threading.Event()
        self.reason = reason
        self._cuts: dict[object, Callable[[], None]] = {}

    def stop(self) -> None:
        """From any thread, or a signal handler."""
        self._stop.set()
        for cut in list(self._cuts.values()):
            cut()

    @contextmanager
    def cutting(self, cut: Callable[[], None]) -> Iterator[None]:
        """Inside, `stop` also calls `cut`, which ends what waits for no clock."""
        number = object()
        self._cuts[number] = cut
        try:
            yield
        finally:
            del self._cuts[number]

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def sleep(self, seconds: float) -> None:
        if self._stop.wait(max(0.0, seconds)):
            raise Interrupted(self.reason)


class _WrappedClock:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @property
    def inner(self) -> Clock:
        return self._clock

    def time(self) -> float:
        return self._clock.time()

    def monotonic(self) -> float:
        return self._clock.monotonic()


class DeadlineClock(_WrappedClock):
    """Another clock with an end `limit_s` from now: a sleep that reaches it raises Interrupted
    then. Only sleeping raises, since an attempt writes its result after its end."""

    def __init__(self, clock: Clock, limit_s: float) -> None:
        super().__init__(clock)
        self._limit_s = limit_s
        self._ends_s = clock.monotonic() + limit_s

    def left_s(self) -> float:
        return max(0.0, self._ends_s - self._clock.monotonic())

    def sleep(self, seconds: float) -> None:
        left_s = self.left_s()
        self._clock.sleep(min(max(0.0, seconds), left_s))
        if seconds >= left_s or not self.left_s():
            limit = f"the time limit of {self._limit_s:g} s"
            raise Interrupted(f"The task was not done within {limit}.")


class CheckedClock(_WrappedClock):
    """Another clock that calls `check` before and after each sleep, and in a long one every STEP_S
    seconds; what that raises ends the sleep."""

    STEP_S = 0.25

    def __init__(self, clock: Clock, check: Callable[[], None]) -> None:
        super().__init__(clock)
        self._check = check

    def left_s(self) -> float:
        return time_left_s(self._clock)

    def sleep(self, seconds: float) -> None:
        self._check()
        while seconds > self.STEP_S:
            self._clock.sleep(self.STEP_S)
            self._check()
            seconds -= self.STEP_S
        self._clock.sleep(max(0.0, seconds))
        self._check()


def time_left_s(clock: Clock) -> float:
    """Seconds until `clock` ends everything; infinite where it does not."""
    return clock.left_s() if isinstance(clock, DeadlineClock | CheckedClock) else math.inf


@contextmanager
def cut_when_stopped(clock: Clock, cut: Callable[[], None]) -> Iterator[None]:
    """Inside, `cut` is called by whoever stops `clock`; never for one that cannot be stopped."""
    while isinstance(clock, _WrappedClock):
        clock = clock.inner
    with clock.cutting(cut) if isinstance(clock, StoppableClock) else nullcontext():
        yield

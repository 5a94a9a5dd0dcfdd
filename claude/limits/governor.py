"""One brake for all clients of a process: planner and executors share admission to the API.

A request holds a slot from `admit` until its stream has ended. claude.limits.admission decides
when the next may start; here are the threads: who asked first goes first, nobody spins, and an
error that no request can overcome ends the waiting of all. A run or a resume has a new governor.
"""

from __future__ import annotations

import copy
import math
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from claude.limits.admission import UNLIMITED, Admission
from claude.limits.rate_limits import ReportedLimits, read_limits
from claude.limits.retry import Backoff
from core.clock import Clock
from core.errors import (
    BillingRefused,
    CredentialsRefused,
    ModelError,
    ModelUnknown,
    Overloaded,
    RateLimited,
)
from core.job import Usage

TERMINAL = (CredentialsRefused, BillingRefused, ModelUnknown)
"""What would come of every other request too."""
STEP_S = 0.25
"""The longest sleep at a stretch: so soon does a waiting thread see a stop or news."""
_TELL_FROM_S = 1.0
_TELL_AGAIN_S = 30.0

Tell = Callable[[str], None]


def _untold(text: str) -> None:
    pass


class Slot:
    """One request in flight; tells the governor what its response said."""

    def __init__(self, governor: Governor, number: int, clock: Clock) -> None:
        self._governor, self.number, self.clock = governor, number, clock
        self.limits: Mapping[str, ReportedLimits] = {}

    def answered(self, headers: Mapping[str, str]) -> None:
        """The server refused, with these headers."""
        self.limits = read_limits(headers, self.clock.time())
        self._governor.heard(self, accepted=False)

    def accepted(self, headers: Mapping[str, str]) -> None:
        """The server took the request and began to answer, with these headers."""
        self.limits = read_limits(headers, self.clock.time())
        self._governor.heard(self, accepted=True)

    def spent(self, usage: Usage) -> None:
        self._governor.spent(usage)


class Governor:
    """Shared by threads. `draw` gives numbers from [0, 1) for jitter, and `admission` decides; it
    is called by one thread at a time."""

    def __init__(
        self, draw: Callable[[], float] = random.random, admission: Admission | None = None
    ) -> None:
        self._draw = draw
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._admission = admission or Admission()
        self._closed: ModelError | None = None

    @contextmanager
    def admit(
        self, clock: Clock, tell: Tell = _untold, backoff: Backoff | None = None
    ) -> Iterator[Slot]:
        """Wait for a slot and hold it. An error raised inside is heard: RateLimited and Overloaded
        pause everybody, and one of TERMINAL closes the governor.

        `tell` takes a line for people when the wait is long. Raises Interrupted from a stopped
        clock, and the error that closed the governor.
        """
        slot = Slot(self, self._enter(clock, tell), clock)
        well = False
        try:
            yield slot
            well = True
        except (RateLimited, Overloaded) as error:
            self._pause(slot, error, backoff or Backoff())
            raise
        except TERMINAL as error:
            self._close(error)
            raise
        finally:
            with self._changed:
                self._admission.ended(slot.number, well=well)
                self._changed.notify_all()

    def heard(self, slot: Slot, *, accepted: bool) -> None:
        """A response began; Slot calls this."""
        with self._changed:
            self._admission.told(slot.number, slot.limits, slot.clock.monotonic())
            if accepted:
                self._admission.accepted(slot.number)
            self._changed.notify_all()

    def spent(self, usage: Usage) -> None:
        """What a request took; Slot calls this."""
        with self._changed:
            self._admission.spent(usage)

    def _pause(self, slot: Slot, error: RateLimited | Overloaded, backoff: Backoff) -> None:
        now, overload = slot.clock.monotonic(), isinstance(error, Overloaded)
        full = any(told.remaining < 1 for told in slot.limits.values()) and not overload
        with self._changed:
            self._admission.refused(slot.number, now, overload=overload, full=full)
            self._admission.pause(error.retry_after_s, backoff, self._draw(), now)

    def _close(self, error: ModelError) -> None:
        with self._changed:
            self._closed = self._closed or error

    def _enter(self, clock: Clock, tell: Tell) -> int:
        """Wait for the turn; the request's number."""
        place, notice = object(), _Notice(clock, tell)
        with self._changed:
            self._queue.append(place)
        try:
            while (number := self._try(place, clock, notice)) is None:
                notice.give()
        finally:
            with self._changed:
                self._queue.remove(place)
                self._changed.notify_all()
        return number

    def _try(self, place: object, clock: Clock, notice: _Notice) -> int | None:
        """Start if it is time; else wait a little, and the answer is None."""
        with self._changed:
            if self._closed is not None:
                raise copy.copy(self._closed)
            now, first = clock.monotonic(), self._queue[0] is place
            if first and self._admission.may_start(now):
                return self._admission.start(now)
            notice.put(self._admission, self._queue.index(place))
            # only time ends the one wait, and only other threads the other
            held_s = self._admission.held_s(now) if first else 0.0
            if held_s <= 0:
                self._changed.wait(STEP_S)
        clock.sleep(min(held_s, STEP_S))
        return None


class _Notice:
    """Tells a waiting thread's owner how long it will be; seldom, and only about long waits."""

    def __init__(self, clock: Clock, tell: Tell) -> None:
        self._clock, self._tell = clock, tell
        self._since = clock.monotonic()
        self._next = self._since
        self._text = ""

    def put(self, admission: Admission, before: int) -> None:
        """Note why it waits; `before` is how many are to start first. Called under the lock."""
        now, self._text = self._clock.monotonic(), ""
        if (held_s := admission.held_s(now)) >= _TELL_FROM_S:
            self._text = f"waiting for the rate limit, {math.ceil(round(held_s, 3))} s"
        elif admission.ceiling < UNLIMITED and now - self._since >= _TELL_FROM_S:
            self._text = f"waiting for the rate limit, {before} before it"

    def give(self) -> None:
        """Tell it, outside of the governor's lock."""
        if self._text and (now := self._clock.monotonic()) >= self._next:
            self._next = now + _TELL_AGAIN_S
            self._tell(self._text)

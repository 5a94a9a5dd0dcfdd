"""Admission to the API for all clients of a process: planner and executors share one governor.

A request holds a permit from `admit` until its stream has ended. claude.limits.admission decides
when the next may start; this module does the threads: first come, first served, and an error that
no request can overcome ends the waiting of all. Each run and each resume has its own governor.
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
"""Errors that every other request would meet too."""
STEP_S = 0.25
"""The longest single sleep: how soon a waiting thread notices a stop or a change."""
_NOTIFY_AFTER_S = 1.0
_NOTIFY_EVERY_S = 30.0

Notify = Callable[[str], None]


class Permit:
    """One request in flight; passes what its response reported on to the governor."""

    def __init__(self, governor: Governor, number: int, clock: Clock) -> None:
        self._governor, self.number, self.clock = governor, number, clock
        self.limits: Mapping[str, ReportedLimits] = {}

    def spent(self, usage: Usage) -> None:
        self._governor.spent(usage)

    def report(self, headers: Mapping[str, str], *, accepted: bool) -> None:
        """The server refused, or `accepted` and began to answer, with these headers."""
        self.limits = read_limits(headers, self.clock.time())
        self._governor.report_response(self, accepted=accepted)


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
        self, clock: Clock, notify: Notify = lambda _: None, backoff: Backoff | None = None
    ) -> Iterator[Permit]:
        """Wait for a permit and hold it. RateLimited or Overloaded raised inside pauses all
        requests, and one of TERMINAL closes the governor.

        `notify` gets a line for people when the wait is long. Raises Interrupted from a stopped
        clock, and the error that closed the governor.
        """
        permit = Permit(self, self._enter(clock, notify), clock)
        succeeded = False
        try:
            yield permit
            succeeded = True
        except (RateLimited, Overloaded) as error:
            self._pause(permit, error, backoff or Backoff())
            raise
        except TERMINAL as error:
            with self._changed:
                self._closed = self._closed or error
            raise
        finally:
            with self._changed:
                self._admission.ended(permit.number, succeeded=succeeded)
                self._changed.notify_all()

    def report_response(self, permit: Permit, *, accepted: bool) -> None:
        """A response began; Permit calls this."""
        with self._changed:
            self._admission.report_limits(permit.number, permit.limits, permit.clock.monotonic())
            if accepted:
                self._admission.accepted(permit.number)
            self._changed.notify_all()

    def spent(self, usage: Usage) -> None:
        """What a request took; Permit calls this."""
        with self._changed:
            self._admission.spent(usage)

    def _pause(self, permit: Permit, error: RateLimited | Overloaded, backoff: Backoff) -> None:
        now, overload = permit.clock.monotonic(), isinstance(error, Overloaded)
        full = any(limit.remaining < 1 for limit in permit.limits.values()) and not overload
        with self._changed:
            self._admission.refused(permit.number, now, overload=overload, full=full)
            self._admission.pause(error.retry_after_s, backoff, self._draw(), now)

    def _enter(self, clock: Clock, notify: Notify) -> int:
        """Wait for the turn; the request's number."""
        place, notice = object(), _Notice(clock, notify)
        with self._changed:
            self._queue.append(place)
        try:
            while (number := self._try(place, clock, notice)) is None:
                notice.send()
        finally:
            with self._changed:
                self._queue.remove(place)
                self._changed.notify_all()
        return number

    def _try(self, place: object, clock: Clock, notice: _Notice) -> int | None:
        """Start if it is time; else wait a little and return None."""
        with self._changed:
            if self._closed is not None:
                raise copy.copy(self._closed)
            now, first = clock.monotonic(), self._queue[0] is place
            if first and self._admission.may_start(now):
                return self._admission.start(now)
            notice.update(self._admission, self._queue.index(place))
            # only time ends the one wait, and only other threads the other
            held_s = self._admission.held_s(now) if first else 0.0
            if held_s <= 0:
                self._changed.wait(STEP_S)
        clock.sleep(min(held_s, STEP_S))
        return None


class _Notice:
    """Reports a long wait to the owner of the waiting thread, at intervals."""

    def __init__(self, clock: Clock, notify: Notify) -> None:
        self._clock, self._notify = clock, notify
        self._since = self._next = clock.monotonic()
        self._text = ""

    def update(self, admission: Admission, ahead: int) -> None:
        """Note why it waits; `ahead` requests start first. Called under the lock."""
        now, self._text = self._clock.monotonic(), ""
        if (held_s := admission.held_s(now)) >= _NOTIFY_AFTER_S:
            self._text = f"waiting for the rate limit, {math.ceil(round(held_s, 3))} s"
        elif admission.ceiling < UNLIMITED and now - self._since >= _NOTIFY_AFTER_S:
            self._text = f"waiting for the rate limit, {ahead} requests ahead"

    def send(self) -> None:
        """Called outside of the governor's lock."""
        if self._text and (now := self._clock.monotonic()) >= self._next:
            self._next = now + _NOTIFY_EVERY_S
            self._notify(self._text)

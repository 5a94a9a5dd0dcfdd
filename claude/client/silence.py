"""Tells how an answer comes along, and when nothing comes: who waits for a socket cannot tell."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from claude.client.stream import StreamedMessage
from core.clock import Clock
from core.events import AnswerProgress

_log = logging.getLogger(__name__)

FIRST_S = 5.0
"""A silence is told after that many seconds, and each time that it has doubled."""
_LONGEST_S = 8.0
"""And once more at the latest after these, so that nobody waits 10 s without a line."""
_TICK_S = 1.0
_TOLD_EVERY_S = 1.0

Tell = Callable[[AnswerProgress], None]


class AnswerWatch:
    """Of one request; `heard` is for each event of its answer, `check` for a thread of its own.
    Silence goes by the machine's clock, which a test's clock does not stop."""

    def __init__(self, message: StreamedMessage, tell: Tell, clock: Clock, first_s: float) -> None:
        self._message, self._tell, self._clock = message, tell, clock
        self._first_s = self._next_s = first_s
        self._heard_s = time.monotonic()
        self._told_s = clock.monotonic()
        self._is_over = False
        self._lock = threading.Lock()

    def heard(self) -> None:
        """A piece of the answer came."""
        self._heard_s = time.monotonic()
        was_silent, self._next_s = self._next_s > self._first_s, self._first_s
        now_s = self._clock.monotonic()
        if was_silent or now_s - self._told_s >= _TOLD_EVERY_S:
            self._told_s = now_s
            self._tell(self._progress())

    def check(self) -> None:
        silent_s = time.monotonic() - self._heard_s
        with self._lock:
            if silent_s >= self._next_s and not self._is_over:
                self._next_s += min(self._next_s, _LONGEST_S)
                self._tell(self._progress(silent_s))

    def end(self) -> None:
        """Nothing is told from now on."""
        with self._lock:
            self._is_over = True

    def _progress(self, silent_s: float = 0.0) -> AnswerProgress:
        message = self._message
        return AnswerProgress(message.tokens("output_tokens"), message.path, round(silent_s, 1))


class Watchman:
    """One thread for all requests of a process, while there are any."""

    def __init__(self, first_s: float = FIRST_S, tick_s: float = _TICK_S) -> None:
        self._first_s, self._tick_s = first_s, tick_s
        self._watched: set[AnswerWatch] = set()
        self._is_at_work = False
        self._lock = threading.Lock()

    @contextmanager
    def watching(
        self, message: StreamedMessage, tell: Tell, clock: Clock
    ) -> Iterator[Callable[[], None]]:
        """Inside, `tell` may be called, also by another thread. Gives AnswerWatch.heard."""
        watch = AnswerWatch(message, tell, clock, self._first_s)
        with self._lock:
            self._watched.add(watch)
            if not self._is_at_work:
                self._is_at_work = True
                threading.Thread(target=self._work, name="watchman", daemon=True).start()
        try:
            yield watch.heard
        finally:
            with self._lock:
                self._watched.remove(watch)
            watch.end()

    def _work(self) -> None:
        while True:
            time.sleep(self._tick_s)
            with self._lock:
                if not self._watched:
                    self._is_at_work = False
                    return
                watched = tuple(self._watched)
            for watch in watched:
                _check(watch)


def _check(watch: AnswerWatch) -> None:
    try:
        watch.check()
    except Exception:  # noqa: BLE001 - a thread's boundary: such as a full disk, met elsewhere too
        _log.debug("a silence could not be told", exc_info=True)


WATCHMAN = Watchman()

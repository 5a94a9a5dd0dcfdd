"""Watches for results, so that the end of a job is seen before the next poll."""

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from backends.base import Wake
from core.job import JobKey

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
AFTER_ERROR_S = 10.0
LOOKS_A_SECOND = 100
"""How many jobs are looked at in a second at most: each may be a call to a file server."""
WAKES_A_JOB = 20
"""A job that has its result and does not end soon has an epilog, which the usual polls see."""


class ResultWatch:
    """One thread; calls `wake` for the watched jobs of which `look` has news, such as a result,
    until they are dropped, and some times at most. Losing it costs only promptness.

    `look` gets all that are watched, and may wait for news itself. After an error it is called
    again a while later.
    """

    def __init__(
        self,
        look: Callable[[Sequence[JobKey]], Collection[JobKey]],
        wake: Wake,
        *,
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._look = look
        self._wake = wake
        self._every_s = every_s
        self._wakes_left: dict[JobKey, int] = {}
        self._lock = threading.Lock()
        self._has_jobs = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, keys: Iterable[JobKey]) -> None:
        with self._lock:
            self._wakes_left |= dict.fromkeys(keys, WAKES_A_JOB)
            if self._wakes_left:
                self._has_jobs.set()
            if self._wakes_left and self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="results", daemon=True)
                self._thread.start()

    def drop(self, key: JobKey) -> None:
        """Its end is known."""
        with self._lock:
            self._wakes_left.pop(key, None)

    def stop(self, end_look: Callable[[], None] = lambda: None) -> None:
        """`end_look` ends a look that is under way, if it may take long."""
        self._stopped.set()
        self._has_jobs.set()
        end_look()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        pause_s = self._every_s
        while not self._stopped.wait(pause_s):
            if not (keys := self._watched()):
                self._has_jobs.wait()
                continue
            pause_s = max(self._every_s, len(keys) / LOOKS_A_SECOND)
            try:
                found = self._look(keys)
            except Exception as exc:  # noqa: BLE001 - a thread's boundary; polls report it
                log.debug("no look for results: %s", exc)
                self._stopped.wait(AFTER_ERROR_S)
                continue
            if news := [key for key in found if self._counts(key)]:
                self._wake(*news)

    def _watched(self) -> list[JobKey]:
        with self._lock:
            if not self._wakes_left and not self._stopped.is_set():
                self._has_jobs.clear()
            return sorted(self._wakes_left)

    def _counts(self, key: JobKey) -> bool:
        """Whether it may wake once more."""
        with self._lock:
            left = self._wakes_left.get(key, 0) - 1
            if left > 0:
                self._wakes_left[key] = left
            else:
                self._wakes_left.pop(key, None)
        return left >= 0

"""Watches a shared disk for results, so that the end of a job is seen before the next poll."""

import threading
from collections.abc import Callable, Iterable

from core.job import JobKey

LOOK_EVERY_S = 0.5
LOOKS_A_SECOND = 100
"""How many jobs are looked at in a second at most: each is a call to a file server."""
WAKES_A_JOB = 20
"""A job that has its result and does not end soon has an epilog, which the usual polls see."""


class ResultWatch:
    """One thread; calls `wake` while a watched job has its result and was not dropped, at most
    twice a second and for some seconds. Losing it costs only promptness."""

    def __init__(
        self,
        has_result: Callable[[JobKey], bool],
        wake: Callable[[], None],
        *,
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._has_result = has_result
        self._wake = wake
        self._every_s = every_s
        self._wakes_left: dict[JobKey, int] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, keys: Iterable[JobKey]) -> None:
        with self._lock:
            self._wakes_left |= dict.fromkeys(keys, WAKES_A_JOB)
            if self._wakes_left and self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="results", daemon=True)
                self._thread.start()

    def drop(self, key: JobKey) -> None:
        """Its end is known."""
        with self._lock:
            self._wakes_left.pop(key, None)

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        pause_s = self._every_s
        while not self._stopped.wait(pause_s):
            with self._lock:
                keys = sorted(self._wakes_left)
            if sum(map(self._is_new, keys)):  # counts down each, so no short cut
                self._wake()
            pause_s = max(self._every_s, len(keys) / LOOKS_A_SECOND)

    def _is_new(self, key: JobKey) -> bool:
        if not self._has_result(key):
            return False
        with self._lock:
            left = self._wakes_left.get(key, 0) - 1
            if left > 0:
                self._wakes_left[key] = left
            else:
                self._wakes_left.pop(key, None)
        return left >= 0

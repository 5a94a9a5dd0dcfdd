"""Looks on a shared disk for results, so that an end is heard of before the next poll is due."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from core.job import JobKey

LOOK_EVERY_S = 0.5
LOOKS_A_SECOND = 100
"""How many jobs are looked at in a second at the most: each is a call to a file server."""


class ResultWatch:
    """One thread; calls `wake` while a job that is watched has its result and nobody has dropped
    it, at most twice a second. Losing it costs only promptness."""

    def __init__(self, has_result: Callable[[JobKey], bool], wake: Callable[[], None]) -> None:
        self._has_result = has_result
        self._wake = wake
        self._keys: set[JobKey] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, keys: Iterable[JobKey]) -> None:
        with self._lock:
            self._keys.update(keys)
            if self._keys and self._thread is None and not self._stopped.is_set():
                self._thread = threading.Thread(target=self._run, name="results", daemon=True)
                self._thread.start()

    def drop(self, key: JobKey) -> None:
        """It has ended, as far as anybody needs to know."""
        with self._lock:
            self._keys.discard(key)

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        pause_s = LOOK_EVERY_S
        while not self._stopped.wait(pause_s):
            with self._lock:
                keys = sorted(self._keys)
            if any(map(self._has_result, keys)):
                self._wake()
            pause_s = max(LOOK_EVERY_S, len(keys) / LOOKS_A_SECOND)

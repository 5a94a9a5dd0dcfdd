"""Listens to a Docker Engine for the starts and ends of a run's containers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from backends.docker.connection import engine_errors, open_engine
from backends.docker.container import RunLabels
from core.errors import BackendError

if TYPE_CHECKING:
    from docker.types import CancellableStream

log = logging.getLogger(__name__)

_ACTIONS = ["start", "die", "oom", "destroy"]
FIRST_PAUSE_S = 0.5
MOST_PAUSE_S = 15.0


class EventWatch:
    """One thread on a connection of its own; calls `wake` for each event, and after each time that
    it could not listen, since events may have been missed. Losing it costs only promptness."""

    def __init__(
        self, environ: Mapping[str, str], labels: RunLabels, wake: Callable[[], None]
    ) -> None:
        self._environ = environ
        self._labels = labels
        self._wake = wake
        self.died: set[str] = set()
        """Ids of containers of whose end an event came."""
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._stream: CancellableStream[dict[str, Any]] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to listen. Idempotent."""
        with self._lock:
            if self._thread is None and not self._stopped.is_set():
                import_module("docker.api")  # its circle of modules fails two threads at once
                self._thread = threading.Thread(target=self._run, name="docker-events", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        with self._lock:
            if self._stream is not None:
                with suppress(Exception):  # it may be closing by itself
                    self._stream.close()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=5.0)

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopped.is_set():
            try:
                self._listen()
                pause_s = FIRST_PAUSE_S
            except BackendError as exc:
                log.debug("no events from the engine: %s", exc)
            self._stopped.wait(pause_s)
            pause_s = min(pause_s * 2, MOST_PAUSE_S)
            self._wake()

    def _listen(self) -> None:
        """Until the stream ends."""
        with engine_errors():
            client = open_engine(self._environ)
            try:
                filters = {**self._labels.filters(), "type": "container", "event": _ACTIONS}
                stream = client.events(filters=filters, decode=True)
                with self._lock:
                    self._stream = stream
                if self._stopped.is_set():
                    return
                self._wake()
                for event in stream:
                    if event["Action"] == "die":
                        self.died.add(event["id"])
                    self._wake()
            finally:
                client.close()

"""How far transfers have come: those from and to this machine, and those elsewhere as reported."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Protocol

CHUNK_BYTES = 64 * 1024
_MEGABYTE = 1_000_000


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Transfers:
    """All transfers that are under way, in both directions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: dict[object, tuple[str, str]] = {}

    def summary(self, verb: str) -> str:
        """Of what is being "sent" or "received": "12.3 of 80.0 MB sent"; empty when nothing is."""
        with self._lock:
            return ", ".join(text for kind, text in self._active.values() if kind == verb)

    @contextmanager
    def track(self, verb: str, total: int = 0, route: str = "") -> Iterator[Callable[[int], None]]:
        """A function to be called with the number of bytes moved so far. A `route` names a transfer
        between other places, such as "by the bucket"."""
        transfer, of = object(), f" of {total / _MEGABYTE:.1f}" if total else ""

        def report(done: int) -> None:
            text = f"{done / _MEGABYTE:.1f}{of} MB {verb} {route}".rstrip()
            with self._lock:
                self._active[transfer] = (verb, text)

        report(0)
        try:
            yield report
        finally:
            with self._lock:
                del self._active[transfer]

    @contextmanager
    def count(self, verb: str, total: int = 0) -> Iterator[Callable[[int], None]]:
        """A function to be called with each number of bytes that has moved."""
        done = 0

        def add(size: int) -> None:
            nonlocal done
            done += size
            report(done)

        with self.track(verb, total) as report:
            yield add

    def sending(self, stream: IO[bytes]) -> Iterator[bytes]:
        """All of a stream in chunks."""
        total = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        return self._counted(stream, "sent", total)

    def receiving(self, stream: Readable) -> Iterator[bytes]:
        return self._counted(stream, "received", 0)

    def _counted(self, stream: Readable, verb: str, total: int) -> Iterator[bytes]:
        with self.count(verb, total) as add:
            while data := stream.read(CHUNK_BYTES):
                yield data
                add(len(data))

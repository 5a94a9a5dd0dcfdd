"""How far what travels has come, for people who wait for it."""

from __future__ import annotations

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
    """What is on its way, in both directions at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[int, tuple[str, int, int]] = {}
        self._count = 0

    def words(self, verb: str) -> str:
        """Of what is being "sent" or "received": "12.3 of 80.0 MB sent"; empty when nothing is."""
        with self._lock:
            return ", ".join(_words(*f) for f in self._under_way.values() if f[0] == verb)

    def sending(self, stream: IO[bytes]) -> Iterator[bytes]:
        """Chunks of a stream from where it stands to its end."""
        begin = stream.tell()
        total = stream.seek(0, os.SEEK_END) - begin
        stream.seek(begin)
        return self._counted(stream, "sent", total)

    def receiving(self, stream: Readable) -> Iterator[bytes]:
        return self._counted(stream, "received", 0)

    @contextmanager
    def noting(self, verb: str, total: int = 0) -> Iterator[Callable[[int], None]]:
        """A function to be told of each number of bytes that has gone."""
        with self._lock:
            self._count += 1
            number = self._count

        def note(size: int) -> None:
            with self._lock:
                done = self._under_way.get(number, ("", 0, 0))[1]
                self._under_way[number] = (verb, done + size, total)

        try:
            yield note
        finally:
            with self._lock:
                self._under_way.pop(number, None)

    def _counted(self, stream: Readable, verb: str, total: int) -> Iterator[bytes]:
        with self.noting(verb, total) as note:
            while data := stream.read(CHUNK_BYTES):
                yield data
                note(len(data))


def _words(verb: str, done: int, total: int) -> str:
    of = f" of {total / _MEGABYTE:.1f}" if total else ""
    return f"{done / _MEGABYTE:.1f}{of} MB {verb}"

"""How far what travels has come, for people who wait for it.

It travels between here and elsewhere, or on between two places elsewhere, which tell of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Protocol

CHUNK_BYTES = 64 * 1024
_MEGABYTE = 1_000_000


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Transfers:
    """What is on its way, in both directions at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[int, _Progress] = {}
        self._count = 0

    def words(self, verb: str) -> str:
        """Of what is being "sent" or "received": "12.3 of 80.0 MB sent"; empty when nothing is."""
        with self._lock:
            return ", ".join(p.words for p in self._under_way.values() if p.verb == verb)

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
        done = 0

        def note(size: int) -> None:
            nonlocal done
            done += size
            follow(done)

        with self._following(verb, total) as follow:
            yield note

    @contextmanager
    def following(self, verb: str, way: str, total: int = 0) -> Iterator[Callable[[int], None]]:
        """A function to be told how many bytes have gone so far, on a `way` elsewhere."""
        with self._following(verb, total, f" {way}") as follow:
            follow(0)
            yield follow

    @contextmanager
    def _following(self, verb: str, total: int, way: str = "") -> Iterator[Callable[[int], None]]:
        with self._lock:
            self._count += 1
            number = self._count

        def follow(done: int) -> None:
            with self._lock:
                self._under_way[number] = _Progress(verb, done, total, way)

        try:
            yield follow
        finally:
            with self._lock:
                self._under_way.pop(number, None)

    def _counted(self, stream: Readable, verb: str, total: int) -> Iterator[bytes]:
        with self.noting(verb, total) as note:
            while data := stream.read(CHUNK_BYTES):
                yield data
                note(len(data))


@dataclass(frozen=True, slots=True)
class _Progress:
    verb: str
    done: int
    total: int
    way: str

    @property
    def words(self) -> str:
        of = f" of {self.total / _MEGABYTE:.1f}" if self.total else ""
        return f"{self.done / _MEGABYTE:.1f}{of} MB {self.verb}{self.way}"

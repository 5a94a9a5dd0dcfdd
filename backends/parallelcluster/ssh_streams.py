"""The two ends of a command elsewhere: what it is fed and what it prints, both with patience."""

from __future__ import annotations

import io
import os
import select
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LOOK_S = 5.0
_END_S = 2.0
_MOST_SAID_BYTES = 16 * 1024


class Feeding:
    """Feeds a process from a thread of its own, so that neither side waits for the other."""

    def __init__(self, process: subprocess.Popen[bytes], feed: Iterable[bytes]) -> None:
        self.moved_at = time.monotonic()
        """When the process last took something."""
        self._process, self._feed = process, feed
        self._stdin = cast("IO[bytes]", process.stdin)
        self._thread = threading.Thread(target=self._work, daemon=True, name="ssh-feed")
        self._thread.start()

    def _work(self) -> None:
        with suppress(OSError, ValueError):  # it has ended; what it printed tells why
            for chunk in self._feed:
                self._stdin.write(chunk)
                self._stdin.flush()
                self.moved_at = time.monotonic()
        with suppress(OSError):
            self._stdin.close()

    def end(self) -> None:
        """See the process end, by force if it takes its time. Idempotent."""
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


class PatientReader(io.RawIOBase):
    """What a process prints. Nothing to read, and nothing fed to it either, for `quiet_s` is taken
    for its end."""

    def __init__(self, process: subprocess.Popen[bytes], feeding: Feeding, quiet_s: float) -> None:
        self._fd = cast("IO[bytes]", process.stdout).fileno()
        self._feeding, self._quiet_s = feeding, quiet_s
        self._ready = select.poll()
        self._ready.register(self._fd, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view, since = memoryview(buffer).cast("B"), time.monotonic()
        while not self._ready.poll(1000 * min(_LOOK_S, self._quiet_s)):
            if time.monotonic() - max(since, self._feeding.moved_at) >= self._quiet_s:
                return 0
        data = os.read(self._fd, len(view))
        view[: len(data)] = data
        return len(data)


def read_end(said: IO[bytes]) -> str:
    """What was complained of, its end if it is long."""
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _MOST_SAID_BYTES))
    return said.read().decode(errors="replace").strip()

"""Input and output of a process that may stop responding."""

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

_POLL_S = 5.0
_END_S = 2.0
_MAX_TAIL_BYTES = 16 * 1024


class InputFeeder:
    """Feeds a process from a thread of its own, so that neither side waits for the other."""

    def __init__(self, process: subprocess.Popen[bytes], chunks: Iterable[bytes]) -> None:
        self.moved_at = time.monotonic()  # when the process last took something
        self._process, self._chunks = process, chunks
        self._stdin = cast("IO[bytes]", process.stdin)
        self._thread = threading.Thread(target=self._work, daemon=True, name="ssh-input")
        self._thread.start()

    def _work(self) -> None:
        with suppress(OSError, ValueError):  # the process has ended; its output says why
            for chunk in self._chunks:
                self._stdin.write(chunk)
                self._stdin.flush()
                self.moved_at = time.monotonic()
        with suppress(OSError):
            self._stdin.close()

    def end(self) -> None:
        """Wait for the process, and kill it if that takes long. Idempotent."""
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


class TimeoutReader(io.RawIOBase):
    """The output of a process, which ends after `idle_s` without any input or output."""

    def __init__(
        self, process: subprocess.Popen[bytes], feeder: InputFeeder, idle_s: float
    ) -> None:
        self._fd = cast("IO[bytes]", process.stdout).fileno()
        self._feeder, self._idle_s = feeder, idle_s
        self._ready = select.poll()
        self._ready.register(self._fd, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view, since = memoryview(buffer).cast("B"), time.monotonic()
        while not self._ready.poll(1000 * min(_POLL_S, self._idle_s)):
            if time.monotonic() - max(since, self._feeder.moved_at) >= self._idle_s:
                return 0
        data = os.read(self._fd, len(view))
        view[: len(data)] = data
        return len(data)


def read_tail(stream: IO[bytes]) -> str:
    """The end of a process's output file."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _MAX_TAIL_BYTES))
    return stream.read().decode(errors="replace").strip()

"""The journal: the run's append-only event log and the one source of truth about it. A line is one
event, given to the kernel at once, so that it outlives this process; what decides is proof against
a power cut before it is acted upon (`commit`). Progress is not kept, nor a line cut by a crash."""

import os
import threading
from contextlib import suppress
from pathlib import Path

from core.errors import RunRemoved
from core.events import EPHEMERAL, Event, Progress, decode_event, encode_event


class Journal:
    """An event sink that writes to `path`. `commit` may be called from any thread."""

    def __init__(self, path: Path) -> None:
        _cut_torn_line(path)
        self._path = path
        self._stream = path.open("ab", buffering=0)
        self._size = self._stream.tell()
        self._syncing = threading.Lock()
        self._dirty = False

    @property
    def is_kept(self) -> bool:
        """Whether its file is still where it was."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._stream.fileno()))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def check(self) -> None:
        """Raises RunRemoved when nobody will find what is written here."""
        if not self.is_kept:
            raise RunRemoved(
                f"The run directory {self._path.parent} was removed or moved while the run went"
                " on, so the run was stopped.",
                "Start it again; if the directory was moved, move it back and resume the run.",
            )

    def emit(self, event: Event) -> None:
        """Raises RunRemoved, OSError."""
        self.check()
        if event.kind in EPHEMERAL and not _is_planning_usage(event):
            return
        line = memoryview(encode_event(event).encode() + b"\n")
        begin = self._size
        try:
            while line:
                written = self._stream.write(line)
                self._size += written
                line = line[written:]
        except OSError as exc:
            with suppress(OSError):  # half a line would damage the next one
                self._size = self._stream.truncate(begin)
            raise OSError(exc.errno, exc.strerror, str(self._path)) from exc
        self._dirty = True  # only now: a commit in between would have missed the line

    def commit(self) -> None:
        """Return once everything emitted so far would survive a power cut."""
        with self._syncing:
            if not self._dirty or self._stream.closed:
                return
            self._dirty = False  # before the sync: what is emitted meanwhile needs another
            try:
                os.fsync(self._stream.fileno())
            except OSError:
                self._dirty = True
                raise

    def close(self) -> None:
        self.commit()
        with self._syncing:
            self._stream.close()


def _is_planning_usage(event: Event) -> bool:
    """What planning used has no other place: it has no job that ends."""
    data = event.data
    return isinstance(data, Progress) and not event.task and data.usage is not None


def _cut_torn_line(path: Path) -> None:
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        with path.open("r+b") as stream:
            stream.truncate(data.rfind(b"\n") + 1)


def read_journal(path: Path) -> list[Event]:
    """All whole events. Raises BundleError when a line before the last is damaged."""
    return JournalReader(path).read()


class JournalReader:
    """Reads a journal that grows: each call gives the whole events since the one before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = self._line = 0

    def read(self) -> list[Event]:
        """None where there is no journal yet. Raises BundleError when one of its lines is
        damaged."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                *lines, rest = stream.read().split(b"\n")
                self._offset = stream.tell() - len(rest)
        except FileNotFoundError:
            return []
        begin, self._line = self._line + 1, self._line + len(lines)
        numbered = enumerate(lines, begin)
        return [decode_event(line, f"{self._path}:{n}") for n, line in numbered if line]

"""A file that grows line by line beside a workspace whose commands can reach it.

What was written is kept in memory too, so that changes by others are undone, in the end by settle.
"""

import contextlib
import os
import stat
from pathlib import Path

from core.paths import give_to_owner
from core.wire import write_atomic
from core.workspace.confined import open_regular, read_regular, remove_tree

MAX_EARLIER_BYTES = 64 * 1024 * 1024
"""Of a file that an earlier worker left; no worker leaves a longer one."""


class ProtectedLog:
    """Continues where an earlier worker was killed; a partial last line is ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = bytearray()
        with contextlib.suppress(OSError):
            self._data += read_regular(path, MAX_EARLIER_BYTES)
        if self._data and not self._data.endswith(b"\n"):
            self.write("\n")

    def write(self, text: str) -> None:
        """Add to the end; on the disk when this returns."""
        data = text.encode("utf-8", "backslashreplace")
        self._data += data
        make_directory(self.path.parent)
        try:
            fd = open_regular(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        except OSError:
            self._write_all()
            return
        with open(fd, "wb") as stream:
            stream.write(data)

    def settle(self) -> None:
        """Restore the file as it was written."""
        make_directory(self.path.parent)
        if self._data or os.path.lexists(self.path):
            self._write_all()

    def _write_all(self) -> None:
        if self.path.is_symlink() or not self.path.is_file():
            remove_tree(self.path)
        write_atomic(self.path, bytes(self._data))


def make_directory(path: Path) -> None:
    """Make a real directory; anything else of that name is removed. Raises OSError where there is
    no directory above it: whoever removed that wants nothing there."""
    with contextlib.suppress(OSError):
        path.mkdir()
        return
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            if path.stat().st_mode & 0o700 != 0o700:
                give_to_owner(path, 0o700)
            return
        path.unlink()
    path.mkdir(exist_ok=True)

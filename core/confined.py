"""File operations below one directory that never follow a symbolic link.

Every component is opened from the descriptor of the one above it with O_NOFOLLOW, so that nothing
that is put into the tree, before or during an operation, can lead it out. Files are replaced by
rename and never changed in place, so a hard link or an open descriptor elsewhere keeps its bytes.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import WorkspaceError
from core.paths import fold

_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # NONBLOCK: opening a FIFO must not wait
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | _FLAGS
_LOOK = "Use list_files to see what is there."
_REASONS = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "goes through a file or a symbolic link as if it were a directory",
    errno.ELOOP: "is or goes through a symbolic link, which is refused",
    errno.EISDIR: "is a directory",
    errno.EACCES: "may not be opened",
    errno.EPERM: "may not be changed",
}


class ConfinedTree:
    """The files below `root`. Paths have passed core.paths; "" is the root itself.

    What the tree makes impossible is a WorkspaceError; a broken disk stays an OSError.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def exists(self, path: str) -> bool:
        """Whether anything has this name, a link or a directory too."""
        *parents, name = path.split("/")
        with _refusals(path):
            try:
                with self._directory(parents) as directory:
                    os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                return False
        return True

    def size(self, path: str) -> int:
        """Bytes of a regular file."""
        with _refusals(path), self._file(path) as fd:
            return os.fstat(fd).st_size

    def read(self, path: str) -> bytes:
        """The content of a regular file."""
        with _refusals(path), self._file(path) as fd, open(fd, "rb", closefd=False) as stream:
            return stream.read()

    def write(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Create or replace a file whole, making its directories.

        Refused where another name differs from a part of `path` in case only.
        """
        *parents, name = path.split("/")
        with _refusals(path), self._directory(parents, create=True) as directory:
            _refuse_case_clash(directory, name, path)
            _replace(directory, name, data, mode)

    def files(self, below: str = "") -> list[tuple[str, int]]:
        """(path, bytes) of every regular file below a directory, ordered by path."""
        with _refusals(below or "."), self._directory(_parts(below)) as directory:
            return sorted(_walk(directory, below))

    def move_out(self, path: str, destination: Path) -> None:
        """Move a file to `destination`, which is outside the tree and on the same file system."""
        *parents, name = path.split("/")
        with _refusals(path), self._directory(parents) as directory:
            os.replace(name, destination, src_dir_fd=directory)

    @contextmanager
    def _file(self, path: str) -> Iterator[int]:
        *parents, name = path.split("/")
        with self._directory(parents) as directory:
            fd = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=directory)
        try:
            if not stat.S_ISREG(kind := os.fstat(fd).st_mode):
                what = "a directory" if stat.S_ISDIR(kind) else "not a regular file"
                raise WorkspaceError(f"{path!r} is {what}.", _LOOK)
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _directory(self, parts: list[str], *, create: bool = False) -> Iterator[int]:
        fd = os.open(self._root, _DIRECTORY)
        try:
            for part in parts:
                if create:
                    _refuse_case_clash(fd, part, "/".join(parts))
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=fd)
                below = os.open(part, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)


def _parts(path: str) -> list[str]:
    return path.split("/") if path else []


def _replace(directory: int, name: str, data: bytes, mode: int) -> None:
    temporary = f".{secrets.token_hex(8)}.part"  # a fixed length: `name` may fill NAME_MAX
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
    fd = os.open(temporary, flags, mode, dir_fd=directory)
    try:
        with open(fd, "wb") as stream:
            stream.write(data)
            os.fchmod(fd, mode)  # whatever the umask left
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise


def _refuse_case_clash(directory: int, part: str, path: str) -> None:
    """Refuse `part` where it would be the same file as its neighbour on another system."""
    for name in os.listdir(directory):
        if fold(name) == fold(part) and unicodedata.normalize("NFC", name) != part:
            raise WorkspaceError(
                f"{path!r} differs only in case from {name!r}, which is there already.",
                "Use the name that is there, or one that differs in more than case.",
            )


def _walk(directory: int, below: str) -> Iterator[tuple[str, int]]:
    for where, _, names, fd in os.fwalk(".", dir_fd=directory, follow_symlinks=False):
        inner = where.removeprefix(".").lstrip("/")
        for name in names:
            info = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISREG(info.st_mode):
                yield "/".join(p for p in (below, inner, name) if p), info.st_size


@contextmanager
def _refusals(path: str) -> Iterator[None]:
    """Turn what the file system refuses because of the path into a WorkspaceError."""
    try:
        yield
    except OSError as exc:
        if (reason := _REASONS.get(exc.errno or 0)) is None:
            raise
        raise WorkspaceError(f"{path!r} {reason}.", _LOOK) from exc

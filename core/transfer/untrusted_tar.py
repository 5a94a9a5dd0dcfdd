"""Untrusted tar streams: a model with a shell could write their content.

Only regular files and directories are taken, below their destination, and no more than a limit.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tarfile import HeaderError, ReadError
from typing import IO, TYPE_CHECKING, Self

from core.bundle import Limits
from core.errors import CollectError

if TYPE_CHECKING:
    from typing_extensions import Buffer

OWN_FILES = 16
"""Files that a worker itself leaves in a result."""
OWN_BYTES = 256 * 1024 * 1024
"""The limit for transcript, log and events together."""
MOST_HEADER_BYTES = 1024 * 1024
"""Of one member besides its content, such as a long name."""
_HEADER_TYPES = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE),
    tarfile.SOLARIS_XHDTYPE,
)
MACHINE_FAULTS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENODEV),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR),
    }
)
"""Errors of this machine, which do not depend on the name that is written."""
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def open_untrusted(stream: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """A tar that is read member by member. Raises CollectError when it is damaged."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Strict) as tar:
            yield tar
    except tarfile.TarError as exc:
        raise CollectError(f"The archive of a result is damaged: {exc}.", retryable=True) from exc


class UntrustedTree:
    """One tree out of a stream, written to `destination`, an empty directory.

    Raises CollectError for anything but regular files and directories, for a name that leads out of
    it or that this machine cannot store, and beyond the limits. OSError is the stream's or disk's.
    """

    def __init__(self, destination: Path, limits: Limits) -> None:
        self._destination = destination
        self._limits = limits
        self._files = self._directories = self._size = 0

    def take(self, tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        """Write a member to `name`; "" is the top directory."""
        parts = name.split("/") if name else []
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise CollectError(f"The result holds a path that leads out of it: {member.name!r}.")
        path = self._destination.joinpath(*parts)
        if member.isdir():
            self._directories += 1
            self._check(self._directories, 0)
            with _naming(name):
                path.mkdir(exist_ok=True)
            return
        if not member.isreg():
            raise CollectError(f"The result holds {name!r}, which is not a regular file.")
        self._files, self._size = self._files + 1, self._size + member.size
        self._check(self._files, self._size)
        if (source := tar.extractfile(member)) is not None:
            with _naming(name):
                fd = os.open(path, _CREATE, 0o755 if member.mode & 0o100 else 0o644)
            with open(fd, "wb") as stream:
                shutil.copyfileobj(source, stream)

    def _check(self, files: int, size: int) -> None:
        limits = self._limits
        if files > limits.max_files + OWN_FILES:
            raise CollectError(f"The result has more than {limits.max_files:,} files; refused.")
        if size > limits.max_bytes + OWN_BYTES:
            raise CollectError(f"The result has more than {limits.max_bytes:,} bytes; refused.")


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """An error because of the name of a file that is created is that result's CollectError."""
    try:
        yield
    except (OSError, UnicodeEncodeError) as exc:
        if isinstance(exc, OSError) and exc.errno in MACHINE_FAULTS:
            raise
        reason = exc.strerror if isinstance(exc, OSError) else "the name cannot be encoded"
        raise CollectError(
            f"The result holds {name!r}, which cannot be written: {reason}."
        ) from exc


class _Strict(tarfile.TarInfo):
    """Raises ReadError for a damaged header, which tarfile itself takes for the end, and for sizes
    that no member has, since tarfile reads extended headers into memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        if found.size < 0 or (found.type in _HEADER_TYPES and found.size > MOST_HEADER_BYTES):
            raise ReadError(f"a member of {found.size:,} bytes")
        return found

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as exc:
            if type(exc).__name__ == "EOFHeaderError":  # the regular end; not in the stubs
                raise
            raise ReadError(str(exc)) from exc


class ChunkSource(io.RawIOBase):
    """Chunks as a file that can be read once."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        while not self._rest:
            if (chunk := next(self._chunks, None)) is None:
                return 0
            self._rest = memoryview(chunk)
        room = memoryview(buffer).cast("B")
        count = min(len(room), len(self._rest))
        room[:count], self._rest = self._rest[:count], self._rest[count:]
        return count

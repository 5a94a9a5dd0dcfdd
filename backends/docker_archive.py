"""Bundles as tar streams: packed for a volume, and unpacked from one that nobody vouches for.

What comes back was written beside a model with a shell: only regular files and directories are
taken, below the destination, and no more of them than a stated limit.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tarfile import HeaderError, ReadError
from typing import IO, TYPE_CHECKING, Self

from core.bundle import Limits
from core.errors import CollectError

if TYPE_CHECKING:
    from typing_extensions import Buffer

OWN_FILES = 16
"""Files that a worker leaves beside those of the result."""
OWN_BYTES = 256 * 1024 * 1024
"""What transcript, log and events may have together."""

MEMORY_BYTES = 8 * 1024 * 1024
"""A larger bundle is packed on disk."""


@contextmanager
def packed(directory: Path, top: str, uid: int, extra: Mapping[str, bytes]) -> Iterator[IO[bytes]]:
    """The tar of a directory `top` of user `uid`: `directory`, and `extra` files of mode 0600."""

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = uid
        member.uname = member.gname = ""
        return member

    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as stream:
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.addfile(owned(_directory(top)))
            tar.add(directory, f"{top}/{directory.name}", filter=owned)
            for name, content in extra.items():
                member = tarfile.TarInfo(f"{top}/{name}")
                member.size, member.mode = len(content), 0o600
                tar.addfile(owned(member), io.BytesIO(content))
        stream.seek(0)
        yield stream


def _directory(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o700
    return member


def unpack(chunks: Iterable[bytes], destination: Path, limits: Limits) -> None:
    """Write the tree in `chunks` to `destination`, which is made; its own top name is dropped.

    Raises CollectError for anything but regular files and directories, for a name that leads out,
    and beyond the limits; `destination` is gone then.
    """
    destination.mkdir()
    try:
        stream = io.BufferedReader(_Reader(chunks))
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Strict) as tar:
            _take(tar, destination, limits)
    except (FileExistsError, FileNotFoundError, NotADirectoryError) as exc:
        shutil.rmtree(destination)
        raise CollectError(f"The result holds paths that are no tree: {exc}.") from exc
    except tarfile.TarError as exc:
        shutil.rmtree(destination)
        raise CollectError(f"The archive of a result is damaged: {exc}.", retryable=True) from exc
    except BaseException:
        shutil.rmtree(destination)
        raise


def _take(tar: tarfile.TarFile, destination: Path, limits: Limits) -> None:
    files = directories = size = 0
    for member in tar:
        _, _, name = member.name.strip("/").partition("/")
        parts = name.split("/") if name else []
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise CollectError(f"The result holds a path that leads out: {member.name!r}.")
        place = destination.joinpath(*parts)
        if member.isdir():
            directories += 1
            _check_limits(directories, 0, limits)
            place.mkdir(exist_ok=True)
            continue
        if not member.isreg():
            raise CollectError(f"The result holds {name!r}, which is no regular file.")
        files, size = files + 1, size + member.size
        _check_limits(files, size, limits)
        if (source := tar.extractfile(member)) is not None:
            _write(place, source, member.mode)


def _check_limits(files: int, size: int, limits: Limits) -> None:
    if files > limits.max_files + OWN_FILES:
        raise CollectError(f"The result has more than {limits.max_files:,} files; refused.")
    if size > limits.max_bytes + OWN_BYTES:
        raise CollectError(f"The result has more than {limits.max_bytes:,} bytes; refused.")


def _write(place: Path, source: IO[bytes], mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(place, flags, 0o755 if mode & 0o100 else 0o644)
    with open(fd, "wb") as stream:
        shutil.copyfileobj(source, stream)


class _Strict(tarfile.TarInfo):
    """What is no header and no end is damage; tarfile itself would take it for the end."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as exc:
            if type(exc).__name__ == "EOFHeaderError":  # the end as it should be; not in the stubs
                raise
            raise ReadError(str(exc)) from exc


class _Reader(io.RawIOBase):
    """Chunks as a file that can only be read on."""

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

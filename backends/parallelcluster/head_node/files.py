"""Files on the head node's disk: packed for download, and unpacked, all or nothing."""

import gzip
import io
import os
import shutil
import stat
import tarfile
import tempfile
from contextlib import suppress
from typing import IO, Any, cast

from backends.parallelcluster.head_node.paths import ENCODING, OPEN_FLAGS, Request, join, text


def pack_results(request: Request, out: Any) -> None:
    """A compressed tar of the attempts' results, as <number of the attempt>/<path in result>."""
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6) as packed:
        with tarfile.open(fileobj=cast(Any, packed), mode="w|", **ENCODING) as tar:
            for number, attempt in enumerate(request["attempts"]):
                pack(tar, join(request["run_dir"], attempt, "result"), str(number))


def pack(tar: tarfile.TarFile, top: bytes, name: str) -> None:
    """A tree. What is neither file nor directory goes as a link, which the other side refuses."""
    waiting = [(top, name)]
    while waiting:
        path, name = waiting.pop()
        try:
            mode = os.lstat(path).st_mode
            content = os.fdopen(os.open(path, OPEN_FLAGS), "rb") if stat.S_ISREG(mode) else None
            entries = sorted(os.listdir(path)) if stat.S_ISDIR(mode) else []
        except FileNotFoundError:
            continue
        except OSError:  # closed to its owner
            mode, content, entries = stat.S_IFLNK, None, []
        if content is not None:
            add_file(tar, content, name)
            continue
        member = tarfile.TarInfo(name)
        member.type = tarfile.DIRTYPE if stat.S_ISDIR(mode) else tarfile.SYMTYPE
        member.mode = stat.S_IMODE(mode)
        tar.addfile(member)
        waiting += [(join(path, entry), name + "/" + text(entry)) for entry in entries]


def add_file(tar: tarfile.TarFile, content: IO[bytes], name: str) -> None:
    """With its size as of now, whatever happens to the file meanwhile."""
    with content as stream:
        found = os.fstat(stream.fileno())
        member = tarfile.TarInfo(name)
        member.size, member.mode = found.st_size, stat.S_IMODE(found.st_mode)
        tar.addfile(member, cast(Any, PaddedReader(stream)))


class PaddedReader:
    """Continues with zeros where a file is truncated or lost while it is read; the digest of its
    manifest will not match then."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except OSError:
            data = b""
        return data + b"\0" * (size - len(data))


def unpack(chunks: Any, run_dir: bytes, code: bytes) -> None:
    """Put `run/...` into the run's directory, `code/...` beside all runs, all or nothing."""
    os.makedirs(run_dir, exist_ok=True)
    fresh = tempfile.mkdtemp(prefix=b".code-", dir=os.path.dirname(code))
    tops = {"run": run_dir, "code": fresh}
    try:
        packed = gzip.GzipFile(fileobj=chunks, mode="rb")
        with tarfile.open(fileobj=packed, mode="r|", **ENCODING) as tar:
            for member in tar:
                top, _, name = member.name.partition("/")
                path = join(tops[top], name)
                if member.isdir():
                    os.makedirs(path, exist_ok=True)
                    continue
                os.makedirs(os.path.dirname(path), exist_ok=True)
                write_file(path, tar.extractfile(member) or io.BytesIO(), member.mode)
        if os.listdir(fresh) and not os.path.isdir(code):
            os.rename(fresh, code)
    finally:
        remove_path(fresh)


def write_file(path: bytes, source: IO[bytes], mode: int) -> None:
    """Through a temporary name, so that a reader sees all or nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "wb") as stream:
            shutil.copyfileobj(source, stream)
        os.chmod(temporary, mode & stat.S_IRWXU)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def make_removable(path: bytes) -> None:
    """Give the owner back the permissions that a job may have taken away below `path`."""
    waiting = [path]
    while waiting:
        folder = waiting.pop()
        try:
            os.chmod(folder, 0o700)
            with os.scandir(folder) as entries:
                waiting += [e.path for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:
            continue


def remove_path(path: bytes) -> None:
    """Remove a file or tree if it exists. A link is removed, not followed."""
    if os.path.isdir(path) and not os.path.islink(path):
        make_removable(path)
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        with suppress(FileNotFoundError):
            os.unlink(path)

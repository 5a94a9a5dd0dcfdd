"""Files on the head node's disk: packed for their way home, and unpacked, whole or not at all."""

import gzip
import io
import os
import shutil
import stat
import tarfile
import tempfile
from typing import IO, Any, cast

from backends.parallelcluster.head_node.names import NAMES, REGULAR, Request, place, text


def pack_results(request: Request, out: Any) -> None:
    """A compressed tar of what attempts have left, as <number of the attempt>/<path in result>."""
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=6) as packed:
        with tarfile.open(fileobj=cast(Any, packed), mode="w|", **NAMES) as tar:
            for number, attempt in enumerate(request["attempts"]):
                pack(tar, place(request["run_dir"], attempt, "result"), str(number))


def pack(tar: tarfile.TarFile, top: bytes, name: str) -> None:
    """A tree; what is neither file nor directory goes as a link, for the other side to refuse."""
    waiting = [(top, name)]
    while waiting:
        path, name = waiting.pop()
        try:
            mode = os.lstat(path).st_mode
            content = os.fdopen(os.open(path, REGULAR), "rb") if stat.S_ISREG(mode) else None
            below = sorted(os.listdir(path)) if stat.S_ISDIR(mode) else []
        except FileNotFoundError:
            continue
        except OSError:  # closed to its owner
            mode, content, below = stat.S_IFLNK, None, []
        if content is not None:
            add_file(tar, content, name)
            continue
        member = tarfile.TarInfo(name)
        member.type = tarfile.DIRTYPE if stat.S_ISDIR(mode) else tarfile.SYMTYPE
        member.mode = stat.S_IMODE(mode)
        tar.addfile(member)
        waiting += [(place(path, entry), name + "/" + text(entry)) for entry in below]


def add_file(tar: tarfile.TarFile, content: IO[bytes], name: str) -> None:
    """As long as it is now, whatever happens to it meanwhile."""
    with content as stream:
        found = os.fstat(stream.fileno())
        member = tarfile.TarInfo(name)
        member.size, member.mode = found.st_size, stat.S_IMODE(found.st_mode)
        tar.addfile(member, cast(Any, Padded(stream)))


class Padded:
    """A file that is cut, or lost, while it is read goes on with zeros: its digest will tell."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except OSError:
            data = b""
        return data + b"\0" * (size - len(data))


def unpack(chunks: Any, run_dir: bytes, code: bytes) -> None:
    """`run/...` into the run's directory, `code/...` beside all runs, whole or not at all."""
    os.makedirs(run_dir, exist_ok=True)
    fresh = tempfile.mkdtemp(prefix=b".code-", dir=os.path.dirname(code))
    places = {"run": run_dir, "code": fresh}
    try:
        with tarfile.open(
            fileobj=gzip.GzipFile(fileobj=chunks, mode="rb"), mode="r|", **NAMES
        ) as tar:
            for member in tar:
                top, _, name = member.name.partition("/")
                path = place(places[top], name)
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
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def open_up(path: bytes) -> None:
    """Allow the removal of what is below; what ran there may have forbidden it."""
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
    """A link is removed, not followed."""
    if os.path.isdir(path) and not os.path.islink(path):
        open_up(path)
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

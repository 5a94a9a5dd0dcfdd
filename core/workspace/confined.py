"""File operations below one directory that never follow a symbolic link.

Every component is opened from the descriptor of the one above it with O_NOFOLLOW, so that nothing
that is put into the tree, before or during an operation, can lead it out. Files are replaced by
rename and never changed in place, so a hard link or an open descriptor elsewhere keeps its bytes.
"""

import errno
import os
import secrets
import stat
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from core.errors import WorkspaceError
from core.paths import fold, give_to_owner

_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # NONBLOCK: opening a FIFO must not wait
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | _FLAGS
MAX_ENTRIES = 200_000
"""The limit of one scan."""
_MAX_DEPTH = 120  # no path that may be used goes deeper: core.paths.MAX_PATH_CHARS
_LIST = "Use list_files to see what is there."
_REASONS = {
    errno.ENOENT: "does not exist",
    errno.ENOTDIR: "goes through a file or a symbolic link as if it were a directory",
    errno.ELOOP: "is or goes through a symbolic link, which is refused",
    errno.EISDIR: "is a directory",
    errno.EACCES: "may not be opened",
    errno.EPERM: "may not be changed",
}


KnownNames = dict[str, dict[str, set[str]]]
"""The names in directories, by their folded form."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which file has a name, and when it was last changed: a process without privileges cannot set
    that time back, so a file of the same stamp has the same content and mode."""

    inode: int
    changed_ns: int


@dataclass(frozen=True, slots=True)
class TreeScan:
    """Everything below a directory: usable regular files as (path, bytes), and for each other path
    why it is not; both ordered by path. Not `whole` when there was too much."""

    files: list[tuple[str, int]] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    whole: bool = True


class ConfinedTree:
    """The files below `root`. Paths have passed core.paths; "" is the root itself. Raises
    WorkspaceError for what the tree makes impossible; a broken disk stays an OSError."""

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

    def mode(self, path: str) -> int:
        """0o755 for a regular file that its owner may execute, else 0o644."""
        with _refusals(path), self._file(path) as fd:
            return 0o755 if os.fstat(fd).st_mode & 0o100 else 0o644

    def read(self, path: str, limit: int = -1) -> bytes:
        """The content of a regular file, of a longer one the first `limit` bytes."""
        with _refusals(path), self._file(path) as fd, open(fd, "rb", closefd=False) as stream:
            return stream.read(limit)

    def write(
        self, path: str, data: bytes, mode: int = 0o644, known: KnownNames | None = None
    ) -> Stamp:
        """Create or replace a file whole, making its directories. Refused where another name
        differs from a part of `path` in case only. `known` serves many calls while nobody else
        writes: each directory is read once."""
        *parents, name = path.split("/")
        known = {} if known is None else known
        with _refusals(path), self._making(parents, known) as directory:
            _refuse_case_clash(directory, "/".join(parents), name, known)
            _replace(directory, name, data, mode)
            return _stamp(os.stat(name, dir_fd=directory, follow_symlinks=False))

    def scan(self, below: str = "", limit: int = MAX_ENTRIES) -> TreeScan:
        """Everything below a directory that can be seen. Raises WorkspaceError when there is no
        such directory."""
        scan = TreeScan()
        with _refusals(below or "."), self._directory(_parts(below)):
            pass
        pending, left = [below], limit
        while pending and left > 0:
            left -= self._scan_directory(pending.pop(), scan, pending, left)
        for entries in (scan.files, scan.others):
            entries.sort()
        return replace(scan, whole=not pending and left > 0)

    def _scan_directory(self, where: str, scan: TreeScan, pending: list[str], limit: int) -> int:
        """Add a directory's files to `scan` and its directories to `pending`; the entries read."""
        count = 0
        try:
            with self._directory(_parts(where)) as directory, os.scandir(directory) as entries:
                for entry in islice(entries, limit):
                    count += 1
                    path = f"{where}/{entry.name}" if where else entry.name
                    info = entry.stat(follow_symlinks=False)
                    if (fault := _fault(info.st_mode, path)) is not None:
                        scan.others.append((path, fault))
                    elif stat.S_ISDIR(info.st_mode):
                        pending.append(path)
                    else:
                        scan.files.append((path, info.st_size))
                        scan.stamps[path] = _stamp(info)
        except OSError as exc:
            if exc.errno not in _REASONS:
                raise
            scan.others.append((where, f"cannot be looked into: {exc.strerror}"))
        return count

    def move_out(self, path: str, destination: Path) -> None:
        """Move a file to `destination`, which is outside the tree and on the same file system. Of
        several names of one file each becomes a file: an archive would hold a link for one."""
        *parents, name = path.split("/")
        with _refusals(path), self._directory(parents) as directory:
            info = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(info.st_mode) and info.st_nlink > 1:
                _replace(directory, name, self.read(path), stat.S_IMODE(info.st_mode))
            os.replace(name, destination, src_dir_fd=directory)

    def remove(self, path: str) -> None:
        """Remove a regular file, and the directories above it that are empty then."""
        *parents, name = path.split("/")
        with _refusals(path), self._file(path):
            pass
        with _refusals(path), self._directory(parents) as directory:
            os.unlink(name, dir_fd=directory)
        for depth in range(len(parents), 0, -1):
            with suppress(OSError), self._directory(parents[: depth - 1]) as above:
                os.rmdir(parents[depth - 1], dir_fd=above)

    @contextmanager
    def _file(self, path: str) -> Iterator[int]:
        *parents, name = path.split("/")
        with self._directory(parents) as directory:
            fd = os.open(name, os.O_RDONLY | _FLAGS, dir_fd=directory)
        try:
            if not stat.S_ISREG(kind := os.fstat(fd).st_mode):
                noun = "a directory" if stat.S_ISDIR(kind) else "not a regular file"
                raise WorkspaceError(f"{path!r} is {noun}.", _LIST)
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _directory(
        self, parts: list[str], make: Callable[[int, int], None] | None = None
    ) -> Iterator[int]:
        fd = os.open(self._root, _DIRECTORY)
        try:
            for depth, part in enumerate(parts):
                if make is not None:
                    make(fd, depth)
                below = os.open(part, _DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    def _making(self, parts: list[str], known: KnownNames) -> AbstractContextManager[int]:
        """Opens a directory that is made when it is not there."""

        def make(above: int, depth: int) -> None:
            _refuse_case_clash(above, "/".join(parts[:depth]), parts[depth], known)
            with suppress(FileExistsError):
                os.mkdir(parts[depth], 0o755, dir_fd=above)

        return self._directory(parts, make)


def _stamp(info: os.stat_result) -> Stamp:
    return Stamp(info.st_ino, info.st_ctime_ns)


def _parts(path: str) -> list[str]:
    return path.split("/") if path else []


def _replace(directory: int, name: str, data: bytes, mode: int) -> None:
    temporary = f".{secrets.token_hex(8)}.part"  # a fixed length: `name` may fill NAME_MAX
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS, mode, dir_fd=directory)
    try:
        with open(fd, "wb") as stream:
            stream.write(data)
            give_to_owner(fd, mode)
        os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise


def _refuse_case_clash(directory: int, where: str, part: str, known: KnownNames) -> None:
    """Refuse `part` where it would be the same file as its neighbour on another system; `where` is
    the directory's path."""
    if where not in known:
        names = known[where] = {}
        for name in os.listdir(directory):
            names.setdefault(fold(name), set()).add(name)
    alike = known[where].setdefault(fold(part), set())
    for name in alike:
        if unicodedata.normalize("NFC", name) != part:
            path = f"{where}/{part}".lstrip("/")
            raise WorkspaceError(
                f"{path!r} differs only in case from {name!r}, which is there already.",
                "Use the name that is there, or one that differs in more than case.",
            )
    alike.add(part)


def _fault(mode: int, path: str) -> str | None:
    """Why an entry of this kind cannot be used; None when it can."""
    if stat.S_ISDIR(mode):
        if path.count("/") >= _MAX_DEPTH:
            return "is nested too deeply"
        return None if mode & 0o700 == 0o700 else "is closed to its owner; chmod u+rwx opens it"
    if stat.S_ISREG(mode):
        return None if mode & 0o400 else "may not be read by its owner; chmod u+r mends that"
    kind = "a symbolic link" if stat.S_ISLNK(mode) else "a special file"
    return f"is {kind}; only files can be handed in"


@contextmanager
def _refusals(path: str) -> Iterator[None]:
    """Turn an OSError that is due to the path into a WorkspaceError."""
    try:
        yield
    except OSError as exc:
        if (reason := _REASONS.get(exc.errno or 0)) is None:
            raise
        raise WorkspaceError(f"{path!r} {reason}.", _LIST) from exc


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file. Raises OSError for anything else: a link is not followed, and
    a FIFO not waited for."""
    fd = os.open(path, flags | _FLAGS, 0o644)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return fd


def read_regular(path: Path, limit: int) -> bytes:
    """The content of a regular file. OSError for anything else, and for more than `limit` bytes."""
    with open(open_regular(path), "rb") as stream:
        # room is made for what is asked for, and not for what is there
        data = stream.read(min(os.fstat(stream.fileno()).st_size, limit) + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"has more than {limit} bytes", str(path))
    return data


def remove_tree(path: Path) -> None:
    """Remove whatever has this name, as far as that is allowed. Links are removed and never
    followed, other file systems are left alone; neither closed directories nor deep nesting are in
    the way."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
        path.chmod(0o700)
        root = os.open(path, _DIRECTORY)
    except OSError:
        return
    try:
        _empty(root)
    finally:
        os.close(root)
    with suppress(OSError):
        path.rmdir()


def _empty(root: int) -> None:
    """Remove all below; directories are moved up into the root first, so that no depth matters."""
    device = os.fstat(root).st_dev
    pending = _without_files(root, root)
    while pending:
        name = pending.pop()
        with suppress(OSError):
            directory = os.open(name, _DIRECTORY, dir_fd=root)
            try:
                if os.fstat(directory).st_dev != device:
                    continue
                pending += _without_files(directory, root)
            finally:
                os.close(directory)
            os.rmdir(name, dir_fd=root)


def _without_files(directory: int, root: int) -> list[str]:
    """Unlink what is no directory; the directories by their new names below `root`."""
    moved: list[str] = []
    for name in os.listdir(directory):
        with suppress(OSError):
            if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=directory)
                continue
            os.chmod(name, 0o700, dir_fd=directory)
            to = name if directory == root else f".{secrets.token_hex(8)}.part"
            os.rename(name, to, src_dir_fd=directory, dst_dir_fd=root)
            moved.append(to)
    return moved

"""The tree of a commit, changed entry by entry: what is not changed keeps its place to the byte,
whatever its names and modes are. Only the directories on the way are read and written."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, cast

from core.paths import fold
from engine.repository.git import Git, ObjectReader, ended_early

TreeWriter = Callable[[bytes], str]
SUBMODULE = 0o160000
_LARGEST_TREE_BYTES = 256 * 1024 * 1024
_TYPES = {stat.S_IFDIR: b"tree", stat.S_IFMT(SUBMODULE): b"commit"}
_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFMT(SUBMODULE): "a submodule",
}


def kind_of(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "a file")


@dataclass(slots=True)
class _Directory:
    """`oid` is "" from a change until it is written."""

    oid: str
    entries: dict[bytes, "tuple[int, str | _Directory]"] = field(default_factory=dict)
    folded: dict[str, bytes] = field(default_factory=dict)

    def put(self, name: bytes, mode: int, value: "str | _Directory") -> None:
        self.entries[name] = (mode, value)
        self.folded[fold(os.fsdecode(name))] = name

    def drop(self, name: bytes) -> None:
        del self.entries[name]
        if self.folded.get(key := fold(os.fsdecode(name))) == name:
            del self.folded[key]


class Tree:
    """Paths are POSIX and from the root of the tree."""

    def __init__(self, reader: ObjectReader, oid: str) -> None:
        """`oid` is a tree's; empty for one without entries."""
        self._reader = reader
        self._root = self._read(oid) if oid else _Directory("")

    def file(self, path: str) -> tuple[int, str] | None:
        """Mode and id of what is no directory at `path`; None where there is no such."""
        *above, name = _names(path)
        directory: _Directory | None = self._root
        for part in above:
            directory = directory and self._below(directory, part)
        mode, value = directory.entries.get(name, (0, "")) if directory else (0, "")
        return (mode, value) if mode and isinstance(value, str) and not stat.S_ISDIR(mode) else None

    def obstacle(self, path: str) -> str | None:
        """Why no file can be put at `path`, except in place of one."""
        directory, names = self._root, _names(path)
        for count, name in enumerate(names, 1):
            if (found := directory.entries.get(name)) is None:
                other = directory.folded.get(fold(os.fsdecode(name)))
                why = f"{os.fsdecode(other or b'')!r} is there, which differs only in case"
                return why if other else None
            here = os.fsdecode(b"/".join(names[:count]))
            below = self._below(directory, name)
            if (count == len(names)) == (below is not None):
                return f"{here!r} is {kind_of(found[0])} there"
            directory = below or directory
        return None

    def put(self, path: str, mode: int, oid: str) -> None:
        """There must be no obstacle."""
        *above, name = _names(path)
        directory = self._root
        directory.oid = ""
        for part in above:
            below = self._below(directory, part)
            if below is None:
                below = _Directory("")
                directory.put(part, stat.S_IFDIR, below)
            directory = below
            directory.oid = ""
        directory.put(name, mode, oid)

    def remove(self, path: str) -> None:
        """What is no directory, and the directories that are empty then."""
        names = _names(path)
        way = [self._root]
        for part in names[:-1]:
            way.append(cast(_Directory, self._below(way[-1], part)))
        for directory, name in zip(reversed(way), reversed(names), strict=True):
            directory.drop(name)
            if directory.entries:
                break
        for directory in way:
            directory.oid = ""

    def write(self, writer: TreeWriter) -> str:
        """Store what was changed; gives the id of the whole."""
        return self._write(self._root, writer)

    def _write(self, directory: _Directory, writer: TreeWriter) -> str:
        if not directory.oid:
            lines = []
            for name, (mode, value) in directory.entries.items():
                oid = value if isinstance(value, str) else self._write(value, writer)
                kind = _TYPES.get(stat.S_IFMT(mode), b"blob")
                lines.append(b"%o %s %s\t%s\0" % (mode, kind, oid.encode(), name))
            directory.oid = writer(b"".join(lines))
        return directory.oid

    def _below(self, directory: _Directory, name: bytes) -> _Directory | None:
        """The directory of this name, read when it is first needed."""
        mode, value = directory.entries.get(name, (0, ""))
        if isinstance(value, _Directory):
            return value
        if not stat.S_ISDIR(mode):
            return None
        below = self._read(value)
        directory.entries[name] = (mode, below)
        return below

    def _read(self, oid: str) -> _Directory:
        data, made, at = self._reader.read(oid, _LARGEST_TREE_BYTES), _Directory(oid), 0
        while at < len(data):
            end = data.index(b"\0", at)
            mode, _, name = data[at:end].partition(b" ")
            at = end + 1 + len(oid) // 2
            made.put(name, int(mode, 8), data[end + 1 : at].hex())
        return made


def _names(path: str) -> list[bytes]:
    return [os.fsencode(part) for part in path.split("/")]


@contextmanager
def tree_writer(git: Git) -> Iterator[TreeWriter]:
    """Stores trees, each given by its entries as `git mktree -z` reads them, by one process."""
    with git.talk("mktree", "-z", "--missing", "--batch") as process:
        into, out = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)

        def write(entries: bytes) -> str:
            into.write(entries + b"\0")
            into.flush()
            if not (told := out.readline().decode().strip()):
                raise ended_early("mktree", git.git_dir)
            return told

        yield write

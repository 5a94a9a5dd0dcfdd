"""Files of a directory, brought from one state to another, all or none: what they hold in every
state is kept first, then what is meant to be done is written down, then it is done. What was cut
off is taken back by the next call. A file that holds none of its states is left to its owner."""

import os
import re
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Literal

from core.errors import MergeError
from core.wire import decode, encode, write_atomic
from core.workspace.confined import ConfinedTree
from engine.repository.left_out import printable

_MOST_NAMED = 5
_PART = re.compile(r"\.[0-9a-f]{16}\.part")  # what a write of ConfinedTree leaves when it is killed
_State = Literal["before", "previous", "after"]


class Stage(StrEnum):
    REPLACING = "REPLACING"
    REPLACED = "REPLACED"
    UNDOING = "UNDOING"
    UNDONE = "UNDONE"


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds, and its permission bits; 0 for `mtime_ns` is the time of writing."""

    sha256: str
    size: int
    mode: int
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """One file before the run, before this change and after it; None where it is absent."""

    path: str
    before: Content | None
    previous: Content | None
    after: Content | None


@dataclass(frozen=True, slots=True)
class UndoRecord:
    """`made` are directories that were made for the files."""

    stage: Stage
    changes: tuple[Change, ...]
    made: tuple[str, ...] = ()
    version: int = 1


class Replacement:
    """`undo` is the run's directory for it, `directory` the one whose files change."""

    def __init__(self, undo: Path, directory: Path) -> None:
        self._undo = undo
        self._directory = directory
        self._tree = ConfinedTree(directory)

    def record(self) -> UndoRecord | None:
        path = self._undo / "undo.json"
        return decode(UndoRecord, path.read_bytes(), str(path)) if path.exists() else None

    def settle(self) -> tuple[Change, ...]:
        """Take back what was cut off; gives what was replaced before that."""
        record = self.record()
        if record is None or record.stage is Stage.UNDONE:
            return ()
        if record.stage is Stage.UNDOING:
            self.take_back(record)
            return ()
        if record.stage is Stage.REPLACING:
            self._bring(record, "previous")
            record = self._write(Stage.REPLACED, record, "previous")
        return record.changes

    def read(self, path: str, size: int) -> tuple[bytes, Content] | None:
        """What a regular file of this size holds now; None where there is no such."""
        if self.kind(path) != "file":
            return None
        info = os.lstat(self._directory / path)
        data = self._tree.read(path, size + 1)
        digest = sha256(data).hexdigest()
        return data, Content(digest, len(data), stat.S_IMODE(info.st_mode), info.st_mtime_ns)

    def kind(self, path: str) -> str:
        """ "file", "directory" or "other"; empty where there is nothing, or no way to it."""
        place = self._directory
        for part in path.split("/"):
            place = place / part
            try:
                mode = os.lstat(place).st_mode
            except (FileNotFoundError, NotADirectoryError):
                return ""
            if not stat.S_ISDIR(mode):
                is_last = place == self._directory / path
                return ("file" if stat.S_ISREG(mode) else "other") if is_last else ""
        return "directory"

    def keep(self, digest: str, data: bytes) -> None:
        place = self._undo / "contents" / digest
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(place, data, 0o600, durable=True)

    def carry_out(self, changes: Sequence[Change]) -> None:
        """Everything that the changes name is kept by now."""
        earlier = self.record()
        made = set(earlier.made) if earlier and earlier.stage is not Stage.UNDONE else set()
        for change in changes:
            above = change.path.split("/")[:-1] if change.after else []
            names = ("/".join(above[:depth]) for depth in range(1, len(above) + 1))
            made.update(name for name in names if self.kind(name) != "directory")
        record = UndoRecord(Stage.REPLACING, tuple(changes), tuple(sorted(made)))
        self._write(Stage.REPLACING, record)
        try:
            self._bring(record, "after")
        except BaseException:
            self._bring(record, "previous")
            self._write(Stage.REPLACED, record, "previous")
            raise
        self._write(Stage.REPLACED, record, "after")

    def take_back(self, record: UndoRecord) -> None:
        self._refuse_others(record)
        self._write(Stage.UNDOING, record)
        self._bring(record, "before")
        self._write(Stage.UNDONE, record)

    def of_others(self, changes: Iterable[Change]) -> list[str]:
        """The files that hold none of their states."""
        return [
            change.path
            for change in changes
            if not any(
                self._holds(change.path, content)
                for content in (change.before, change.previous, change.after)
            )
        ]

    def _refuse_others(self, record: UndoRecord) -> None:
        if others := self.of_others(record.changes):
            raise changed_meanwhile(self._directory, others)

    def _holds(self, path: str, content: Content | None) -> bool:
        if content is None:
            return self.kind(path) in ("", "directory")
        if self.kind(path) != "file" or self._tree.size(path) != content.size:
            return False
        return sha256(self._tree.read(path)).hexdigest() == content.sha256

    def _is(self, path: str, content: Content) -> bool:
        """Whether nothing of it is left to be done."""
        if not self._holds(path, content):
            return False
        return content.mtime_ns in (0, os.lstat(self._directory / path).st_mtime_ns)

    def _bring(self, record: UndoRecord, state: _State) -> None:
        self._refuse_others(record)
        self._remove_parts(record.changes)
        wanted: list[tuple[str, Content | None]] = [
            (change.path, getattr(change, state)) for change in record.changes
        ]
        for path, content in wanted:  # first, to make room for directories and files
            if content is None and self.kind(path) == "file":
                self._tree.remove(path)
        for path, content in wanted:
            if content is not None and not self._is(path, content):
                self._put(path, content)
        if state != "after":
            for name in reversed(record.made):
                with suppress(OSError):
                    (self._directory / name).rmdir()
        above = {p for path, _ in wanted for p in (self._directory / path).parents}
        for place in above:
            if place.is_relative_to(self._directory) and place.is_dir():
                _sync(place)

    def _put(self, path: str, content: Content) -> None:
        data = (self._undo / "contents" / content.sha256).read_bytes()
        if sha256(data).hexdigest() != content.sha256:
            raise MergeError(
                f"What is kept of {path} is damaged in {self._undo}.",
                "Take that file from a copy of your own; something changes files of the run.",
            )
        self._tree.write(path, data, content.mode)
        place = self._directory / path
        if content.mtime_ns:
            os.utime(place, ns=(content.mtime_ns, content.mtime_ns), follow_symlinks=False)
        _sync(place)

    def _remove_parts(self, changes: Iterable[Change]) -> None:
        for above in {(self._directory / change.path).parent for change in changes}:
            if above.is_dir():
                for name in os.listdir(above):
                    if _PART.fullmatch(name):
                        (above / name).unlink(missing_ok=True)

    def _write(self, stage: Stage, record: UndoRecord, now: _State | None = None) -> UndoRecord:
        """`now`: the state that all files are in, which is the previous one of what follows."""
        if now is not None:
            states = [(c, getattr(c, now)) for c in record.changes]
            there = [replace(c, previous=state, after=state) for c, state in states]
            record = replace(record, changes=tuple(c for c in there if c.before != c.after))
        record = replace(record, stage=stage)
        self._undo.mkdir(exist_ok=True)
        write_atomic(self._undo / "undo.json", encode(record), durable=True)
        return record


def changed_meanwhile(directory: Path, paths: Sequence[str]) -> MergeError:
    names = ", ".join(printable(path) for path in paths[:_MOST_NAMED])
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return MergeError(
        f"In {directory} these were changed meanwhile: {names}{more}. Nothing was touched.",
        "Keep your versions elsewhere, put back what was there, and try again.",
    )


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

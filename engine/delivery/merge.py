"""Merge planning: which file of which owner comes to lie where in the target.

Pure: sources (in the plan's order) -> MergePlan. The first owner of a path keeps it; whatever
collides with it, also in case only or as file against directory, is kept beside it under a name
of its own, so that nothing is lost. engine.delivery.target writes the plan to disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from core.events import Conflict, Refused
from core.job import Manifest, ManifestEntry
from core.paths import MAX_NAME_BYTES, MAX_PATH_CHARS, fold, path_defect

_MAX_SUFFIX_CHARS = 20  # what is longer is no suffix, but a name with a dot in it


@dataclass(frozen=True, slots=True)
class MergeSource:
    """One owner's tree: `manifest` below `root`. The owner is a task id, or "contracts"."""

    owner: str
    root: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class MergedFile:
    """`source` goes to `path` in the target; `entry` is what its owner's manifest says of it."""

    path: str
    owner: str
    source: Path
    entry: ManifestEntry


@dataclass(frozen=True, slots=True)
class MergePlan:
    """`files` are ordered by path and collide on no file system; the rest is in source order."""

    files: tuple[MergedFile, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    refused: tuple[Refused, ...] = ()


def plan_merge(sources: Sequence[MergeSource]) -> MergePlan:
    """Lay the sources over each other, the earlier one winning every place.

    The same content at the same path is no conflict. Depends on nothing but the order of
    `sources` and what their manifests hold.
    """
    layout = _Layout()
    displaced: list[_Displaced] = []
    for file in _files(sources):
        if (why := path_defect(file.path)) is not None:
            layout.refused.append(Refused(file.path, file.owner, why))
        elif (clash := layout.clash(file.path)) is None:
            layout.place(file)
        elif not (clash.file and clash.at == file.path and _same(clash.file, file)):
            displaced.append(_Displaced(file, clash))
    # Afterwards, so that a copy kept beside never takes the place of a file somebody owns.
    for item in displaced:
        layout.keep_beside(item)
    files = tuple(sorted(layout.files.values(), key=lambda f: f.path))
    return MergePlan(files, tuple(layout.conflicts), tuple(layout.refused))


def merged_manifest(plan: MergePlan) -> Manifest:
    """The manifest of the target once `plan` is delivered."""
    return Manifest(tuple(replace(f.entry, path=f.path) for f in plan.files))


def _files(sources: Sequence[MergeSource]) -> Iterator[MergedFile]:
    for source in sources:
        for entry in sorted(source.manifest.entries, key=lambda e: e.path):
            told = replace(entry, mode=0o755 if entry.mode & 0o100 else 0o644)
            yield MergedFile(entry.path, source.owner, source.root / entry.path, told)


@dataclass(frozen=True, slots=True)
class _Clash:
    """What is in the way at `at`: a file, or a directory of `owner` when `file` is None."""

    at: str
    owner: str
    file: MergedFile | None


@dataclass(frozen=True, slots=True)
class _Displaced:
    file: MergedFile
    clash: _Clash


class _Layout:
    """The target as it fills up; keys are folded paths, so that case never tells two apart."""

    def __init__(self) -> None:
        self.files: dict[str, MergedFile] = {}
        self.conflicts: list[Conflict] = []
        self.refused: list[Refused] = []
        self._directories: dict[str, tuple[str, str]] = {}  # folded -> (as spelled, first owner)
        self._respelled: set[str] = set()
        self._kept: dict[str, list[MergedFile]] = {}  # the path wanted -> copies kept beside it

    def clash(self, path: str) -> _Clash | None:
        """What already lies where `path`, or a directory above it, wants to be."""
        for directory in _directories(path):
            if (file := self.files.get(fold(directory))) is not None:
                return _Clash(file.path, file.owner, file)
        if (file := self.files.get(fold(path))) is not None:
            return _Clash(file.path, file.owner, file)
        if (found := self._directories.get(fold(path))) is not None:
            return _Clash(*found, None)
        return None

    def place(self, file: MergedFile) -> None:
        self.files[fold(file.path)] = file
        for directory in _directories(file.path):
            spelled, owner = self._directories.setdefault(fold(directory), (directory, file.owner))
            if spelled != directory and directory not in self._respelled:
                self._respelled.add(directory)
                why = "the names of two directories differ in case only"
                owners = (owner, file.owner)
                self.conflicts.append(Conflict(spelled, owners, directory, why))

    def keep_beside(self, item: _Displaced) -> None:
        """Find a free name for a displaced file, near the place it wanted."""
        kept = self._kept.setdefault(item.file.path, [])
        copy = next((c for c in kept if _same(c, item.file)), None)
        if copy is None:
            free = (c for c in _names_beside(item) if self.clash(c) is None)
            copy = replace(item.file, path=next(free, ""))
            if (why := path_defect(copy.path)) is not None:
                why = f"collides with {item.clash.at!r} of {item.clash.owner}, and its copy {why}"
                self.refused.append(Refused(item.file.path, item.file.owner, why))
                return
            kept.append(copy)
            self.place(copy)
        owners = (item.clash.owner, item.file.owner)
        self.conflicts.append(Conflict(item.clash.at, owners, copy.path, _why(item)))


def _same(one: MergedFile, other: MergedFile) -> bool:
    return (one.entry.sha256, one.entry.size) == (other.entry.sha256, other.entry.size)


def _why(item: _Displaced) -> str:
    wanted, there = item.file.path, item.clash.at
    if item.clash.file is None:
        return f"{there!r} is a directory, and a file wants its name"
    if fold(wanted) != fold(there):
        return f"{there!r} is a file, and {wanted!r} needs a directory of that name"
    if wanted != there:
        return f"{wanted!r} differs from {there!r} in case only"
    return "both wrote it, with different content"


def _directories(path: str) -> Iterator[str]:
    """The directories above `path`, outermost first."""
    end = path.find("/")
    while end != -1:
        yield path[:end]
        end = path.find("/", end + 1)


def _names_beside(item: _Displaced) -> Iterator[str]:
    """`<stem>.conflict-<owner><suffix>` and on, for the part of the path that is in the way.

    Ends when even a stem of one character is too long.
    """
    depth = item.clash.at.count("/")
    parts = item.file.path.split("/")
    name = parts[depth]
    suffix = Path(name).suffix
    suffix = suffix if len(suffix) <= _MAX_SUFFIX_CHARS else ""
    used = len(item.file.path) - len(name)
    for number in count(1):
        tail = f".conflict-{item.file.owner}{'' if number == 1 else f'-{number}'}{suffix}"
        room = MAX_PATH_CHARS - used - len(tail)
        stem = _cut(name.removesuffix(suffix), room, MAX_NAME_BYTES - len(tail.encode()))
        if not stem:
            return
        yield "/".join([*parts[:depth], stem + tail, *parts[depth + 1 :]])


def _cut(stem: str, chars: int, size: int) -> str:
    """`stem` cut to at most `chars` characters and `size` bytes."""
    stem = stem[: max(0, chars)]
    return stem.encode()[: max(0, size)].decode(errors="ignore").rstrip(" ")

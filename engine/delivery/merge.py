"""Merge planning, without the disk: the first owner of a path keeps it; a file that collides with
it, also only in case or as file against directory, is kept beside it, so that nothing is lost."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import accumulate, count
from pathlib import Path

from core.events import Conflict, MadeAnew, Refused
from core.job import Manifest, ManifestEntry
from core.paths import MAX_NAME_BYTES, MAX_PATH_CHARS, fold, path_defect
from core.wire import encode

_MAX_SUFFIX_CHARS = 20  # a longer one is a name with a dot in it


@dataclass(frozen=True, slots=True)
class MergeSource:
    """One owner's tree: `manifest` below `root`, and the files of existing code that it `deleted`.
    The owner is a task id, or that of contracts."""

    owner: str
    root: Path
    manifest: Manifest
    deleted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MergedFile:
    """`source` goes to `path` in the target; `entry` is that of its owner's manifest."""

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
    made_anew: tuple[MadeAnew, ...] = ()

    @property
    def clean(self) -> bool:
        return not self.conflicts and not self.refused


def plan_merge(sources: Sequence[MergeSource]) -> MergePlan:
    """Lay the sources over each other; the earlier one wins each path.

    The same content at the same path is no conflict. Depends only on the order of `sources` and
    on their manifests.
    """
    layout = _Layout()
    displaced: list[tuple[MergedFile, _Clash]] = []
    for file in _files(sources):
        if (why := path_defect(file.path)) is not None:
            layout.refused.append(Refused(file.path, file.owner, why))
        elif (clash := layout.clash(file.path)) is None:
            layout.place(file)
        elif not (clash.file and clash.at == file.path and _same(clash.file, file)):
            displaced.append((file, clash))
    # Afterwards, so that a copy kept beside never takes the path of an owned file
    for file, clash in displaced:
        layout.keep_beside(file, clash)
    files = tuple(sorted(layout.files.values(), key=lambda f: f.path))
    return MergePlan(files, tuple(layout.conflicts), tuple(layout.refused))


def merge_over(base: MergePlan, source: MergeSource) -> MergePlan:
    """`base` with the files of `source` in place of what it has at the same paths, without those
    that it deleted; those that collide with others are refused. What is the same in both stays that
    of `base`."""
    new = {file.path: file for file in _files([source])}
    deleted = set(source.deleted) - new.keys()
    kept: list[MergedFile] = []
    for file in base.files:
        if (other := new.pop(file.path, None)) is not None:
            kept.append(file if _same(file, other) else other)
        elif file.path not in deleted:
            kept.append(file)
    layout, added = _Layout(), list[MergedFile]()
    for file in _in_the_way(kept, new):
        layout.place(file)
    for file in new.values():
        if (why := path_defect(file.path)) is None and (clash := layout.clash(file.path)):
            why = f"collides with {clash.at!r} of {clash.owner}"
        if why is None:
            layout.place(file)
            added.append(file)
        else:
            layout.refused.append(Refused(file.path, file.owner, why))
    files = tuple(sorted((*kept, *added), key=lambda f: f.path))
    return replace(base, files=files, refused=(*base.refused, *layout.refused))


def _in_the_way(files: Sequence[MergedFile], new: Collection[str]) -> Iterator[MergedFile]:
    """Those that `new` paths can collide with: a large tree is not laid out for a few files."""
    if not new:
        return
    folded = {fold(file.path): file for file in files}
    places = (fold(place) for path in new for place in (*_directories(path), path))
    for place in dict.fromkeys(places):
        if place in folded:
            yield folded[place]
    ordered = sorted(folded)
    for start in (f"{fold(path)}/" for path in new):
        number = bisect_left(ordered, start)
        if number < len(ordered) and ordered[number].startswith(start):
            yield folded[ordered[number]]


def merged_manifest(plan: MergePlan) -> Manifest:
    """The manifest of the target once `plan` is delivered."""
    return Manifest(tuple(replace(f.entry, path=f.path) for f in plan.files))


def tree_digest(files: Iterable[MergedFile]) -> str:
    """In hex; the same for the same content at the same paths."""
    entries = sorted((file.path, file.entry.sha256, file.entry.mode) for file in files)
    return sha256(encode(entries).encode()).hexdigest()


def _files(sources: Sequence[MergeSource]) -> Iterator[MergedFile]:
    for source in sources:
        for entry in sorted(source.manifest.entries, key=lambda e: e.path):
            plain = replace(entry, mode=0o755 if entry.mode & 0o100 else 0o644)
            yield MergedFile(entry.path, source.owner, source.root / entry.path, plain)


@dataclass(frozen=True, slots=True)
class _Clash:
    """What is in the way at `at`: a file, or a directory of `owner` when `file` is None."""

    at: str
    owner: str
    file: MergedFile | None


class _Layout:
    """The target as it fills up; keys are folded paths, so that case makes no difference."""

    def __init__(self) -> None:
        self.files: dict[str, MergedFile] = {}
        self.conflicts: list[Conflict] = []
        self.refused: list[Refused] = []
        self._directories: dict[str, tuple[str, str]] = {}  # folded -> (as spelled, first owner)
        self._respelled: set[str] = set()
        self._kept: dict[str, list[MergedFile]] = {}  # path -> copies kept beside it

    def clash(self, path: str) -> _Clash | None:
        """What is already where `path`, or a directory above it, would go."""
        for place in (*_directories(path), path):
            if (file := self.files.get(fold(place))) is not None:
                return _Clash(file.path, file.owner, file)
        found = self._directories.get(fold(path))
        return None if found is None else _Clash(*found, None)

    def place(self, file: MergedFile) -> None:
        self.files[fold(file.path)] = file
        for directory in _directories(file.path):
            spelled, owner = self._directories.setdefault(fold(directory), (directory, file.owner))
            if spelled != directory and directory not in self._respelled:
                self._respelled.add(directory)
                why = "the names of two directories differ only in case"
                self.conflicts.append(Conflict(spelled, (owner, file.owner), directory, why))

    def keep_beside(self, file: MergedFile, clash: _Clash) -> None:
        """Find a free name for a displaced file, near its own path."""
        kept = self._kept.setdefault(file.path, [])
        copy = next((c for c in kept if _same(c, file)), None)
        if copy is None:
            free = (c for c in _names_beside(file, clash) if self.clash(c) is None)
            copy = replace(file, path=next(free, ""))
            if (why := path_defect(copy.path)) is not None:
                why = f"collides with {clash.at!r} of {clash.owner}, and its copy {why}"
                self.refused.append(Refused(file.path, file.owner, why))
                return
            kept.append(copy)
            self.place(copy)
        owners = (clash.owner, file.owner)
        self.conflicts.append(Conflict(clash.at, owners, copy.path, _why(file, clash)))


def _same(one: MergedFile, other: MergedFile) -> bool:
    return (one.entry.sha256, one.entry.size) == (other.entry.sha256, other.entry.size)


def _why(file: MergedFile, clash: _Clash) -> str:
    if clash.file is None:
        return f"{clash.at!r} is a directory, and a file has the same name"
    if fold(file.path) != fold(clash.at):
        return f"{clash.at!r} is a file, and {file.path!r} needs a directory of that name"
    if file.path != clash.at:
        return f"{file.path!r} differs from {clash.at!r} only in case"
    return "both wrote it, with different content"


def _directories(path: str) -> Iterator[str]:
    """The directories above `path`, outermost first."""
    return accumulate(path.split("/")[:-1], "{}/{}".format)


def _names_beside(file: MergedFile, clash: _Clash) -> Iterator[str]:
    """`<stem>.conflict-<owner><suffix>`, then numbered, of what collides; ends for want of room."""
    depth, parts = clash.at.count("/"), file.path.split("/")
    name = parts[depth]
    suffix = Path(name).suffix
    suffix = suffix if len(suffix) <= _MAX_SUFFIX_CHARS else ""
    for number in count(1):
        tail = f".conflict-{file.owner}{'' if number == 1 else f'-{number}'}{suffix}"
        room = MAX_PATH_CHARS - len(file.path) + len(name) - len(tail)
        stem = _cut(name.removesuffix(suffix), room, MAX_NAME_BYTES - len(tail.encode()))
        if not stem:
            return
        yield "/".join([*parts[:depth], stem + tail, *parts[depth + 1 :]])


def _cut(stem: str, chars: int, size: int) -> str:
    """`stem` cut to at most `chars` characters and `size` bytes."""
    stem = stem[: max(0, chars)]
    return stem.encode()[: max(0, size)].decode(errors="ignore").rstrip(" ")

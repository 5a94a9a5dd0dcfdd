"""A change to existing code: the whole tree with the change in it, and what each task has changed.
Files that several of them share are merged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from core.events import CONTRACTS, EXISTING, Conflict, Refused
from core.job import Manifest, ManifestEntry
from core.wire import write_atomic
from engine.delivery.merge import MergedFile, MergePlan, MergeSource, merge_over
from engine.delivery.merged_file import read_as_judged
from engine.merging.merge import merge_versions
from engine.repository.base import BaseRecord
from engine.repository.branch import (
    obstacles,
)
from engine.run.rundir import RunDir

MARKED = "in conflict"
"""The owner of a file with markers."""
MERGE_TASK = "merge-1"
"""The task that makes one version of files that several tasks changed at the same place, and the
owner of lock files that were made anew."""


@dataclass(frozen=True, slots=True)
class Change:
    """The whole `tree`, and what each owner has changed in it, in order. `marked` are the files in
    conflict, with markers where versions differ; `versions` is by task what it made of the base and
    the contracts, alone, of those that have lost in a conflict. `locks` are lock files that are in
    conflict."""

    tree: MergePlan
    parts: tuple["Part", ...] = ()
    marked: tuple[MergedFile, ...] = ()
    versions: Mapping[str, tuple["Part", ...]] = field(default_factory=dict)
    locks: tuple[str, ...] = ()

    def plus(self, run: RunDir, source: MergeSource, shared: Sequence[str]) -> "Change":
        """With what `source` has changed; its versions of `shared` files are merged with those of
        the owners before it."""
        if not shared:
            return self.over(source)
        versions = _merge_shared(run, self, source, shared)
        laid = self.over(versions.source)
        part = laid.parts[-1]
        part = replace(part, files=tuple(map(versions.placed, part.files)))
        tree = replace(
            laid.tree,
            files=tuple(map(versions.placed, laid.tree.files)),
            conflicts=(*laid.tree.conflicts, *versions.conflicts),
        )
        marked = (*self.marked, *versions.marked)
        locks = (*self.locks, *versions.locks)
        return replace(laid, tree=tree, parts=(*self.parts, part), marked=marked, locks=locks)

    def settled(self, source: MergeSource, note: str = "") -> "Change":
        """With the files that `source` has made of all versions of what was in conflict."""
        done = set(source.manifest.paths)
        left = tuple(c for c in self.tree.conflicts if c.path not in done)
        tree = replace(self.tree, conflicts=left)
        marked = tuple(file for file in self.marked if file.path not in done)
        settled = replace(self, tree=tree, marked=marked).over(source)
        *before, part = settled.parts
        if before and before[-1].owner == part.owner:
            files = (*before.pop().files, *part.files)
            part = replace(part, files=files)
        return replace(settled, parts=(*before, replace(part, note=note)))

    def over(self, source: MergeSource) -> "Change":
        """With the files of `source` in place of what is there."""
        after = merge_over(self.tree, source)
        old = {file.path: file for file in self.tree.files}
        files = tuple(file for file in after.files if file is not old.get(file.path))
        gone = old.keys() - {file.path for file in after.files}
        part = Part(source.owner, files, tuple(sorted(gone)))
        return replace(self, tree=after, parts=(*self.parts, part))

    @property
    def files(self) -> tuple[MergedFile, ...]:
        """Those that are new or changed, as they are in the end."""
        return tuple(file for file in self.tree.files if file.owner != EXISTING)

    def deleted(self, base: BaseRecord) -> tuple[str, ...]:
        there = {file.path for file in self.tree.files}
        return tuple(path for path in base.manifest.paths if path not in there)


@dataclass(frozen=True, slots=True)
class Part:
    """What one owner has changed; its commit has the `note`."""

    owner: str
    files: tuple[MergedFile, ...]
    deleted: tuple[str, ...]
    note: str = ""

    def has(self, path: str) -> bool:
        return path in self.deleted or any(file.path == path for file in self.files)


def existing_tree(run: RunDir, base: BaseRecord) -> MergePlan:
    """The base as it was laid out."""
    return _existing_tree(run.base, base.manifest)


@lru_cache(maxsize=1)  # each step of the merge begins with it, and it takes a second to make
def _existing_tree(root: Path, manifest: Manifest) -> MergePlan:
    return MergePlan(
        tuple(MergedFile(e.path, EXISTING, root / e.path, e) for e in manifest.entries)
    )


def make_change(
    run: RunDir, base: BaseRecord, sources: Sequence[MergeSource], shared: Sequence[str]
) -> Change:
    """What the sources change, in their order. What cannot be where it belongs is refused."""
    paths = {path for source in sources for path in source.manifest.paths}
    deleted = {path for source in sources for path in source.deleted}
    blocked = obstacles(base, sorted(paths), sorted(deleted))
    change, refused = Change(existing_tree(run, base)), list[Refused]()
    bare, versions = change, dict[str, tuple[Part, ...]]()
    for source in sources:
        named = (*source.manifest.paths, *source.deleted)
        refused += (Refused(p, source.owner, blocked[p]) for p in named if p in blocked)
        entries = tuple(e for e in source.manifest.entries if e.path not in blocked)
        left = tuple(path for path in source.deleted if path not in blocked)
        source = replace(source, manifest=Manifest(entries), deleted=left)
        before, change = change, change.plus(run, source, shared)
        if source.owner == CONTRACTS:
            bare = change
        elif change.tree.conflicts != before.tree.conflicts:
            versions[source.owner] = bare.over(source).parts
    tree = replace(change.tree, refused=(*change.tree.refused, *refused))
    return replace(change, tree=tree, versions=versions)


@dataclass(frozen=True, slots=True)
class _Versions:
    """A `source` whose shared files are as they are `merged`: their places by path. Those in
    conflict are left out."""

    source: MergeSource
    merged: Mapping[str, Path]
    conflicts: Sequence[Conflict]
    marked: Sequence[MergedFile]
    locks: Sequence[str]

    def placed(self, file: MergedFile) -> MergedFile:
        is_own = file.owner == self.source.owner and file.path in self.merged
        return replace(file, source=self.merged[file.path]) if is_own else file


def _merge_shared(
    run: RunDir, change: Change, source: MergeSource, shared: Sequence[str]
) -> _Versions:
    entries = {entry.path: entry for entry in source.manifest.entries}
    deleted, merged, conflicts = set(source.deleted), dict[str, Path](), list[Conflict]()
    marked: list[MergedFile] = []
    locks: list[str] = []
    there = {file.path: file for file in change.tree.files}
    for path in shared:
        before = [part.owner for part in change.parts if part.has(path)]
        if not before or not (path in entries or path in deleted):
            continue
        earlier, entry, original = there.get(path), entries.pop(path, None), run.base / path
        own = source.root / path
        found = merge_versions(
            path,
            original.read_bytes() if original.exists() else None,
            [
                (" and ".join(before), read_as_judged(earlier) if earlier else None),
                (source.owner, own.read_bytes() if entry else None),
            ],
        )
        deleted.discard(path)
        if found.conflicts:
            why = ": ".join(filter(None, (found.how, ", ".join(found.places))))
            why += f"; make it anew: {found.remake}" if found.remake else ""
            kept = str(own) if entry else f"deleted by {source.owner}"
            conflicts.append(Conflict(path, (before[-1], source.owner), kept, why))
            if found.remake:
                locks.append(path)
            if found.marked:
                marked.append(store_merged(run, MARKED, path, found.marked, entry))
        elif found.content is not None:
            known = entry or (earlier.entry if earlier else None)
            stored = store_merged(run, source.owner, path, found.content, known)
            entries[path], merged[path] = stored.entry, stored.source
    manifest = Manifest(tuple(entries[path] for path in sorted(entries)))
    source = replace(source, manifest=manifest, deleted=tuple(sorted(deleted)))
    return _Versions(source, merged, conflicts, marked, locks)


def store_merged(
    run: RunDir, owner: str, path: str, content: bytes, like: ManifestEntry | None
) -> MergedFile:
    """Several versions as one, in the run directory; its mode is that of `like`."""
    place = run.merged / owner / path
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(place, content)
    mode = like.mode if like else 0o644
    entry = ManifestEntry(path, len(content), sha256(content).hexdigest(), mode)
    return MergedFile(path, owner, place, entry)

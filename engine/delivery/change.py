"""A change to existing code: the whole tree with the change in it, delivered as a branch with a
commit for each task, or into a directory that is no repository."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from core.errors import MergeError
from core.events import CONTRACTS, EXISTING, Conflict, Delivered, MergeIntended, Refused
from core.job import Manifest, ManifestEntry, TaskResult
from core.plan import Plan
from core.wire import write_atomic
from engine.delivery.merge import MergedFile, MergePlan, MergeSource, merge_over
from engine.delivery.merged_file import read_as_judged
from engine.merging.merge import merge_versions
from engine.repository.base import BaseRecord
from engine.repository.branch import (
    ChangedFile,
    CommitStep,
    commit_steps,
    commit_versions,
    how_to_compare,
    how_to_take,
    obstacles,
)
from engine.repository.lfs import paths_for_lfs
from engine.repository.plain import replace_files
from engine.repository.run_branches import branch_name, version_name
from engine.run.rundir import RunDir, write_deliveries
from engine.run.session import Session

_KINDS = {CONTRACTS: "Contracts", "merge": "Merge", "repair": "Repair"}
MARKED = "in conflict"
"""The owner of a file with markers."""


@dataclass(frozen=True, slots=True)
class Change:
    """The whole `tree`, and what each owner has changed in it, in order. `marked` are the files in
    conflict, with markers where versions differ; `versions` is by task what it made of the base and
    the contracts, alone, of those that have lost in a conflict."""

    tree: MergePlan
    parts: tuple["Part", ...] = ()
    marked: tuple[MergedFile, ...] = ()
    versions: Mapping[str, tuple["Part", ...]] = field(default_factory=dict)

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
        return replace(laid, tree=tree, parts=(*self.parts, part), marked=marked)

    def settled(self, source: MergeSource) -> "Change":
        """With the files that `source` has made of all versions of what was in conflict."""
        done = set(source.manifest.paths)
        left = tuple(c for c in self.tree.conflicts if c.path not in done)
        tree = replace(self.tree, conflicts=left)
        marked = tuple(file for file in self.marked if file.path not in done)
        return replace(self, tree=tree, marked=marked).over(source)

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
    """What one owner has changed."""

    owner: str
    files: tuple[MergedFile, ...]
    deleted: tuple[str, ...]

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


def deliver_change(
    session: Session,
    base: BaseRecord,
    plan: Plan,
    change: Change,
    results: Mapping[str, TaskResult],
) -> MergePlan:
    """All of it or nothing. Returns the whole tree. Raises MergeError."""
    run, tree = session.run, change.tree
    if not change.files and not change.deleted(base):
        raise MergeError(
            "The tasks have changed nothing.", "Say more exactly what is to be different."
        )
    write_deliveries(run, (Manifest(tuple(file.entry for file in change.files)),))
    session.emit(MergeIntended(base.directory, len(change.files)))
    session.journal.commit()
    delivered = Delivered(
        base.directory, len(change.files), tree.conflicts, tree.refused, len(change.deleted(base))
    )
    if base.is_plain:
        replace_files(run, base, [_stored(f) for f in change.files], change.deleted(base))
        delivered = replace(delivered, undo=True)
    else:
        commit = commit_steps(run, base, [*steps_of(session, plan, change.parts, results)])
        tree = _with_branches(session, base, plan, change, results)
        branch, take = branch_name(run.run_id), how_to_take(base, run.run_id)
        delivered = replace(
            delivered, conflicts=tree.conflicts, branch=branch, commit=commit, take=take
        )
        new = {file.path for file in change.files} - set(base.manifest.paths)
        delivered = replace(delivered, not_in_lfs=tuple(paths_for_lfs(base, commit, new)))
    session.emit(delivered)
    return tree


def _with_branches(
    session: Session,
    base: BaseRecord,
    plan: Plan,
    change: Change,
    results: Mapping[str, TaskResult],
) -> MergePlan:
    """The tree, whose conflicts name the branches of the tasks that have lost in them."""
    run, losers = session.run, {conflict.owners[1] for conflict in change.tree.conflicts}
    versions = {
        task: [*steps_of(session, plan, parts, results)]
        for task, parts in change.versions.items()
        if task in losers
    }
    there = commit_versions(run, base, versions)

    def named(conflict: Conflict) -> Conflict:
        if (task := conflict.owners[1]) not in there:
            return conflict
        look = how_to_compare(base, run.run_id, task, conflict.path)
        return replace(conflict, kept_as=version_name(run.run_id, task), look=look)

    return replace(change.tree, conflicts=tuple(map(named, change.tree.conflicts)))


def steps_of(
    session: Session, plan: Plan, parts: Iterable[Part], results: Mapping[str, TaskResult]
) -> Iterator[CommitStep]:
    """The commit of each owner; `results` are theirs."""
    titles = {task.id: task.title or task.id for task in plan.tasks}
    for part in parts:
        result = results.get(part.owner)
        subject = titles.get(part.owner) or (
            f"{_KINDS.get(part.owner.partition('-')[0], 'Repair')}: {plan.title}"
        )
        models = dict.fromkeys(usage.model for usage in result.usage) if result else ()
        cost = session.run_view.cost_of(part.owner)
        yield CommitStep(
            subject=subject,
            body=result.message if result else "",
            trailers=(
                ("Orchestrator-Run", session.run.run_id),
                ("Orchestrator-Task", part.owner),
                *(("Orchestrator-Model", model) for model in models),
                *([("Orchestrator-Cost", cost)] if cost else []),
            ),
            files=tuple(_stored(file) for file in part.files),
            deleted=part.deleted,
            when=session.facts.created,
        )


def _stored(file: MergedFile) -> ChangedFile:
    entry = file.entry
    return ChangedFile(file.path, file.source, entry.sha256, entry.size, entry.mode)


@dataclass(frozen=True, slots=True)
class _Versions:
    """A `source` whose shared files are as they are `merged`: their places by path. Those in
    conflict are left out."""

    source: MergeSource
    merged: Mapping[str, Path]
    conflicts: Sequence[Conflict]
    marked: Sequence[MergedFile]

    def placed(self, file: MergedFile) -> MergedFile:
        is_own = file.owner == self.source.owner and file.path in self.merged
        return replace(file, source=self.merged[file.path]) if is_own else file


def _merge_shared(
    run: RunDir, change: Change, source: MergeSource, shared: Sequence[str]
) -> _Versions:
    entries = {entry.path: entry for entry in source.manifest.entries}
    deleted, merged, conflicts = set(source.deleted), dict[str, Path](), list[Conflict]()
    marked: list[MergedFile] = []
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
            if found.marked:
                marked.append(_store(run, MARKED, path, found.marked, entry))
        elif found.content is not None:
            known = entry or (earlier.entry if earlier else None)
            stored = _store(run, source.owner, path, found.content, known)
            entries[path], merged[path] = stored.entry, stored.source
    manifest = Manifest(tuple(entries[path] for path in sorted(entries)))
    source = replace(source, manifest=manifest, deleted=tuple(sorted(deleted)))
    return _Versions(source, merged, conflicts, marked)


def _store(
    run: RunDir, owner: str, path: str, content: bytes, like: ManifestEntry | None
) -> MergedFile:
    """Several versions as one, in the run directory; its mode is that of `like`."""
    place = run.merged / owner / path
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(place, content)
    mode = like.mode if like else 0o644
    entry = ManifestEntry(path, len(content), sha256(content).hexdigest(), mode)
    return MergedFile(path, owner, place, entry)

"""Lock files of which several tasks have a version, or that no longer fit a manifest that several
have changed. Their own tool makes them anew, of the merged tree, and what came of it is kept in the
run directory, so that the same tree gets the same files whenever it is delivered."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from core.events import CONTRACTS, Conflict, MadeAnew
from core.job import Manifest
from core.wire import decode, encode, write_atomic
from engine.delivery.change import MERGE_TASK, Change, store_merged
from engine.delivery.merge import MergedFile, MergeSource, tree_digest
from engine.delivery.merged_file import read_as_judged
from engine.merging.lock_files import lock_command, manifest_of_lock
from engine.run.rundir import RunDir


@dataclass(frozen=True, slots=True)
class LockFile:
    """What became of one, in a tree of that digest: how its tool was called, and the file that it
    left; or `why_not`, the end of a sentence."""

    tree: str
    made: MadeAnew
    file: MergedFile | None = None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class WantedLock:
    """One to be made by the `command` from the `manifest` beside it. Its versions are in conflict
    if it `collides`; else it may no longer fit."""

    path: str
    command: str
    manifest: str
    collides: bool


@dataclass(frozen=True, slots=True)
class _Record:
    files: tuple[LockFile, ...] = ()
    version: int = 1


def wanted_lock_files(change: Change) -> Iterator[WantedLock]:
    """Those that have to be made anew."""
    conflicts = {conflict.path for conflict in change.tree.conflicts}
    for path in (file.path for file in change.tree.files if lock_command(file.path)):
        wanted = WantedLock(path, lock_command(path), manifest_of_lock(path), path in conflicts)
        if path in change.locks if wanted.collides else _has_several(change, wanted.manifest):
            yield wanted


def _has_several(change: Change, path: str) -> bool:
    """Whether several tasks have changed it."""
    return sum(part.has(path) for part in change.parts if part.owner != CONTRACTS) > 1


def keep_lock_file(run: RunDir, change: Change, end: LockFile, content: bytes = b"") -> None:
    """Keep what became of one; `content` is that of the file, if there is one."""
    path = end.made.path
    if content:
        there = next(file for file in change.tree.files if file.path == path)
        file = store_merged(run, MERGE_TASK, path, content, there.entry)
        end = replace(end, file=file)
    others = (known for known in _read(run) if known.made.path != path)
    record = _Record((*others, end))
    write_atomic(run.lock_files, encode(record), durable=True)


def made_lock_files(run: RunDir, change: Change) -> Mapping[str, LockFile]:
    """By path what became of those of this very tree; what is damaged is none."""
    known = _read(run)
    digest = tree_digest(change.tree.files) if known else ""
    of_tree = (end for end in known if end.tree == digest)
    return {e.made.path: e for e in of_tree if not e.file or read_as_judged(e.file) is not None}


def with_lock_files(run: RunDir, change: Change) -> Change:
    """With those that were made anew, in the commit of the merge; the conflicts of the others say
    why they were not."""
    ends = made_lock_files(run, change)
    made = {path: end for path, end in ends.items() if end.file}
    conflicts = tuple(_explained(change.tree.conflicts, ends))
    change = replace(change, tree=replace(change.tree, conflicts=conflicts))
    if not made:
        return change
    entries = tuple(end.file.entry for _, end in sorted(made.items()) if end.file)
    source = MergeSource(MERGE_TASK, run.merged / MERGE_TASK, Manifest(entries))
    told = tuple(made[path].made for path in sorted(made))
    note = "\n".join(f"{each.path} was made anew: {each.command}" for each in told)
    change = change.settled(source, note)
    return replace(change, tree=replace(change.tree, made_anew=told))


def _explained(conflicts: Iterable[Conflict], ends: Mapping[str, LockFile]) -> Iterable[Conflict]:
    for conflict in conflicts:
        end = ends.get(conflict.path)
        why_not = f" (not done here: {end.why_not})" if end and end.why_not else ""
        yield replace(conflict, why=conflict.why + why_not)


def _read(run: RunDir) -> tuple[LockFile, ...]:
    if not run.lock_files.exists():
        return ()
    return decode(_Record, run.lock_files.read_bytes(), str(run.lock_files)).files

"""A plain directory gets its files replaced as a whole or not at all, with the way back."""

import os
from collections.abc import Sequence
from pathlib import Path

from core.errors import MergeError, UsageError, WorkspaceError
from core.job import ManifestEntry
from core.paths import path_defect
from core.workspace.confined import ConfinedTree
from engine.repository.base import BaseRecord, read_base
from engine.repository.branch import ChangedFile, how_to_undo, proven_content
from engine.repository.replacement import Change, Content, Replacement, Stage, changed_meanwhile
from engine.run.rundir import RunDir


def replace_files(
    run: RunDir, base: BaseRecord, changed: Sequence[ChangedFile], deleted: Sequence[str]
) -> None:
    """Bring the directory from its base, or from what this run made of it, to the base with these
    changes. Refused where a file that would be touched is not as the run knows it. Raises
    MergeError."""
    directory = Path(base.directory)
    work = Replacement(run.undo, directory)
    try:
        _replace(work, base, changed, deleted)
    except (OSError, WorkspaceError) as exc:
        why = exc.message if isinstance(exc, WorkspaceError) else _cause(exc)
        raise MergeError(
            f"{directory} could not be changed, and is as it was: {why.rstrip('.')}.",
            "Remove the cause, then resume the run; its results are kept.",
        ) from exc


def _cause(exc: OSError) -> str:
    return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror or str(exc)


def undo(run: RunDir) -> tuple[str, ...]:
    """Give back every file that the run replaced, made or deleted in a plain directory; their
    paths. Raises UsageError where that cannot be, MergeError where one was changed since."""
    base = read_base(run)
    if base is None or not base.is_plain:
        remedy = "It made a new directory: remove that."
        if base is not None:
            remedy = f"What it has made goes with: {how_to_undo(base, run)}."
        raise UsageError(f"The run {run.run_id} replaced no files of a directory.", remedy)
    work = Replacement(run.undo, Path(base.directory))
    record = work.record()
    if record is None or not record.changes:
        remedy = "There is nothing to give back; `resume` goes on with the run."
        raise UsageError(f"The run {run.run_id} has replaced nothing in {base.directory}.", remedy)
    if record.stage is Stage.UNDONE:
        raise UsageError(f"The run {run.run_id} was undone already, in {base.directory}.")
    work.take_back(record)
    return tuple(c.path for c in record.changes if c.before != c.previous or c.before != c.after)


def _replace(
    work: Replacement, base: BaseRecord, changed: Sequence[ChangedFile], deleted: Sequence[str]
) -> None:
    known = {change.path: change for change in work.settle()}
    given = {entry.path: entry for entry in base.manifest.entries}
    files = {file.path: file for file in changed}
    changes: list[Change] = []
    others: list[str] = []
    for path in sorted({*files, *deleted, *known}):
        found = known.get(path) or _before(work, path, given.get(path))
        if found is None or (path in known and work.of_others([found])):
            others.append(path)
            continue
        after = _after(found, files[path]) if path in files else found.before
        after = None if path in deleted else after
        changes.append(Change(path, found.before, found.previous, after))
    if others:
        raise changed_meanwhile(Path(base.directory), others)
    if all(change.previous == change.after for change in changes):
        return
    _refuse_blocked(work, Path(base.directory), changes)
    for file in changed:
        work.keep(file.sha256, proven_content(file))
    work.carry_out(changes)


def _before(work: Replacement, path: str, entry: ManifestEntry | None) -> Change | None:
    """As the base has it, which is kept; None where the directory has something else there."""
    if entry is None:
        return Change(path, None, None, None)
    if (found := work.read(path, entry.size)) is None:
        return None
    data, content = found
    if content.sha256 != entry.sha256:
        return None
    work.keep(content.sha256, data)
    return Change(path, content, content, content)


def _after(found: Change, file: ChangedFile) -> Content:
    """With the permission bits that the file had, and may be executed as the result has it."""
    mode = found.before.mode if found.before else 0o644
    if file.mode & 0o100 and not mode & 0o100:
        mode |= (mode & 0o444) >> 2
    elif not file.mode & 0o100:
        mode &= ~0o111
    return Content(file.sha256, file.size, mode)


def _refuse_blocked(work: Replacement, directory: Path, changes: Sequence[Change]) -> None:
    """What is in the way of a file, and does not go by the same change."""
    gone = {change.path for change in changes if change.after is None}
    for change in changes:
        if change.after is None:
            continue
        if (why := path_defect(change.path)) is None:
            why = _blocked(work, directory, change.path, gone)
        if why is None and change.previous is None and work.kind(change.path) in ("file", "other"):
            why = "it is there, and was left out of the base"
        if why is not None:
            raise MergeError(
                f"{change.path} cannot be written in {directory}: {why}.",
                "Let the plan use another name, or change that there, then resume the run.",
            )


def _blocked(work: Replacement, directory: Path, path: str, gone: set[str]) -> str | None:
    parts = path.split("/")
    for depth in range(1, len(parts)):
        above = "/".join(parts[:depth])
        if work.kind(above) in ("file", "other") and above not in gone:
            return f"{above!r} is no directory"
    if work.kind(path) == "directory":
        scan = ConfinedTree(directory).scan(path)
        left = [name for name, _ in (*scan.files, *scan.others) if name not in gone]
        if left or not scan.whole or not os.listdir(directory / path):
            return f"it is a directory, with {left[0]!r}" if left else "it is a directory"
    return None

"""Judges a result by the files in the workspace, never by what the model says about it."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from core.errors import BundleError, WorkspaceError
from core.job import Manifest, ManifestEntry
from core.paths import MAX_PATH_CHARS, is_owned, path_defect
from core.workspace.base_tree import NO_BASE, BaseTree
from core.workspace.confined import ConfinedTree, TreeScan
from core.workspace.workspace import Workspace

_DEBRIS = re.compile(
    r"(^|/)(__pycache__|node_modules|\.(pytest|mypy|ruff)_cache|\.venv)/|\.(pyc|part)$|\.DS_Store$"
)
_MOST_NAMED = 20


def find_defects(
    workspace: Workspace, inputs: Manifest, source: Path, base: BaseTree = NO_BASE
) -> list[str]:
    """The defects that keep the workspace from being a result, one sentence each.

    `inputs` were copied from `source`, over the files of `base`. They stay as they are, but for
    paths that the task owns: what was changed is restored, and named. Raises BundleError when
    `source` was changed as well.
    """
    scan = workspace.scan()
    if excess := workspace.excess(scan):
        return [f"the task's files are too much for a result: {excess}"]
    given = [*inputs.entries, *base.entries.values()]
    originals = _Originals(source, base)
    return [
        *_changed_inputs(workspace, scan, given, originals),
        *_unowned(workspace, scan, {entry.path for entry in given}),
        *_missing(workspace, scan, inputs, base),
    ][:_MOST_NAMED]


def result_paths(workspace: Workspace, scan: TreeScan, base: BaseTree = NO_BASE) -> list[str]:
    """The files of the result: those on owned paths, without what tools leave behind, and without
    what is as it was in `base`."""
    return [
        path
        for path, size in scan.files
        if workspace.owned(path)
        and not _is_debris(workspace, path)
        and not (size == _size_in(base, path) and _is_unchanged(workspace, scan, base, path))
    ]


def deleted_paths(
    workspace: Workspace, scan: TreeScan, inputs: Manifest, base: BaseTree
) -> list[str]:
    """The files that were given to the task, which owned them, and that it has removed; of a new
    project none, since its tasks only write."""
    there = {path for path, _ in scan.files}
    given = () if base is NO_BASE else (*base.entries, *inputs.paths)
    return [path for path in given if path not in there and workspace.owned(path)]


def _size_in(base: BaseTree, path: str) -> int | None:
    return base.entries[path].size if path in base.entries else None


def _is_unchanged(workspace: Workspace, scan: TreeScan, base: BaseTree, path: str) -> bool:
    entry = base.entries[path]
    return workspace.holds(entry, scan) and workspace.mode(path) == entry.mode


@dataclass(frozen=True, slots=True)
class _Originals:
    """The files of a request as they came."""

    source: Path
    base: BaseTree

    def read(self, entries: Sequence[ManifestEntry]) -> Iterator[tuple[ManifestEntry, bytes]]:
        """Each with its content. Raises BundleError where it is no longer as it was."""
        of_base = {e.path for e in entries if self.base.entries.get(e.path) is e}
        for entry in entries:
            if entry.path not in of_base:
                yield entry, self._checked(entry, self._of_source(entry))
        for path, data in self.base.read(of_base):
            yield self.base.entries[path], self._checked(self.base.entries[path], data)

    def _of_source(self, entry: ManifestEntry) -> bytes:
        try:
            return ConfinedTree(self.source).read(entry.path, entry.size + 1)
        except (WorkspaceError, OSError):
            return b""

    def _checked(self, entry: ManifestEntry, data: bytes) -> bytes:
        if (len(data), hashlib.sha256(data).hexdigest()) != (entry.size, entry.sha256):
            raise BundleError(
                f"{entry.path!r} was changed, and so was the copy that came with the request.",
                "Nothing here can be relied upon; the task has to start again.",
            )
        return data


def _is_debris(workspace: Workspace, path: str) -> bool:
    """What tools leave behind, unless the plan names it."""
    return path not in workspace.owns and _DEBRIS.search(path) is not None


def _changed_inputs(
    workspace: Workspace, scan: TreeScan, given: Iterable[ManifestEntry], originals: _Originals
) -> Iterator[str]:
    changed = [e for e in given if not workspace.owned(e.path) and not workspace.holds(e, scan)]
    for entry, data in originals.read(changed):
        path = entry.path
        is_contract = path in workspace.contracts
        is_of_base = path in originals.base.entries
        name = (
            "the contract" if is_contract else "the file" if is_of_base else "another task's file"
        )
        try:
            workspace.put(path, data, entry.mode)
            yield f"{name} {path!r} was changed and has been restored; leave it alone"
        except WorkspaceError as exc:
            yield f"{name} {path!r} was changed and cannot be restored: {exc.message}"


def _unowned(workspace: Workspace, scan: TreeScan, given: Set[str]) -> Iterator[str]:
    faults = dict(scan.others)
    for path in sorted({*faults, *(path for path, _ in scan.files)} - given):
        if _is_debris(workspace, path):
            continue
        name = repr(path if len(path) <= MAX_PATH_CHARS else f"{path[:MAX_PATH_CHARS]}...")
        if defect := path_defect(path):
            yield f"the path {name} {defect}"
        elif not workspace.owned(path):
            yield f"{name} is on no path that this task owns; remove it"
        elif why := workspace.unsent.obstacle(path):
            yield f"{name} cannot be handed in, since {why}; remove it"
        elif path in faults:
            yield f"{name} {faults[path]}"


def _missing(
    workspace: Workspace, scan: TreeScan, inputs: Manifest, base: BaseTree
) -> Iterator[str]:
    deleted = deleted_paths(workspace, scan, inputs, base)
    found = [*result_paths(workspace, scan, base), *deleted]
    if not found:
        what = "nothing was changed yet" if base.entries else "there are no files yet"
        yield f"{what}; this task owns {workspace.named_owns()}"
        return
    found += base.entries
    for entry in workspace.owns:
        if entry.endswith("/"):
            if not any(is_owned((entry,), path) for path in found):
                yield f"there is no file below {entry!r}, which this task owns"
        elif entry not in found:
            yield f"{entry!r} does not exist; this task owns it, so write it"

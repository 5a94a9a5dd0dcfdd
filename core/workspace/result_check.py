"""Judges a result by the files in the workspace, never by what the model says about it."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from core.errors import BundleError, WorkspaceError
from core.job import Manifest, ManifestEntry
from core.paths import MAX_PATH_CHARS, is_owned, path_defect
from core.workspace.confined import ConfinedTree, TreeScan
from core.workspace.workspace import Workspace

_DEBRIS = re.compile(
    r"(^|/)(__pycache__|node_modules|\.(pytest|mypy|ruff)_cache|\.venv)/|\.(pyc|part)$|\.DS_Store$"
)
_MOST_NAMED = 20


def find_defects(workspace: Workspace, inputs: Manifest, source: Path) -> list[str]:
    """The defects that keep the workspace from being a result, one sentence each.

    `inputs` were copied from `source` and stay as they are, but for paths that the task owns: what
    was changed is restored, and named. Raises BundleError when `source` was changed as well.
    """
    scan = workspace.scan()
    if excess := workspace.excess(scan):
        return [f"the task's files are too much for a result: {excess}"]
    return [
        *_changed_inputs(workspace, inputs, source),
        *_unowned(workspace, scan, inputs),
        *_missing(workspace, scan),
    ][:_MOST_NAMED]


def result_paths(workspace: Workspace, scan: TreeScan) -> list[str]:
    """The files of the result: those on owned paths, without what tools leave behind."""
    return [p for p, _ in scan.files if workspace.owned(p) and not _is_debris(workspace, p)]


def _is_debris(workspace: Workspace, path: str) -> bool:
    """What tools leave behind, unless the plan names it."""
    return path not in workspace.owns and _DEBRIS.search(path) is not None


def _changed_inputs(workspace: Workspace, inputs: Manifest, source: Path) -> Iterator[str]:
    for entry in inputs.entries:
        if workspace.owned(entry.path) or workspace.holds(entry.path, entry.size, entry.sha256):
            continue
        name = "the contract" if entry.path in workspace.contracts else "another task's file"
        try:
            workspace.put(entry.path, _original(entry, source), entry.mode)
            yield f"{name} {entry.path!r} was changed and has been restored; leave it alone"
        except WorkspaceError as exc:
            yield f"{name} {entry.path!r} was changed and cannot be restored: {exc.message}"


def _original(entry: ManifestEntry, source: Path) -> bytes:
    try:
        data = ConfinedTree(source).read(entry.path, entry.size + 1)
    except (WorkspaceError, OSError):
        data = b""
    if (len(data), hashlib.sha256(data).hexdigest()) != (entry.size, entry.sha256):
        raise BundleError(
            f"{entry.path!r} was changed, and so was the copy that came with the request.",
            "Nothing here can be relied upon; the task has to start again.",
        )
    return data


def _unowned(workspace: Workspace, scan: TreeScan, inputs: Manifest) -> Iterator[str]:
    faults = dict(scan.others)
    for path in sorted({*faults, *(path for path, _ in scan.files)} - set(inputs.paths)):
        if _is_debris(workspace, path):
            continue
        name = repr(path if len(path) <= MAX_PATH_CHARS else f"{path[:MAX_PATH_CHARS]}...")
        if defect := path_defect(path):
            yield f"the path {name} {defect}"
        elif not workspace.owned(path):
            yield f"{name} is on no path that this task owns; remove it"
        elif path in faults:
            yield f"{name} {faults[path]}"


def _missing(workspace: Workspace, scan: TreeScan) -> Iterator[str]:
    found = result_paths(workspace, scan)
    if not found:
        yield f"there are no files yet; this task owns {workspace.named_owns()}"
        return
    for entry in workspace.owns:
        if entry.endswith("/"):
            if not any(is_owned((entry,), path) for path in found):
                yield f"there is no file below {entry!r}, which this task owns"
        elif entry not in found:
            yield f"{entry!r} does not exist; this task owns it, so write it"

"""Evidence for a result: what lies in the workspace decides, never what the model says of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from core.errors import WorkspaceError
from core.job import Manifest, ManifestEntry
from core.paths import path_defect
from core.workspace import Workspace

_DEBRIS = re.compile(
    r"(^|/)(__pycache__|node_modules|\.(pytest|mypy|ruff)_cache|\.venv)/|\.(pyc|part)$|\.DS_Store$"
)
_MOST_NAMED = 20


def find_defects(workspace: Workspace, inputs: Manifest, source: Path) -> list[str]:
    """What keeps the workspace from being a result, one sentence each; empty when it is one.

    `inputs` were copied from `source` and stay as they are, but for paths that the task owns: what
    was changed is restored, and named.
    """
    return [
        *_changed_inputs(workspace, inputs, source),
        *_unowned(workspace, inputs),
        *_missing(workspace),
    ][:_MOST_NAMED]


def result_paths(workspace: Workspace) -> list[str]:
    """The files of the result: those on owned paths, without what tools leave behind."""
    return [p for p, _ in workspace.files() if workspace.owned(p) and not _is_debris(workspace, p)]


def _is_debris(workspace: Workspace, path: str) -> bool:
    """What tools leave behind, unless the plan names it."""
    return path not in workspace.owns and _DEBRIS.search(path) is not None


def _changed_inputs(workspace: Workspace, inputs: Manifest, source: Path) -> Iterator[str]:
    for entry in inputs.entries:
        if workspace.owned(entry.path) or _unchanged(workspace, entry):
            continue
        name = "the contract" if entry.path in workspace.contracts else "another task's file"
        try:
            workspace.put(entry.path, (source / entry.path).read_bytes(), entry.mode)
            yield f"{name} {entry.path!r} was changed and has been restored; leave it alone"
        except WorkspaceError as exc:
            yield f"{name} {entry.path!r} was changed and cannot be restored: {exc.message}"


def _unchanged(workspace: Workspace, entry: ManifestEntry) -> bool:
    try:
        return workspace.digest(entry.path) == entry.sha256
    except WorkspaceError:
        return False


def _unowned(workspace: Workspace, inputs: Manifest) -> Iterator[str]:
    given = set(inputs.paths)
    for path, _ in workspace.files():
        if _is_debris(workspace, path):
            continue
        if defect := path_defect(path):
            yield f"the path {path!r} {defect}"
        elif not workspace.owned(path) and path not in given:
            yield f"{path!r} is on no path that this task owns; remove it"


def _missing(workspace: Workspace) -> Iterator[str]:
    found = result_paths(workspace)
    if not found:
        yield f"there are no files yet; this task owns {workspace.named_owns()}"
        return
    for entry in workspace.owns:
        if entry.endswith("/"):
            if not any(path.startswith(entry) for path in found):
                yield f"there is no file below {entry!r}, which this task owns"
        elif entry not in found:
            yield f"{entry!r} does not exist; this task owns it, so write it"

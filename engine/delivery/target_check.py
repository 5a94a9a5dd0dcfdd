"""Which target directories may be written: checked before a run, and again before a delivery."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from core.errors import BundleError, TargetRefused
from core.job import Manifest
from core.settings.types import is_utf8
from engine.repository.history import delivered_manifest

_CHOOSE_ANOTHER = "Choose another --output-dir."


def check_target(target: Path, delivered: Manifest | None, work_dir: Path) -> None:
    """Raises TargetRefused unless `target` may be delivered to; leaves nothing behind.

    It may be absent, an empty directory, or hold exactly `delivered`, what this run put there.
    """
    try:
        if "\0" in str(target):
            raise ValueError("the path holds a NUL character")
        if not is_utf8(str(target)):
            raise ValueError("it is not in UTF-8")
        found = refusal(absolute(target), delivered) or _misplaced(absolute(target), work_dir)
    except (OSError, ValueError) as exc:
        found = (f"{str(target)!r} ({exc})", _CHOOSE_ANOTHER)
    if found is not None:
        raise TargetRefused(f"The output directory cannot be used: {found[0]}.", found[1])


def which_delivered(target: Path, candidates: Sequence[Manifest]) -> Manifest | None:
    """The one of `candidates` that `target` holds unchanged.

    A run killed right after its delivery knows only what it intended: pass both, intended and
    delivered, and hand the result as `delivered` to the other functions.
    """
    if not candidates:
        return None  # without reading what may be a home directory
    found = manifest_of(absolute(target))
    return next((c for c in candidates if c == found), None)


def refusal(target: Path, delivered: Manifest | None) -> tuple[str, str] | None:
    """Why `target` cannot be written, and what to do; None when it can."""
    if target.is_symlink():
        return f"{target} is a symbolic link", "Choose the directory that it points to."
    if target.exists() and not target.is_dir():
        return f"{target} is a file", _CHOOSE_ANOTHER
    if target.is_dir():
        if os.path.ismount(target):
            return f"{target} is a mount point", "Choose a directory below it."
        if _contains(target, Path.cwd()):
            return f"{target} is or contains the current directory", "Choose a directory below it."
        if not is_vacant(target) and (found := _foreign(target, delivered)) is not None:
            return found
    return _unwritable(target)


def _foreign(target: Path, delivered: Manifest | None) -> tuple[str, str] | None:
    if delivered is None:
        return f"{target} is not empty", "Empty it, or choose another --output-dir."
    keep = "Choose another --output-dir to keep the changes."
    try:
        found = delivered_manifest(target)
    except BundleError as exc:
        return f"{target} was changed after its delivery ({exc.message.rstrip('.')})", keep
    changed = sorted({e.path for e in set(found.entries) ^ set(delivered.entries)})
    if not changed:
        return None
    first = f"{len(changed)} file(s) differ, first {changed[0]!r}"
    return f"{target} was changed after its delivery ({first})", keep


def _unwritable(target: Path) -> tuple[str, str] | None:
    """Whether `target` and its staging directory can be created below what exists."""
    above = next(p for p in target.parents if os.path.lexists(p))
    if not above.is_dir():
        return f"{above} is not a directory", _CHOOSE_ANOTHER
    effective = os.access in os.supports_effective_ids
    if not os.access(above, os.W_OK | os.X_OK, effective_ids=effective):
        return f"{above} is not writable", "Make it writable, or choose another --output-dir."
    try:  # not all file systems answer os.access truthfully
        os.rmdir(tempfile.mkdtemp(prefix=".probe-", dir=above))
    except OSError as exc:
        return f"no directory can be created in {above} ({exc.strerror})", _CHOOSE_ANOTHER
    return None


def _misplaced(target: Path, work_dir: Path) -> tuple[str, str] | None:
    if _contains(work_dir, target):
        return f"{target} is inside the work directory {work_dir}", _CHOOSE_ANOTHER
    if _contains(target, work_dir):
        return f"the work directory {work_dir} is inside {target}", _CHOOSE_ANOTHER
    return None


def absolute(target: Path) -> Path:
    return Path(os.path.abspath(target))


def _contains(outer: Path, inner: Path) -> bool:
    return inner.resolve().is_relative_to(outer.resolve())


def is_vacant(target: Path) -> bool:
    """Whether `target` can be taken by one rename: absent, or a directory without entries."""
    return not os.path.lexists(target) or (is_tree(target) and not os.listdir(target))


def is_tree(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def manifest_of(target: Path) -> Manifest | None:
    """What `target` holds; None when it is not a plain tree."""
    try:
        return delivered_manifest(target) if is_tree(target) else None
    except BundleError:
        return None

"""Removing a run's directory for good: never outside of it, however deep, and restartable. It is
first moved aside, in one step, so that it is a whole run or none."""

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from core.workspace.confined import remove_tree

ASIDE = ".removing"


def half_removed(work_dir: Path) -> list[Path]:
    """What earlier removals did not finish."""
    aside = work_dir / "runs" / ASIDE
    return sorted(aside.iterdir()) if aside.is_dir() and not aside.is_symlink() else []


def remove_run(root: Path) -> None:
    """Remove the run directory `root`; a link in its place is removed and what it names kept.

    Raises OSError; the rest is then found by `half_removed`.
    """
    aside = root.parent / ASIDE
    aside.mkdir(exist_ok=True)
    _refuse_link(aside)
    away = aside / f"{root.name}.{secrets.token_hex(4)}"
    mode = root.lstat().st_mode
    if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
        root.chmod(stat.S_IRWXU)  # a directory that is moved is written to
    os.rename(root, away)
    finish_removal(away)


def finish_removal(path: Path) -> None:
    """Remove what was moved aside. Raises OSError."""
    _refuse_link(path.parent)
    remove_tree(path)
    if os.path.lexists(path):
        reason = "not everything in it could be removed; check its owners and mounts"
        raise OSError(errno.ENOTEMPTY, reason, os.fspath(path))
    with suppress(OSError):  # not empty: there is more of the kind
        path.parent.rmdir()


def tree_size(root: Path) -> int:
    """Bytes of all regular files below, as far as they can be seen; links count for nothing."""
    total, stack = 0, [os.fspath(root)]
    while stack:
        with suppress(OSError), os.scandir(stack.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def _refuse_link(directory: Path) -> None:
    if directory.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(directory))

"""Removing a run's directory for good: never outside of it, however deep, and restartable.

The directory is first moved aside, in one step, so that it is a whole run or none; what a crash
leaves there is found by `half_removed`. Below it no symbolic link is followed.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ASIDE = ".removing"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def half_removed(work_dir: Path) -> list[Path]:
    """What earlier removals did not get done with."""
    aside = work_dir / "runs" / ASIDE
    return sorted(aside.iterdir()) if aside.is_dir() and not aside.is_symlink() else []


def remove_run(root: Path) -> None:
    """Remove the run directory `root`; a link in its place is removed and what it names kept.

    Raises OSError; the rest is then found by `half_removed`.
    """
    aside = root.parent / ASIDE
    aside.mkdir(exist_ok=True)
    if aside.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fspath(aside))
    away = aside / f"{root.name}.{secrets.token_hex(4)}"
    _make_ours(os.fspath(root))  # a directory that is moved is written to
    os.rename(root, away)
    finish_removal(away)


def finish_removal(path: Path) -> None:
    """Remove what was moved aside. Raises OSError."""
    with suppress(FileNotFoundError), _opened(path.parent) as above:  # another may be at it too
        if stat.S_ISDIR(os.stat(path.name, dir_fd=above, follow_symlinks=False).st_mode):
            _empty(above, path.name)
            os.rmdir(path.name, dir_fd=above)
        else:
            os.unlink(path.name, dir_fd=above)
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


def _empty(above: int, name: str) -> None:
    """Remove all below a directory. What is deep is moved up first, so that no depth is too much:
    neither for the stack nor for the number of open files."""
    with _opened(name, above) as top:
        device = os.fstat(top).st_dev
        while True:
            below = _unlink_files(top)
            if not below:
                return
            for directory in below:
                _take_apart(top, directory, device)


def _take_apart(top: int, name: str, device: int) -> None:
    """Remove a directory of `top`, having moved the directories in it up to `top`."""
    with _opened(name, top) as here:
        if os.fstat(here).st_dev != device:
            raise OSError(errno.EBUSY, "another file system is mounted there", name)
        for inner in _unlink_files(here):
            _make_ours(inner, here)
            os.rename(inner, f".{secrets.token_hex(8)}", src_dir_fd=here, dst_dir_fd=top)
    os.rmdir(name, dir_fd=top)


def _unlink_files(directory: int) -> list[str]:
    """Unlink all but directories, whose names are given."""
    below: list[str] = []
    for name in os.listdir(directory):
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                below.append(name)
            else:
                os.unlink(name, dir_fd=directory)
    return below


@contextmanager
def _opened(name: str | Path, above: int | None = None) -> Iterator[int]:
    """A descriptor of a directory that may be emptied, though whoever made it forbade that."""
    if above is not None:
        _make_ours(os.fspath(name), above)
    descriptor = os.open(name, _DIRECTORY, dir_fd=above)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _make_ours(name: str, above: int | None = None) -> None:
    """Only where it is needed, and never through a link."""
    mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
        os.chmod(name, stat.S_IRWXU, dir_fd=above)

"""Rules for the paths that plans, models and results may name, and names below a directory.

A path is relative, POSIX, inside the tree, and means the same file on Linux, macOS and Windows.
"""

import os
import re
import stat
import unicodedata
from pathlib import Path
from typing import Protocol

MAX_PATH_CHARS = 240  # Windows' MAX_PATH is 260; leave room for the target directory's name
MAX_NAME_BYTES = 255  # NAME_MAX of ext4, XFS, APFS and NTFS

# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DEVICES = {f"{d}{n}" for d in ("com", "lpt") for n in "123456789¹²³"}
_RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$"} | _DEVICES
EVERYTHING = "./"
"""In `owns`: the whole project."""
_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]')
_RESERVED_DIRECTORIES = {".git", ".orchestrator"}


class _Rooted(Protocol):
    @property
    def root(self) -> Path: ...


class Below:
    """As a class attribute: the path of this name below the instance's `root`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: _Rooted, owner: object = None) -> Path:
        return instance.root / self._name


def path_defect(path: str) -> str | None:
    """Why `path` may not be used for a file, as the end of a sentence; None when it may."""
    if not path:
        return "is empty"
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        return "is absolute; use a path relative to the project"
    if path.startswith("~"):
        return "starts with ~; use a path relative to the project"
    if unicodedata.normalize("NFC", path) != path:
        return "is not in Unicode normal form C"
    if len(path) > MAX_PATH_CHARS:
        return f"is longer than {MAX_PATH_CHARS} characters"
    for part in path.split("/"):
        if (defect := _part_defect(part)) is not None:
            return defect
    return None


def _part_defect(part: str) -> str | None:
    if part == "":
        return "has an empty part"
    if part in (".", ".."):
        return f"has a {part!r} part"
    if match := _FORBIDDEN.search(part):
        return f"has the character {match.group()!r}, which is not portable"
    if part != part.strip(" ") or part.endswith("."):
        return f"has a part that begins or ends with a space or ends with a dot: {part!r}"
    if part.split(".")[0].rstrip(" ").lower() in _RESERVED:
        return f"has a name reserved on Windows: {part!r}"
    if part.lower() in _RESERVED_DIRECTORIES:
        return f"goes into {part!r}, which is not the project's"
    try:
        too_long = len(part.encode()) > MAX_NAME_BYTES
    except UnicodeEncodeError:
        return "has characters that are not valid Unicode"
    return f"has a part longer than {MAX_NAME_BYTES} bytes" if too_long else None


def owned_path_defect(entry: str) -> str | None:
    """Like `path_defect` for an entry of `owns`: an exact file, `dir/` for all below it, or
    EVERYTHING. Brackets are no wildcard: many projects have files such as `[id].tsx`."""
    if entry == EVERYTHING:
        return None
    if any(c in entry for c in "*?"):
        return "has a wildcard; name exact files, or a directory with a trailing slash"
    return path_defect(entry[:-1] if entry.endswith("/") else entry)


def fold(path: str) -> str:
    """The form in which two paths collide on a file system that ignores case."""
    if path.isascii():
        return path.lower()
    # decomposed first: https://www.unicode.org/versions/latest/core-spec/chapter-3/ (D145)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def is_owned(owns: tuple[str, ...], path: str) -> bool:
    """Whether any entry names `path` exactly, or a directory above it, or everything."""
    return any(
        e == EVERYTHING or path.startswith(e) if e.endswith("/") else path == e for e in owns
    )


def give_to_owner(file: int | Path, mode: int) -> None:
    """Give what was made with `mode` to its owner, whatever the umask took; what that took from
    others it keeps."""
    found = stat.S_IMODE(os.stat(file).st_mode)
    if wanted := mode & stat.S_IRWXU & ~found:
        os.chmod(file, found | wanted)

"""Paths on the head node are bytes here, since in a locale that is not UTF-8 an old Python has no
text for some names, and text in requests, answers and archives.
"""

import os
from typing import Any, Dict, List

OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""For what a job may have put there: no link is followed, no pipe waited for."""
ENCODING: Dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
Request = Dict[str, Any]


def join(*parts: Any) -> bytes:
    """A path, from parts that are text or such paths."""
    return os.path.join(*(p if isinstance(p, bytes) else p.encode(**ENCODING) for p in parts))


def text(path: Any) -> str:
    return path.decode(**ENCODING) if isinstance(path, bytes) else str(path)


def list_dir(folder: bytes) -> List[bytes]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def age_s(path: bytes, now: float) -> float:
    """0 for a path that does not exist."""
    try:
        return now - os.lstat(path).st_mtime
    except OSError:
        return 0.0

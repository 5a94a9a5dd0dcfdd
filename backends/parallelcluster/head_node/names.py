"""How a path is told: as bytes here, since in a locale that is not UTF-8 an old Python has no text
for its name, and as text in requests, answers and archives.
"""

import os
from typing import Any, Dict, List

REGULAR = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""How to open what a job may have put there: no link is followed, no pipe waited for."""
NAMES: Dict[str, Any] = {"encoding": "utf-8", "errors": "surrogateescape"}
"""How a path is told as text, in requests, answers and archives."""
Request = Dict[str, Any]


def place(*parts: Any) -> bytes:
    """A path, of parts that are text or such paths."""
    return os.path.join(*(p if isinstance(p, bytes) else p.encode(**NAMES) for p in parts))


def text(path: Any) -> str:
    return path.decode(**NAMES) if isinstance(path, bytes) else str(path)


def listing(folder: bytes) -> List[bytes]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def age(path: bytes, now: float) -> float:
    """In seconds; none of what is gone."""
    try:
        return now - os.lstat(path).st_mtime
    except OSError:
        return 0.0

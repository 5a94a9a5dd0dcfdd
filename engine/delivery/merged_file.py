"""What merged files hold: they may lie in a target where people work meanwhile."""

from hashlib import sha256

from core.workspace.confined import read_regular
from engine.delivery.merge import MergedFile

_MOST_BYTES = 8 * 1024 * 1024


def read_as_judged(file: MergedFile) -> bytes | None:
    """Its content, byte for byte as it was judged; None where it is another by now."""
    try:
        data = read_regular(file.source, file.entry.size)
    except OSError:
        return None
    return data if sha256(data).hexdigest() == file.entry.sha256 else None


def read_text(file: MergedFile) -> str:
    """For a look at it; empty where it is gone or very large."""
    try:
        return read_regular(file.source, _MOST_BYTES).decode(errors="replace")
    except OSError:
        return ""

"""The id of a work directory among those of all machines that share a backend."""

import hashlib
import os
import re
from pathlib import Path

_MACHINE_ID = Path("/etc/machine-id")
_NO_ID = re.compile(r"0*|uninitialized")
"""The content in images that are made to be copied: machine-id(5)."""


def work_dir_id(work_dir: Path, machine_id: Path = _MACHINE_ID, host: str = "") -> str:
    """Distinguishes this machine's work directory from one of another machine with the same path.

    By the machine's id and its name: an id may be absent, or be copied with an image, and names are
    chosen. Neither is stored in the work directory, whose copy elsewhere would keep it. `host` is
    this machine's own name, which may have another domain in each network.
    """
    try:
        content = machine_id.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        content = ""
    number = "" if _NO_ID.fullmatch(content) else content
    name = (host or os.uname().nodename).partition(".")[0]
    return f"{hashlib.sha256(f'{number} {name}'.encode()).hexdigest()[:8]}:{work_dir}"


def is_moved_away(directory_id: str, here: Path, run_id: str) -> bool:
    """Whether `directory_id` is of a work directory on the machine of `here` which no longer has
    the run: it was moved, not copied."""
    machine, _, path = directory_id.partition(":")
    if machine != work_dir_id(here).partition(":")[0]:
        return False
    try:
        (Path(path) / "runs" / run_id).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # it may be another user's
        return False
    return False

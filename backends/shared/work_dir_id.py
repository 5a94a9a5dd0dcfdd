"""A name for a work directory among those of all machines that share a backend."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

_MACHINE_ID = Path("/etc/machine-id")
_NO_ID = re.compile(r"0*|uninitialized")
"""As images have it that are made to be copied: machine-id(5)."""


def place_of(work_dir: Path, machine_id: Path = _MACHINE_ID, host: str = "") -> str:
    """Tells this machine's work directory from one of another machine with the same path.

    By its id and its name: an id may be absent, or be copied with an image, and names are chosen.
    Nothing of it lies in the work directory, whose copy elsewhere would take it along. `host` is
    this machine's own name, which may have another domain in each network.
    """
    try:
        told = machine_id.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        told = ""
    number = "" if _NO_ID.fullmatch(told) else told
    name = (host or os.uname().nodename).partition(".")[0]
    return f"{hashlib.sha256(f'{number} {name}'.encode()).hexdigest()[:8]}:{work_dir}"


def is_left(place: str, here: Path, run_id: str) -> bool:
    """Whether `place` names a work directory of the machine that `here` is on, and the run is not
    there any more: it was moved away, and not copied."""
    machine, _, path = place.partition(":")
    if machine != place_of(here).partition(":")[0]:
        return False
    try:
        (Path(path) / "runs" / run_id).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # somebody else's, perhaps
        return False
    return False

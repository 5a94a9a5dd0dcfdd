"""A name for a work directory among those of all machines that share a backend."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def place_of(work_dir: Path) -> str:
    """Tells this machine's work directory from one of another machine with the same path."""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        machine = os.uname().nodename
    return f"{hashlib.sha256(machine.encode()).hexdigest()[:8]}:{work_dir}"

"""What a worker finds where it would run: said by `--check`, read by a backend's probe."""

from __future__ import annotations

from dataclasses import dataclass

from core.bundle import WIRE_VERSION


@dataclass(frozen=True, slots=True)
class WorkerCheck:
    """Empty texts are good news. `unreachable` is the host and port that took no connection."""

    python: str
    node: str
    missing_package: str = ""
    missing_cli: str = ""
    unreachable: str = ""
    wire: int = WIRE_VERSION

"""What a run knows of its target: the trees that it has delivered or was about to deliver."""

from __future__ import annotations

from dataclasses import dataclass

from core.job import Manifest
from core.wire import decode, encode, write_atomic
from engine.run.rundir import RunDir


@dataclass(frozen=True, slots=True)
class Deliveries:
    """delivered.json: the trees that the target may hold if only this run has written to it."""

    manifests: tuple[Manifest, ...] = ()
    version: int = 1


def known_deliveries(run: RunDir) -> tuple[Manifest, ...]:
    if not run.delivered.exists():
        return ()
    return decode(Deliveries, run.delivered.read_bytes(), str(run.delivered)).manifests


def write_deliveries(run: RunDir, manifests: tuple[Manifest, ...]) -> None:
    write_atomic(run.delivered, encode(Deliveries(manifests)), durable=True)

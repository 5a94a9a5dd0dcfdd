"""Waiting for another thread or process."""

from __future__ import annotations

from collections.abc import Callable

from core.clock import SystemClock
from parallel_task_orchestrator.conformance.live_run import eventually


def until(seen: Callable[[], object], what: str = "what was waited for") -> None:
    eventually(lambda: bool(seen()), what, within_s=60, every_s=0.02, clock=SystemClock())

"""Results as a worker leaves them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.bundle import AttemptDir, build_manifest, write_result
from core.clock import Clock
from core.job import JobKey, Outcome, TaskResult
from tests.engine.repository.repos import write_files


def no_work(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
    raise AssertionError("a job of this backend ran in the test's own process")


def hand_in(
    attempt: AttemptDir,
    key: JobKey,
    files: Mapping[str, str | bytes],
    outcome: Outcome = Outcome.OK,
    text: str = "done",
    **more: Any,
) -> TaskResult:
    attempt.files.mkdir(parents=True, exist_ok=True)
    write_files(attempt.files, files)
    result = TaskResult(key, outcome, text, manifest=build_manifest(attempt.files), **more)
    write_result(attempt, result)
    return result

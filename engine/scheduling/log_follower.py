"""LogFollower: reads the logs of running jobs, for a person's eyes and for the warm-up."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from backends.base import LogChunk
from core.events import Progress
from core.job import JobHandle, JobKey
from engine.scheduling.attempt import Attempt, parse_progress
from engine.scheduling.context import SchedulerContext
from engine.scheduling.warm_up import WarmUp

log = logging.getLogger(__name__)

WARM_UP_LOOK_S = 0.5
"""Between two looks at the first executor, where progress is not shown."""


class LogFollower:
    """One call for the logs of all running jobs at a time; nothing is decided by what they say.

    `active` are the scheduler's attempts.
    """

    def __init__(
        self, context: SchedulerContext, active: Mapping[JobKey, Attempt], warm_up: WarmUp
    ) -> None:
        self._context = context
        self._active = active
        self._warm_up = warm_up
        self._at = 0.0
        self._turns = 0
        self._turn: dict[JobKey, int] = {}
        """Which turn was the last of each job, where they are asked about in turns."""

    @property
    def every_s(self) -> float | None:
        """Seconds between two looks; None while none is needed."""
        wanted_s = self._context.pacing.progress_s
        if wanted_s is None and self._warm_up.waits(self._context.now()):
            return WARM_UP_LOOK_S
        return wanted_s

    @property
    def due(self) -> float | None:
        return None if self.every_s is None else self._at

    def look(self) -> None:
        context, every_s = self._context, self.every_s
        if every_s is None or context.now() < self._at or context.calls.busy("logs"):
            return
        asked = self._in_turn(
            (a, a.handle) for a in self._active.values() if a.handle and a.is_running
        )
        self._at = context.now() + every_s
        if asked:
            wanted = [(handle, attempt.cursor) for attempt, handle in asked]
            call = partial(self._read_logs, wanted)
            context.calls.start("logs", call, partial(self._followed, asked))

    def _in_turn(
        self, running: Iterable[tuple[Attempt, JobHandle]]
    ) -> list[tuple[Attempt, JobHandle]]:
        """As many as the backend takes in a round, those that have waited longest."""
        waiting, most = list(running), self._context.backend.logs_a_round
        if most is None or len(waiting) <= most:
            return waiting
        before = {attempt.key: self._turn.get(attempt.key, 0) for attempt, _ in waiting}
        asked = sorted(waiting, key=lambda one: before[one[0].key])[:most]
        turns = range(self._turns + 1, self._turns + most + 1)
        self._turns += most
        self._turn = before | {a.key: turn for (a, _), turn in zip(asked, turns, strict=True)}
        return asked

    def _read_logs(self, wanted: list[tuple[JobHandle, str]]) -> list[LogChunk]:
        return [self._context.backend.logs(handle, cursor) for handle, cursor in wanted]

    def _followed(self, asked: list[tuple[Attempt, JobHandle]], answer: Any) -> None:
        if isinstance(answer, Exception):
            log.debug("no logs: %s", answer)
            return
        for (attempt, _), chunk in zip(asked, answer, strict=True):
            attempt.cursor = chunk.cursor
            if attempt.key in self._active:  # what has ended has reported all that it used
                for line in chunk.lines:
                    self._report(attempt.key, parse_progress(line))

    def _report(self, key: JobKey, progress: Progress) -> None:
        if progress.usage is not None:
            self._warm_up.seen(key)
        self._context.emit(progress, key)

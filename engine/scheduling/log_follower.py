"""LogFollower: reads the logs of running jobs, for a person's eyes and for the warm-up."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from core.events import AnswerBegun
from core.job import JobKey
from engine.scheduling.attempt import Attempt
from engine.scheduling.context import SchedulerContext
from engine.scheduling.launcher import Launcher
from engine.scheduling.progress_line import parse_progress

log = logging.getLogger(__name__)

WARM_UP_LOOK_S = 0.5
NEAR_LOOK_S = 0.1
"""Between two looks at the first executor while others wait for it; near is this process."""


@dataclass(slots=True)
class LogFollower:
    """One call for the logs of all running jobs at a time; that an answer begins ends the
    warm-up, and nothing else is decided by them.

    `active` are the scheduler's attempts.
    """

    context: SchedulerContext
    active: Mapping[JobKey, Attempt]
    launcher: Launcher
    _looked_at: float = field(default=float("-inf"), init=False)
    _turns: Iterator[int] = field(default_factory=partial(count, 1), init=False)

    @property
    def every_s(self) -> float | None:
        """Seconds between two looks; None while none is needed."""
        wanted_s, backend = self.context.pacing.progress_s, self.context.backend
        if wanted_s is not None:
            wanted_s = max(wanted_s, backend.logs_every_s)
        if not self.launcher.warm_up.waits(self.context.now()):
            return wanted_s
        look_s = NEAR_LOOK_S if backend.in_process else WARM_UP_LOOK_S
        return look_s if wanted_s is None else min(look_s, wanted_s)

    @property
    def due(self) -> float | None:
        return None if self.every_s is None else self._looked_at + self.every_s

    def look(self) -> None:
        context, due = self.context, self.due
        if due is None or context.now() < due or context.calls.busy("logs"):
            return
        asked = self._in_turn()
        self._looked_at = context.now()
        if asked:
            wanted = [(a.handle, a.cursor) for a in asked if a.handle]
            then = partial(self._followed, asked)
            context.call("logs", lambda: [context.backend.logs(*w) for w in wanted], then)

    def _in_turn(self) -> list[Attempt]:
        """As many as the backend takes in a round, those that have waited longest."""
        running = [a for a in self.active.values() if a.handle and a.is_running]
        running.sort(key=lambda attempt: attempt.logs_turn)
        asked = running[: self.context.backend.logs_a_round]
        for attempt in asked:
            attempt.logs_turn = next(self._turns)
        return asked

    def _followed(self, asked: list[Attempt], answer: Any) -> None:
        if isinstance(answer, Exception):
            log.debug("no logs: %s", answer)
            return
        for attempt, chunk in zip(asked, answer, strict=True):
            attempt.cursor = chunk.cursor
            if attempt.key in self.active:  # what has ended has reported all that it used
                for data in map(parse_progress, chunk.lines):
                    if isinstance(data, AnswerBegun):
                        self.launcher.answer_begun()
                    self.context.emit(data, attempt.key)

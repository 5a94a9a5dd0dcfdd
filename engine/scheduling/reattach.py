"""Taking up what an earlier session left: its jobs are asked for once, before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from core.job import JobHandle, JobKey, TaskState
from engine.scheduling.attempt import Attempt
from engine.scheduling.launcher import Launcher
from engine.scheduling.shared_state import Desk


class Reattachment:
    """`open_jobs` are those whose end the journal does not know, with their handles."""

    def __init__(
        self, desk: Desk, launcher: Launcher, open_jobs: Mapping[JobKey, JobHandle | None]
    ) -> None:
        self._desk = desk
        self._launcher = launcher
        self._open = open_jobs
        launcher.waits_for_adoption = bool(open_jobs)

    def take_up(self) -> None:
        desk, launcher = self._desk, self._launcher
        waits = desk.calls.busy("reattach") or desk.now() < launcher.after
        if launcher.waits_for_adoption and desk.stop is None and not waits:
            call = partial(desk.backend.reattach, desk.run_id)
            desk.calls.start("reattach", call, self._reattached)

    def _reattached(self, answer: Any) -> None:
        if self._desk.health.failed("reattach", answer):
            self._launcher.hold(self._desk.backend.pace.first_s)
            return
        self._launcher.waits_for_adoption = False
        known, name = {handle.key: handle for handle in answer}, self._desk.backend.name
        for key, journaled in self._open.items():
            # what another backend had was stopped there before this one was asked
            of_ours = journaled if journaled and journaled.backend == name else None
            self._adopt(key, known.get(key, of_ours))

    def _adopt(self, key: JobKey, handle: JobHandle | None) -> None:
        desk = self._desk
        latest = key.attempt == desk.number.get(key.task)
        wanted = latest and desk.graph.states.get(key.task) is TaskState.READY
        if wanted and handle is not None:
            desk.graph.adopt(key.task)
            attempt = desk.active[key] = Attempt(key, desk.now(), may_have_run=True)
            attempt.hand_over(handle, desk.now())
            self._launcher.warm_up.is_over()
        elif wanted:
            # Intended, and no trace of it: the same key goes out again, so that it runs once
            desk.number[key.task] -= 1
        elif handle is not None:
            desk.strays.append(handle)

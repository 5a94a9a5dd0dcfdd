"""Launcher: which ready tasks go out now, under which limits, and handing them to the backend.

A slot must be free, the prompt cache warm, the provider not throttled, and the attempt's forecast
reserved in the run's budget. Then the intent is journaled, the bundle written, the job submitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from core.errors import BackendBusy, BackendError, SubmitError
from core.events import JobIntended, JobSubmitted
from core.job import Job, JobHandle, JobKey, Reason, Usage
from core.plan import Task
from engine.money.budget import Budget
from engine.scheduling.attempt import Attempt
from engine.scheduling.launch_pace import LaunchPace
from engine.scheduling.retry_policy import End
from engine.scheduling.shared_state import Desk
from engine.scheduling.types import AttemptStore, Stop, StopCause
from engine.scheduling.warm_up import WarmUp


class Launcher:
    """`settle` and `halt` are the scheduler's: an attempt is over, and start nothing more."""

    def __init__(
        self,
        desk: Desk,
        tasks: Mapping[str, Task],
        store: AttemptStore,
        budget: Budget,
        commit: Callable[[], None],
        *,
        settle: Callable[[Attempt, End], None],
        halt: Callable[[Stop], None],
    ) -> None:
        self._desk = desk
        self._tasks = tasks
        self._store = store
        self._budget = budget
        self._commit = commit
        self._settle = settle
        self._halt = halt
        self._unsent: list[Attempt] = []
        self._is_short = False
        self._pace = LaunchPace(desk.pacing.max_executors)
        self.warm_up = WarmUp(desk.pacing.warm_up, desk.pacing.warm_up_s)
        self.after = 0.0
        self.waits_for_adoption = False

    def launch(self) -> None:
        if self._held():
            return
        batch, self._unsent = self._unsent, []
        batch += map(self._intend, self._start())
        if batch:
            submitted = partial(self._submitted, batch)
            self._desk.calls.start("submit", partial(self._submit, batch), submitted)

    @property
    def possible(self) -> bool:
        """Whether `launch` would do something."""
        ready = self._desk.graph.has_ready and self._room() > 0 and not self._is_short
        return (bool(self._unsent) or ready) and not self._held()

    def hold(self, seconds: float) -> None:
        """Launch nothing for so long."""
        self.after = max(self.after, self._desk.now() + seconds)

    def account(self, key: JobKey, usage: Sequence[Usage] | None, throttled: int = 0) -> None:
        """An attempt is over: what it used, if anybody knows, and how often it was refused."""
        self._budget.settle(key, usage)
        self._is_short = False
        self.warm_up.seen(key)
        if not self._desk.backend.in_process:
            self._pace.ended(throttled, self._desk.now())

    def credible(self, key: JobKey, usage: Sequence[Usage]) -> Sequence[Usage]:
        """What an attempt without a result tells of itself; nothing, where that cannot be."""
        return usage if self._budget.believes(key, usage) else ()

    def enlarge(self, task: str) -> bool:
        """The task's reservation was too small; whether the budget allows twice as much."""
        return self._budget.enlarge(task)

    def short_of_budget(self, why: str = "") -> Stop:
        """The stop for want of budget, with how to go on; `why` where it is not the run's own."""
        resume_with = self._budget.raised(self._desk.graph.unfinished())
        return Stop(StopCause.BUDGET, self._budget.why_short() or why, resume_with)

    def drop_unsent(self) -> None:
        batch, self._unsent = self._unsent, []
        self._put_back(batch)

    # -- which

    def _held(self) -> bool:
        early = self.waits_for_adoption or self._desk.now() < self.after
        return early or self._desk.stop is not None or self._desk.calls.busy("submit")

    def _room(self) -> int:
        desk = self._desk
        most = min(desk.pacing.max_executors, self._pace.ceiling)
        return self.warm_up.room(most - len(desk.active), desk.now())

    def _start(self) -> list[str]:
        """Ready tasks, now active, whose reservations stand."""
        desk, room = self._desk, self._room()
        if room <= 0 or not desk.graph.has_ready:
            return []
        started = desk.graph.start(room, lambda task: self._budget.admit(self._next_key(task)))
        self._is_short = len(started) < room and desk.graph.has_ready
        if self._is_short and not (started or desk.active or desk.retries):
            # nobody is left whose settlement could free more: what there is, or nothing
            started = desk.graph.start_any(lambda task: self._budget.squeeze(self._next_key(task)))
            if not started:
                self._halt(self.short_of_budget())
        return started

    def _next_key(self, task: str) -> JobKey:
        return JobKey(self._desk.run_id, task, self._desk.number.get(task, 0) + 1)

    def _intend(self, task: str) -> Attempt:
        desk, key = self._desk, self._next_key(task)
        desk.number[task] = key.attempt
        desk.tries[task] += 1
        desk.emit(JobIntended(self._budget.reservation(key)), key)
        self.warm_up.begun(key, desk.now())
        attempt = Attempt(key, desk.now(), allowance=self._budget.allowance(key))
        desk.active[key] = attempt
        return attempt

    # -- how

    def _submit(self, batch: Sequence[Attempt]) -> list[JobHandle | SubmitError]:
        """On the submit thread. The journal is durable first, so that a bundle on disk always is
        one of an intent that is known, made of results that are."""
        self._commit()
        jobs = [self._prepare(attempt) for attempt in batch]
        if self._desk.interrupted:
            raise BackendError("The run was interrupted before the jobs were handed over.")
        return self._desk.backend.submit(jobs)

    def _prepare(self, attempt: Attempt) -> Job:
        key, succeeded = attempt.key, self._desk.succeeded
        failure = self._desk.messages.get(key.task, "")
        task = self._tasks[key.task]
        return self._store.prepare(task, key, failure, succeeded, attempt.allowance)

    def _submitted(self, batch: list[Attempt], answer: Any) -> None:
        desk = self._desk
        if isinstance(answer, BackendError) and (desk.stop or desk.interrupted):
            self._put_back(batch)
            return
        if desk.health.failed("submit", answer):
            self._unsent = batch
            busy = isinstance(answer, BackendBusy)
            self.hold(answer.retry_after_s if busy else desk.backend.pace.first_s)
            return
        for attempt, handle in zip(batch, answer, strict=True):
            if isinstance(handle, SubmitError):
                cause = Reason.LAUNCH if handle.retryable else Reason.UNSCHEDULABLE
                self._settle(attempt, End(cause, str(handle)))
            else:
                attempt.hand_over(handle, desk.now())
                desk.emit(JobSubmitted(handle), attempt.key)
        desk.polls.soon(desk.now())

    def _put_back(self, batch: Sequence[Attempt]) -> None:
        """Not to be sent in this session. In the journal they stay intended, so that the next one
        finds them or sends them under the same key."""
        for attempt in batch:
            del self._desk.active[attempt.key]
            self._desk.graph.wait(attempt.key.task)

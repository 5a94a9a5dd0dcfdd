"""How many jobs may go out now, and handing them to the backend.

A slot must be free, the prompt cache warm, the provider not throttled. Which tasks take the slots
is the scheduler's decision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from core.errors import BackendBusy, BackendError, SubmitError
from core.job import Job, JobHandle, JobKey
from core.plan import Task
from engine.scheduling.attempt import Attempt
from engine.scheduling.context import SchedulerContext
from engine.scheduling.launch_pace import LaunchPace
from engine.scheduling.types import AttemptStore
from engine.scheduling.warm_up import WarmUp


class Launcher:
    """`succeeded` and `failures` are the scheduler's: attempts of finished tasks, and the message
    of the last failure of others."""

    def __init__(
        self,
        context: SchedulerContext,
        tasks: Mapping[str, Task],
        store: AttemptStore,
        commit: Callable[[], None],
        succeeded: Mapping[str, int],
        failures: Mapping[str, str],
    ) -> None:
        self._context = context
        self._tasks = tasks
        self._store = store
        self._commit = commit
        self._succeeded = succeeded
        self._failures = failures
        self._pace = LaunchPace(context.pacing.max_executors)
        self.warm_up = WarmUp(context.pacing.warm_up, context.pacing.warm_up_s)
        self.unsent: list[Attempt] = []
        """Attempts that a failed submission left; they go out with the next one."""
        self.after = 0.0
        """Nothing is launched before."""

    @property
    def is_held(self) -> bool:
        return self._context.now() < self.after or self._context.calls.busy("submit")

    def room(self, active: int) -> int:
        """How many more may start beside the `active` ones."""
        most = min(self._context.pacing.max_executors, self._pace.ceiling)
        return self.warm_up.room(most - active, self._context.now())

    def hold(self, seconds: float) -> None:
        """Launch nothing for so long."""
        self.after = max(self.after, self._context.now() + seconds)

    def job_ended(self, key: JobKey, throttled: int) -> None:
        """`throttled`: how many of its requests the provider refused for its load or the rate."""
        self.warm_up.seen(key)
        if not self._context.backend.in_process:
            self._pace.ended(throttled, self._context.now())

    def take_unsent(self) -> list[Attempt]:
        batch, self.unsent = self.unsent, []
        return batch

    def submit(
        self, batch: list[Attempt], is_interrupted: Callable[[], bool], then: Callable[[Any], None]
    ) -> None:
        """`then` gets the backend's answer or the error of the whole call."""
        self._context.calls.start("submit", partial(self._submit, batch, is_interrupted), then)

    def try_later(self, batch: list[Attempt], error: BackendError) -> None:
        """The whole call failed: `batch` goes out with the next one."""
        self.unsent = batch
        pace = self._context.backend.pace
        self.hold(error.retry_after_s if isinstance(error, BackendBusy) else pace.first_s)

    def _submit(
        self, batch: Sequence[Attempt], is_interrupted: Callable[[], bool]
    ) -> list[JobHandle | SubmitError]:
        """On the submit thread. The journal is durable first, so that a bundle on disk always is
        one of an intent that is known, made of results that are."""
        self._commit()
        jobs = [self._prepare(attempt) for attempt in batch]
        if is_interrupted():
            raise BackendError("The run was interrupted before the jobs were handed over.")
        return self._context.backend.submit(jobs)

    def _prepare(self, attempt: Attempt) -> Job:
        key = attempt.key
        failure = self._failures.get(key.task, "")
        task = self._tasks[key.task]
        return self._store.prepare(task, key, failure, self._succeeded, attempt.allowance)

"""How many jobs may go out now, and handing them to the backend: a slot must be free, the prompt
cache warm, the provider not throttled. Which tasks take the slots is the scheduler's decision."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from core.errors import BackendBusy, BackendError, InputsDamaged, SubmitError
from core.job import Job, JobHandle, Reason
from core.plan import Task
from engine.scheduling.attempt import Attempt
from engine.scheduling.context import SchedulerContext
from engine.scheduling.job_end import NEVER_STARTED, End
from engine.scheduling.launch_pace import LaunchPace
from engine.scheduling.types import AttemptStore
from engine.scheduling.warm_up import WarmUp


@dataclass(slots=True)
class Launcher:
    """`succeeded` and `failures` are the scheduler's: attempts of finished tasks, and the message
    of the last failure of others."""

    context: SchedulerContext
    tasks: Mapping[str, Task]
    store: AttemptStore
    commit: Callable[[], None]
    succeeded: Mapping[str, int]
    failures: Mapping[str, str]
    warm_up: WarmUp = field(init=False)
    unsent: list[Attempt] = field(default_factory=list, init=False)
    """Attempts that a failed submission left; they go out with the next one."""
    after: float = field(default=0.0, init=False)
    """Nothing is launched before."""
    _has_begun: bool = field(default=False, init=False)
    """Whether a worker has got to its work in this session."""
    _has_failed: bool = field(default=False, init=False)
    """Whether one of a job that the backend took could not."""
    _pace: LaunchPace = field(init=False)

    def __post_init__(self) -> None:
        pacing = self.context.pacing
        self._pace = LaunchPace(pacing.max_executors)
        self.warm_up = WarmUp(pacing.cold_prefix)

    @property
    def is_trial(self) -> bool:
        """Whether no worker may be able to start here: jobs go out one at a time then."""
        return self._has_failed and not self._has_begun

    @property
    def is_held(self) -> bool:
        return self.context.now() < self.after or self.context.calls.busy("submit")

    def room(self, active: int, ready: int) -> int:
        """How many more may start beside the `active` ones, of those that are `ready`."""
        most = 1 if self.is_trial else min(self.context.pacing.max_executors, self._pace.ceiling)
        return self.warm_up.room(most - active, ready, self.context.now())

    def hold(self, seconds: float) -> None:
        """Launch nothing for so long."""
        self.after = max(self.after, self.context.now() + seconds)

    def answer_begun(self) -> None:
        self._has_begun = True
        self.warm_up.is_over()

    def job_ended(self, attempt: Attempt, end: End) -> None:
        self.warm_up.is_over()
        if attempt.handle is not None:
            self._has_failed |= end.cause == Reason.LAUNCH
            self._has_begun |= end.cause not in NEVER_STARTED
        if not self.context.backend.in_process:
            throttled = end.result.throttled if end.result else 0
            self._pace.ended(throttled, self.context.now())

    def take_unsent(self) -> list[Attempt]:
        batch, self.unsent = self.unsent, []
        return batch

    def drop_superseded(self) -> list[Attempt]:
        """Takes out those that failed submissions left and nobody wants any longer."""
        dropped = [attempt for attempt in self.unsent if attempt.is_superseded]
        self.unsent = [attempt for attempt in self.unsent if not attempt.is_superseded]
        return dropped

    def submit(
        self, batch: list[Attempt], is_interrupted: Callable[[], bool], then: Callable[[Any], None]
    ) -> None:
        """`then` gets the backend's answer or the error of the whole call."""
        self.context.call("submit", partial(self._submit, batch, is_interrupted), then)

    def try_later(self, batch: list[Attempt], error: BackendError) -> None:
        """The whole call failed: `batch` goes out with the next one."""
        self.unsent = batch
        pace = self.context.backend.pace
        self.hold(error.retry_after_s if isinstance(error, BackendBusy) else pace.first_s)

    def _submit(
        self, batch: Sequence[Attempt], is_interrupted: Callable[[], bool]
    ) -> list[JobHandle | SubmitError]:
        """On the thread that calls `submit`. The journal is durable first, so that a bundle on disk
        always is one of an intent that is known, made of results that are."""
        self.commit()
        backend = self.context.backend
        # where a call costs nothing, the first job need not wait for the bundles of the others
        at_once = 1 if "submit" in backend.prompt else len(batch)
        answers: list[JobHandle | SubmitError] = []
        for begin in range(0, len(batch), at_once):
            prepared = [self._prepare(attempt) for attempt in batch[begin : begin + at_once]]
            if is_interrupted():
                raise BackendError("The run was interrupted before the jobs were handed over.")
            taken = iter(backend.submit([job for job in prepared if isinstance(job, Job)]))
            answers += (next(taken) if isinstance(job, Job) else job for job in prepared)
        return answers

    def _prepare(self, attempt: Attempt) -> Job | InputsDamaged:
        key, task = attempt.key, self.tasks[attempt.key.task]
        failure = self.failures.get(key.task, "")
        try:
            return self.store.prepare(task, key, failure, self.succeeded, attempt.allowance)
        except InputsDamaged as exc:
            return exc

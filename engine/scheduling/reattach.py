"""Jobs that earlier sessions left open: the backend is asked for them once, before anything
starts. What becomes of their tasks, the scheduler decides."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from core.job import JobHandle, JobKey
from engine.scheduling.context import SchedulerContext


@dataclass(frozen=True, slots=True)
class FoundJobs:
    """`adopted` go on as the attempts that they are, `strays` are stopped, and `unsent` keys go out
    again, so that each runs once."""

    adopted: list[JobHandle] = field(default_factory=list)
    strays: list[JobHandle] = field(default_factory=list)
    unsent: list[JobKey] = field(default_factory=list)


@dataclass(slots=True)
class EarlierJobs:
    """`open` are the jobs whose end is not known, with what the backend called them if that is
    known; it is empty once the backend has told, and `then` knows, what became of them."""

    context: SchedulerContext
    open: dict[JobKey, JobHandle | None]
    is_wanted: Callable[[JobKey], bool]
    then: Callable[[FoundJobs], None]
    after: float = field(default=0.0, init=False)
    """The backend is not asked before."""

    def ask(self) -> None:
        context = self.context
        if self.open and not context.calls.busy("reattach") and context.now() >= self.after:
            call = partial(context.backend.reattach, context.run_id)
            context.call("reattach", call, self._answered)

    def _answered(self, answer: Any) -> None:
        context = self.context
        if context.health.failed("reattach", answer):
            self.after = context.now() + context.backend.pace.first_s
            return
        self.then(sort_jobs(context.backend.name, self.open, answer, self.is_wanted))
        self.open.clear()


def sort_jobs(
    backend: str,
    journaled: Mapping[JobKey, JobHandle | None],
    answer: Iterable[JobHandle],
    is_wanted: Callable[[JobKey], bool],
) -> FoundJobs:
    """What becomes of `journaled`; `answer` is what the `backend` knows of the run."""
    known = {handle.key: handle for handle in answer}
    found = FoundJobs()
    for key, earlier in journaled.items():
        # what another backend had was stopped there before this one was asked
        ours = earlier if earlier and earlier.backend == backend else None
        handle, wanted = known.get(key, ours), is_wanted(key)
        if handle is not None:
            (found.adopted if wanted else found.strays).append(handle)
        elif wanted:
            found.unsent.append(key)
    return found

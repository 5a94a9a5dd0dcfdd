"""What the scheduler is given and what it gives back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from core.bundle import Allowance
from core.job import Job, JobKey, TaskState, Usage
from core.plan import Contract, Plan, Task
from core.plan.draft import ContractWritten
from engine.scheduling.warm_up import SharedPrefix


class AttemptStore(Protocol):
    """Where attempts live on this machine."""

    @property
    def destination(self) -> Path:
        """Results go to `destination`/<task>/<attempt>/result."""

    def prepare(
        self,
        task: Task,
        key: JobKey,
        previous_failure: str,
        succeeded: Mapping[str, int],
        allowance: Allowance,
    ) -> Job:
        """Write the request bundle of an attempt; again for the same key renews what is asked for,
        but not the inputs, and nothing once a worker has claimed it. `succeeded` names the attempt
        whose files each finished task contributes. Raises InputsDamaged.
        """

    def spent(self, key: JobKey) -> tuple[Usage, ...]:
        """What an attempt without a result is known to have used."""

    def add_contract(self, contract: Contract) -> None:
        """One more is written; before a task that uses it is prepared."""

    def take_plan(self, plan: Plan) -> None:
        """The plan has changed, or is complete now."""


@dataclass(frozen=True, slots=True)
class PlanWritten:
    """The whole plan, which may differ from what was begun."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class PlanDelayed:
    """What was written of the plan counts no longer; another one comes."""


@dataclass(frozen=True, slots=True)
class PlanFailed:
    """There will be no plan."""

    message: str


PlanNews = ContractWritten | PlanDelayed | PlanWritten | PlanFailed


class PlanSource(Protocol):
    """A plan that is still being written, for the deciding thread."""

    def take(self) -> Sequence[PlanNews]:
        """What has become known since it was last asked. After PlanWritten or PlanFailed nothing
        more comes."""

    def on_news(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from any thread, when there is something to take."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """Limits of the loop, in seconds but for `max_executors`. `progress_s` None: ask for none.
    `queue_remedy` is what to do where `queue_timeout_s` was too short.

    `queue_timeout_s` is for jobs that wait their turn, `unschedulable_s` for those that would wait
    for ever as things stand. `cold_prefix` is what executors share that is not in the prompt cache
    yet; None where nobody needs to wait for it.
    """

    max_executors: int = 5
    task_timeout_s: float = 1800.0
    queue_timeout_s: float = 86_400.0
    queue_remedy: str = "Raise --queue-timeout, then resume the run."
    unschedulable_s: float = 600.0  # an administrator may mend meanwhile what keeps a job from it
    timeout_margin_s: float = 30.0  # the worker's own limit comes first, and saves what there is
    cancel_grace_s: float = 30.0
    interrupt_grace_s: float = 10.0
    progress_s: float | None = None
    cold_prefix: SharedPrefix | None = None
    recollect_s: float = 1.0
    call_notice_s: float = 60.0
    give_up_s: float = 900.0


class StopCause(StrEnum):
    """Why a run stopped before its tasks were through."""

    INTERRUPTED = "INTERRUPTED"
    PLANNING = "PLANNING"
    AUTH = "AUTH"
    BILLING = "BILLING"
    BUDGET = "BUDGET"
    OUTDATED = "OUTDATED"
    LAUNCH = "LAUNCH"
    DAMAGED = "DAMAGED"
    """A result that others need is not as its task left it; it has to be made again."""


@dataclass(frozen=True, slots=True)
class Stop:
    """`resume_with` holds the options without which resuming would end in the same way."""

    cause: StopCause
    message: str
    resume_with: str = ""


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """Every task's final state, the attempt that succeeded, and the message of the others."""

    states: Mapping[str, TaskState]
    succeeded: Mapping[str, int]
    messages: Mapping[str, str]
    stop: Stop | None = None

"""Tasks that a run does besides its plan, such as a repair: carried out by the same scheduler on
the same backend, each with the whole merged tree as its inputs."""

from collections.abc import Callable
from dataclasses import dataclass

from core.bundle import AttemptDir, Limits, ModelSettings, read_result
from core.check_request import CheckJob
from core.events import TaskAdded
from core.job import JobKey, TaskResult
from core.plan import Definitions, Plan, Task
from engine.delivery.merge import MergePlan, tree_digest
from engine.run.attempt_store import BaseSupply
from engine.run.jobs_view import JobsView
from engine.run.session import Session
from engine.scheduling.types import AttemptStore, RunOutcome
from engine.verification.tree_store import TreeStore

Schedule = Callable[[Plan, AttemptStore, JobsView], RunOutcome]
"""Runs a plan, of which the jobs of earlier sessions are known."""


@dataclass(frozen=True, slots=True)
class AddedEnd:
    """How a task ended: its result and where its files are, None unless it succeeded. `outcome` has
    the reason otherwise; its `stop` is why the whole run has to stop."""

    outcome: RunOutcome
    result: TaskResult | None = None
    attempt: AttemptDir | None = None

    @property
    def why_not(self) -> str:
        """Why there is no result."""
        stop = self.outcome.stop
        told = stop.message if stop else " ".join(self.outcome.messages.values())
        return told or "it did not succeed"


@dataclass(frozen=True, slots=True)
class AddedTasks:
    """Runs tasks of `session` that are not in its `plan`."""

    session: Session
    plan: Plan
    model: ModelSettings
    limits: Limits
    schedule: Schedule
    supply: BaseSupply | None = None

    def run(self, task: Task, merged: MergePlan, checks: CheckJob | None = None) -> AddedEnd:
        """Until `task` has ended; one that an earlier session began on the same tree goes on.

        Raises as a scheduler does. `task.owns` may name any path of the tree; contracts among them
        are files like any other. With `checks` its worker runs these and asks no model.
        """
        session, run = self.session, self.session.run
        alone = self._alone(task, merged)
        earlier = self._announce(task, Definitions(alone).of(task.id))
        prompt, files, supply = session.asked, merged.files, self.supply
        base = None
        if supply is not None:
            base = supply.given(self.plan) if checks is None else supply.whole()
        store = TreeStore(
            run, self.plan, prompt, self.model, self.limits, files, task, checks, base
        )
        outcome = self.schedule(alone, store, earlier)
        if (number := outcome.succeeded.get(task.id)) is None:
            return AddedEnd(outcome)
        key = JobKey(run.run_id, task.id, number)
        attempt = run.attempt(key)
        return AddedEnd(outcome, read_result(attempt, key), attempt)

    def _alone(self, task: Task, merged: MergePlan) -> Plan:
        """A plan of this task only, as the scheduler needs it. What its work stands on is the tree;
        its instructions tell of one more try, and may differ in how long a check took."""
        bare = task.model_copy(update={"instructions": task.title, "uses": (), "depends_on": ()})
        return Plan(tasks=(bare,), assumptions=(tree_digest(merged.files),))

    def _announce(self, task: Task, definition: str) -> JobsView:
        """Tell of the task; what earlier sessions did of it, on the same tree or to be stopped."""
        view = self.session.run_view
        begun = view.jobs.definitions.get(task.id, definition)
        is_anew = begun != definition
        key = JobKey(self.session.run.run_id, task.id, 0)
        self.session.emit(TaskAdded(task.title, task.estimate, is_anew), key)
        earlier = view.jobs.select(lambda name: name == task.id)
        if is_anew:
            earlier.definitions.clear()
            if earlier.open:  # no longer the latest attempt, so it is stopped
                earlier.attempts[task.id] += 1
        return earlier

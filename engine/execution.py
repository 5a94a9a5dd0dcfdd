"""Carries out a plan on a backend, as one session of a run: the scheduler with all it needs."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from backends.base import Backend
from config import Settings
from core.bundle import ModelSettings
from core.checks.runner import TOGETHER_S
from core.errors import BundleError
from core.job import TaskResult, TaskState
from core.plan import Plan
from engine.cli.signals import first_asks
from engine.money.budget import Budget
from engine.planning.code_sizes import NO_CODE, CodeSizes
from engine.planning.forecast import expected_needs
from engine.planning.warm_up import price_prefix
from engine.run.attempt_store import BaseSupply, DiskStore, verify_results
from engine.run.jobs_view import JobsView
from engine.run.session import Session, storing
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import AttemptStore, Pacing, PlanSource, RunOutcome, StopCause
from engine.scheduling.warm_up import CACHE_LIVES_S, SharedPrefix
from engine.verification.added_task import AddedTasks

PROGRESS_S = 0.5
"""Seconds between two looks at the progress of running jobs; a person notices no less."""
CHECKS_S = 2 * TOGETHER_S
"""Seconds that a job of checks has, the installation included."""


@dataclass(frozen=True, slots=True)
class Execution:
    """What a session's plans are carried out with; `model` executes. `supply` is of the existing
    code that the run changes; `queue_s` is how long jobs wait for their start, if no longer than
    any."""

    session: Session
    backend: Backend
    model: ModelSettings
    settings: Settings
    budget: Budget
    supply: BaseSupply | None = None
    queue_s: float = math.inf

    @storing()
    def run(self, plan: Plan, source: PlanSource | None = None) -> RunOutcome:
        """Run what is left of the plan, whose rest comes from `source` if there is one. Ctrl-C ends
        it early, resumable."""
        session, prompt = self.session, self.session.asked
        earlier = undamaged(session)
        self.expect(plan)
        is_cold = session.clock.time() - earlier.spent_at > CACHE_LIVES_S
        prefix = price_prefix(
            plan, prompt, self.budget.price, self.model, self.backend.first_line_s
        )
        limits = self.settings.limits()
        base = self.supply.given(plan) if self.supply else None
        store = DiskStore(session.run, plan, prompt, self.model, limits, base=base)
        return self._schedule(plan, store, earlier, prefix if is_cold else None, source)

    def besides(self, plan: Plan) -> AddedTasks:
        """What runs tasks that are not in the run's plan."""

        @storing()
        def run(alone: Plan, store: AttemptStore, earlier: JobsView) -> RunOutcome:
            self.expect(alone)
            return self._schedule(alone, store, earlier)

        limits = self.settings.limits()
        return AddedTasks(self.session, plan, self.model, limits, run, self.supply)

    def checks_of(self, plan: Plan, queue_s: float = math.inf) -> AddedTasks:
        """What runs checks as a job: they ask no model, and so take nothing of the budget. It waits
        for its start as long as any job, `queue_s` at most."""
        limit_s = max(self.settings.task_timeout, CHECKS_S)
        settings = replace(self.settings, task_timeout=limit_s)
        own = replace(self, settings=settings, budget=Budget(), queue_s=queue_s)
        return own.besides(plan)

    def expect(self, plan: Plan) -> None:
        """Tell the budget what the plan's tasks will take."""
        budget, prompt, supply = self.budget, self.session.asked, self.supply
        code = CodeSizes.read(supply.manifest, self.model) if supply else NO_CODE
        budget.expect(expected_needs(plan, prompt, budget.price, self.model, code))

    def proven(
        self, plan: Plan, outcome: RunOutcome
    ) -> tuple[RunOutcome, Mapping[str, TaskResult]]:
        """The outcome, and the results to deliver, each as its task left it: tasks whose results
        are not run again. Raises BundleError where that does not help, or others would run again
        too."""
        why = ""
        for tries_left in reversed(range(self.settings.max_retries)):
            found, stop = verify_results(self.session.run, deliverable(outcome)), outcome.stop
            was_damaged = stop is not None and stop.cause is StopCause.DAMAGED
            if not found.damaged and not was_damaged:
                return outcome, found.results
            named = [f"{task}: {why}" for task, why in found.damaged.items()]
            why = " ".join(named) or (stop.message if stop else "")
            failed = TaskState.FAILED in outcome.states.values()
            if not tries_left or failed or not (stop is None or was_damaged):
                break
            outcome = self.run(plan)
        raise BundleError(
            f"Nothing was delivered, since results were damaged after their tasks had ended: {why}",
            "Find out what changes files of the run, then resume it: these tasks run again.",
        )

    def _schedule(
        self,
        plan: Plan,
        store: AttemptStore,
        earlier: JobsView,
        cold_prefix: SharedPrefix | None = None,
        source: PlanSource | None = None,
    ) -> RunOutcome:
        session, calls = self.session, ThreadedCalls(self.session.clock)
        pacing = pacing_of(self.settings, cold_prefix, self.backend.cancel_lag_s)
        if self.queue_s < pacing.queue_timeout_s:
            remedy = "It is not waited for any longer."
            pacing = replace(pacing, queue_timeout_s=self.queue_s, queue_remedy=remedy)
        scheduler = Scheduler(
            session.run.run_id,
            plan,
            backend=self.backend,
            store=store,
            sink=session.sink,
            calls=calls,
            clock=session.clock,
            policy=RetryPolicy(self.settings.max_retries, random.Random()),
            pacing=pacing,
            earlier=earlier,
            commit=session.journal.commit,
            check=session.journal.check,
            budget=self.budget,
            source=source,
        )
        try:
            with first_asks(scheduler.interrupt):
                return scheduler.run()
        finally:
            calls.close()


def pacing_of(
    settings: Settings, cold_prefix: SharedPrefix | None = None, cancel_lag_s: float = 0.0
) -> Pacing:
    """The loop's limits under the settings in force, on a backend with that lag."""
    return Pacing(
        settings.max_executors,
        settings.task_timeout,
        queue_timeout_s=settings.queue_timeout,
        cancel_grace_s=Pacing().cancel_grace_s + cancel_lag_s,
        progress_s=None if settings.quiet else PROGRESS_S,
        cold_prefix=cold_prefix,
    )


def undamaged(session: Session) -> JobsView:
    """The jobs of the run's plan, without results that no longer match their manifests; those tasks
    run again."""
    added = session.run_view.tasks.added
    jobs = session.run_view.jobs.select(lambda task: task not in added)
    for task, why in verify_results(session.run, jobs.succeeded).damaged.items():
        session.notice(f"The task {task} runs again, since its result was damaged: {why}")
        del jobs.succeeded[task]
    return jobs


def deliverable(outcome: RunOutcome) -> dict[str, int]:
    """The attempts whose results are delivered; an interrupted run delivers nothing yet."""
    interrupted = outcome.stop is not None and outcome.stop.cause is StopCause.INTERRUPTED
    return {} if interrupted else dict(outcome.succeeded)

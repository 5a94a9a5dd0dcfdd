"""A run from top to bottom: plan, approve, execute, merge, exit code. Each step is fed by the one
before; preflight comes earlier (engine.planning.preflight), the report is a sink of the events."""

import random
from collections.abc import Callable
from dataclasses import replace

from backends.base import Backend
from config import Settings
from core.bundle import ModelSettings
from core.events import PlannedTask, PlanReady
from core.job import TaskState
from core.plan import Plan, parse_plan, render_plan
from core.wire import write_atomic
from engine.cleanup.outstanding_jobs import release
from engine.cleanup.run_backends import TimedBackend
from engine.cli.signals import first_asks
from engine.delivery.deliver import deliver
from engine.delivery.merge import MergePlan
from engine.money.budget import Budget, open_budget
from engine.planning.expectations import planning_took
from engine.planning.forecast import expected_needs
from engine.planning.preflight import PreparedRun
from engine.planning.warm_up import price_prefix
from engine.run.attempt_store import DiskStore, verify_results, write_contracts
from engine.run.jobs_view import JobsView
from engine.run.session import Session, announce, end_session, ending, storing
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing, RunOutcome, StopCause
from engine.scheduling.warm_up import CACHE_LIVES_S, SharedPrefix
from engine.views.approval import is_approved
from engine.views.plan import render_plan_view
from engine.views.types import View

PROGRESS_S = 0.5
"""Seconds between two looks at the progress of running jobs; a person notices no less."""


def carry_out(prepared: PreparedRun, session: Session, view: View) -> int:
    """The run itself; returns the exit code. Errors and Ctrl-C end the session and are raised."""
    settings = prepared.settings
    expected = prepared.expected_planning()
    announce(session, settings.backend, prepared.models, settings.max_executors, expected)
    with ending(session):
        budget = open_budget(
            settings.max_tokens, settings.max_cost, session.run_view.jobs, prepared.price
        )
        charge = budget.charging(session.spent)
        for usage in prepared.preflight_usage:
            charge(usage)
        plan = make_plan(
            session, lambda: prepared.ask_for_plan(budget.left(), charge, session.progress)
        )
        took = planning_took(session.run_view, prepared.price)
        forecast = prepared.expectations.forecast(plan, took)
        if settings.approve and not is_approved(view, render_plan_view(plan, forecast)):
            return end_session(session, 1, "not approved")
        if session.run_view.forecast is None:  # the summary compares the result with the first
            session.emit(forecast)
        model = prepared.models.executor
        outcome = run_plan(session, plan, prepared.backend, model, settings, budget)
        release(session, TimedBackend(prepared.backend, session.clock), budget.is_credible)
        merged = deliver(session, plan, deliverable(outcome))
        return end_session(session, exit_code(outcome, merged), why=outcome.stop)


@storing()
def make_plan(session: Session, ask: Callable[[], Plan]) -> Plan:
    """The run's plan: the one it has already, or the one that `ask` returns."""
    run = session.run
    if run.plan.exists():
        plan = parse_plan(run.plan.read_text(encoding="utf-8"), str(run.plan))
    else:
        plan = ask()
        write_atomic(run.plan, render_plan(plan), durable=True)
    write_contracts(run, plan)
    tasks = [PlannedTask(t.id, t.title, tuple(t.depends_on), t.estimate) for t in plan.tasks]
    session.emit(PlanReady(plan.title, tuple(tasks)))
    return plan


@storing()
def run_plan(
    session: Session,
    plan: Plan,
    backend: Backend,
    model: ModelSettings,
    settings: Settings,
    budget: Budget,
) -> RunOutcome:
    """Run what is left of the plan. Ctrl-C ends it early, resumable."""
    earlier = _undamaged(session)
    limits = settings.limits()
    budget.expect(expected_needs(plan, session.facts.prompt, budget.price, model))
    prefix = price_prefix(plan, session.facts.prompt, budget.price, model, backend.first_line_s)
    is_cold = session.clock.time() - earlier.spent_at > CACHE_LIVES_S
    calls = ThreadedCalls(session.clock)
    scheduler = Scheduler(
        session.run.run_id,
        plan,
        backend=backend,
        store=DiskStore(session.run, plan, session.facts.prompt, model, limits),
        sink=session.sink,
        calls=calls,
        clock=session.clock,
        policy=RetryPolicy(settings.max_retries, random.Random()),
        pacing=pacing_of(settings, prefix if is_cold else None, backend.cancel_lag_s),
        earlier=earlier,
        commit=session.journal.commit,
        budget=budget,
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


def _undamaged(session: Session) -> JobsView:
    """Without the results that no longer match their manifests; those tasks run again."""
    jobs = session.run_view.jobs
    damaged = verify_results(session.run, jobs.succeeded).damaged
    for task, why in damaged.items():
        session.notice(f"The result of task {task} was changed; the task runs again: {why}")
    succeeded = {task: number for task, number in jobs.succeeded.items() if task not in damaged}
    return replace(jobs, succeeded=succeeded)


def deliverable(outcome: RunOutcome) -> dict[str, int]:
    """The attempts whose results are delivered; an interrupted run delivers nothing yet."""
    interrupted = outcome.stop is not None and outcome.stop.cause is StopCause.INTERRUPTED
    return {} if interrupted else dict(outcome.succeeded)


def exit_code(outcome: RunOutcome, merged: MergePlan) -> int:
    """0 all well, 1 something is left to do, 4 stopped by a limit, 130 interrupted."""
    if outcome.stop is not None:
        return 130 if outcome.stop.cause is StopCause.INTERRUPTED else 4
    complete = all(state is TaskState.SUCCEEDED for state in outcome.states.values())
    return 0 if complete and merged.clean else 1

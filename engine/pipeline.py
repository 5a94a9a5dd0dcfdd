"""A run from top to bottom: plan, approve, execute, merge, exit code. Each step is fed by the one
before; preflight comes earlier (engine.planning.preflight), the report is a sink of the events."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from backends.base import Backend
from config import Settings
from core.bundle import ModelSettings
from core.errors import BudgetExceeded, BundleError, OrchestratorError, RunRemoved
from core.events import PlanApproved
from core.job import Amount, TaskResult, TaskState, Usage
from core.plan import Plan, parse_plan, render_plan
from core.wire import write_atomic
from engine.cleanup.outstanding_jobs import abandon, release
from engine.cleanup.run_backends import TimedBackend
from engine.cli.signals import first_asks
from engine.delivery.deliver import deliver
from engine.delivery.merge import MergePlan
from engine.money.budget import Budget, CostEstimate, open_budget
from engine.planning.early_start import BackgroundPlanning
from engine.planning.expectations import planning_took
from engine.planning.forecast import expected_needs, most_of_planning
from engine.planning.preflight import PreparedRun
from engine.planning.warm_up import price_prefix
from engine.run.attempt_store import DiskStore, verify_results, write_contracts
from engine.run.jobs_view import JobsView
from engine.run.plan_event import plan_ready
from engine.run.session import NOT_APPROVED, Session, announce, end_session, ending, storing
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing, PlanSource, RunOutcome, StopCause
from engine.scheduling.warm_up import CACHE_LIVES_S, SharedPrefix
from engine.verification.choice import choose_runner
from engine.verification.verify import verify
from engine.views.approval import is_approved
from engine.views.plan import render_plan_view
from engine.views.types import View

Charge = Callable[[Usage], None]

PROGRESS_S = 0.5
"""Seconds between two looks at the progress of running jobs; a person notices no less."""


class NotApproved(OrchestratorError):
    """The person does not want this plan carried out."""


def carry_out(prepared: PreparedRun, session: Session, view: View) -> int:
    """The run itself; returns the exit code. Errors and Ctrl-C end the session and are raised."""
    settings = prepared.settings
    expected = prepared.expected_planning()
    announce(session, settings.backend, prepared.models, settings.max_executors, expected)
    with ending(session), abandoning_what_is_gone(prepared, session), storing():
        budget = open_budget(
            settings.max_tokens, settings.max_cost, session.run_view.jobs, prepared.price
        )
        charge = budget.charging(session.spent)
        for usage in prepared.preflight_usage:
            charge(usage)
        try:
            plan, outcome = carry_out_plan(prepared, session, view, budget, charge)
            outcome, results = prove(prepared, session, plan, outcome, budget)
        except NotApproved as exc:
            return end_session(session, 1, NOT_APPROVED, exc)
        except (OrchestratorError, KeyboardInterrupt) as exc:
            if isinstance(exc, BudgetExceeded):
                exc.resume_with = budget.raised_for([_planning_needs(prepared)])
            lacks_plan = session.journal.is_kept and not session.run.plan.exists()
            if session.run_view.jobs.open and lacks_plan:
                # of a session that was killed before its plan was whole; no scheduler stops them
                release(session, TimedBackend(prepared.backend, session.clock), budget.is_credible)
            raise
        release(session, TimedBackend(prepared.backend, session.clock), budget.is_credible)
        merged = deliver(session, plan, results)
        code = exit_code(outcome, merged)
        if code == 0:
            runner = choose_runner(session, plan, merged, settings, prepared.backend)
            code = 1 if verify(session, plan, merged, runner).failed else 0
        return end_session(session, code, why=outcome.stop)


@contextmanager
def abandoning_what_is_gone(prepared: PreparedRun, session: Session) -> Iterator[None]:
    """Whatever a run whose directory is gone has run into inside, it ends as RunRemoved, and its
    jobs are stopped."""
    try:
        yield
    except (OrchestratorError, KeyboardInterrupt):
        try:
            session.journal.check()
        except RunRemoved as gone:
            left = abandon(session, TimedBackend(prepared.backend, session.clock))
            raise RunRemoved(gone.message, f"{left} {gone.remedy}".strip()) from None
        raise


def _planning_needs(prepared: PreparedRun) -> CostEstimate:
    part = prepared.expectations.planning(prepared.facts.prompt)
    likely = Amount(part.tokens, part.cost_usd or 0.0)
    most = most_of_planning(prepared.facts.prompt, prepared.price, prepared.models.planner)
    return CostEstimate(likely, likely, most)


def carry_out_plan(
    prepared: PreparedRun, session: Session, view: View, budget: Budget, charge: Charge
) -> tuple[Plan, RunOutcome]:
    """Have the plan made unless there is one, and run it; while it is being written if possible.

    Raises NotApproved, and what planner and backend raise.
    """
    settings = prepared.settings
    is_new = not (session.run.plan.exists() or session.run_view.jobs.attempts)
    if is_new and prepared.can_start_early:
        return run_early(prepared, session, budget, charge)
    plan = make_plan(
        session, lambda: prepared.ask_for_plan(budget.left(), charge, session.progress)
    )
    took = planning_took(session.run_view, prepared.price)
    forecast = prepared.expectations.forecast(plan, took)
    if settings.approve and not session.run_view.approved:
        if not is_approved(view, render_plan_view(plan, forecast)):
            raise NotApproved(f"You may edit the plan, {session.run.plan}, and give it to --plan.")
        session.emit(PlanApproved())
    if session.run_view.forecast is None:  # the summary compares the result with the first
        session.emit(forecast)
    model = prepared.models.executor
    return plan, run_plan(session, plan, prepared.backend, model, settings, budget)


def run_early(
    prepared: PreparedRun, session: Session, budget: Budget, charge: Charge
) -> tuple[Plan, RunOutcome]:
    """Run the plan while it is being written. Raises as `carry_out_plan` does."""
    settings, model = prepared.settings, prepared.models.executor
    most = most_of_planning(session.facts.prompt, budget.price, prepared.models.planner)
    allowance = budget.hold_planning(most)

    def written(plan: Plan) -> None:
        budget.planning_ended()
        expect(session, plan, model, budget)
        save_plan(session, plan)

    planning = BackgroundPlanning(
        lambda clock, hooks: prepared.ask_beside(allowance, clock, hooks),
        charge,
        session.progress,
        written,
    )
    with ExitStack() as stack:
        stack.callback(budget.planning_ended)
        stack.enter_context(planning)
        begun = _tasks_of(planning, session)
        session.emit(plan_ready(begun))
        took = prepared.expectations.begun(begun, session.run_view.planning_s)
        session.emit(prepared.expectations.forecast(begun, took))
        source = planning if planning.plan is None else None
        outcome = run_plan(session, begun, prepared.backend, model, settings, budget, source)
    was_interrupted = outcome.stop is not None and outcome.stop.cause is StopCause.INTERRUPTED
    if planning.error is not None and not was_interrupted:
        release(session, TimedBackend(prepared.backend, session.clock), budget.is_credible)
        raise planning.error
    return planning.plan or begun, outcome


def _tasks_of(planning: BackgroundPlanning, session: Session) -> Plan:
    """Raises as `wait_for_tasks` does."""
    try:
        return planning.wait_for_tasks()
    except KeyboardInterrupt:
        session.notice("Interrupted: stopping the planner; the run can be resumed.")
        raise


@storing()
def make_plan(session: Session, ask: Callable[[], Plan]) -> Plan:
    """The run's plan: the one it has already, or the one that `ask` returns."""
    path = session.run.plan
    plan = parse_plan(path.read_text(encoding="utf-8"), str(path)) if path.exists() else ask()
    save_plan(session, plan)
    session.emit(plan_ready(plan))
    return plan


@storing()
def save_plan(session: Session, plan: Plan) -> None:
    write_atomic(session.run.plan, render_plan(plan), durable=True)
    write_contracts(session.run, plan.contracts)


def expect(session: Session, plan: Plan, model: ModelSettings, budget: Budget) -> None:
    """Tell the budget what the plan's tasks will take."""
    budget.expect(expected_needs(plan, session.facts.prompt, budget.price, model))


@storing()
def run_plan(
    session: Session,
    plan: Plan,
    backend: Backend,
    model: ModelSettings,
    settings: Settings,
    budget: Budget,
    source: PlanSource | None = None,
) -> RunOutcome:
    """Run what is left of the plan, whose rest comes from `source` if there is one. Ctrl-C ends it
    early, resumable."""
    earlier = _undamaged(session)
    limits = settings.limits()
    expect(session, plan, model, budget)
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
        check=session.journal.check,
        budget=budget,
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


def _undamaged(session: Session) -> JobsView:
    """Without the results that no longer match their manifests; those tasks run again."""
    jobs = session.run_view.jobs
    damaged = verify_results(session.run, jobs.succeeded).damaged
    for task, why in damaged.items():
        session.notice(f"The task {task} runs again, since its result was damaged: {why}")
    succeeded = {task: number for task, number in jobs.succeeded.items() if task not in damaged}
    return replace(jobs, succeeded=succeeded)


def prove(
    prepared: PreparedRun, session: Session, plan: Plan, outcome: RunOutcome, budget: Budget
) -> tuple[RunOutcome, Mapping[str, TaskResult]]:
    """The outcome, and the results to deliver, each as its task left it: tasks whose results are
    not run again. Raises BundleError where that does not help, or others would run again too."""
    settings, model, why = prepared.settings, prepared.models.executor, ""
    for tries_left in reversed(range(settings.max_retries)):
        found, stop = verify_results(session.run, deliverable(outcome)), outcome.stop
        was_damaged = stop is not None and stop.cause is StopCause.DAMAGED
        if not found.damaged and not was_damaged:
            return outcome, found.results
        named = [f"{task}: {why}" for task, why in found.damaged.items()]
        why = " ".join(named) or (stop.message if stop else "")
        is_alone = TaskState.FAILED not in outcome.states.values() and (stop is None or was_damaged)
        if not tries_left or not is_alone:
            break
        outcome = run_plan(session, plan, prepared.backend, model, settings, budget)
    raise BundleError(
        f"Nothing was delivered, since results were damaged after their tasks had ended: {why}",
        "Find out what changes files of the run, then resume it: these tasks run again.",
    )


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

"""A run from top to bottom: plan, approve, execute, merge, exit code. Each step is fed by the one
before; preflight comes earlier (engine.planning.preflight), the report is a sink of the events."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from core.errors import BudgetExceeded, MergeError, OrchestratorError, RunRemoved
from core.events import Forecast, PlanApproved
from core.job import Amount, TaskState, Usage
from core.plan import Plan, parse_plan, render_plan
from core.wire import write_atomic
from core.worker.planning import Revision
from engine.cleanup.outstanding_jobs import abandon, release
from engine.cleanup.run_backends import TimedBackend
from engine.delivery.deliver import deliver
from engine.delivery.merge import MergePlan
from engine.execution import Execution, deliverable
from engine.money.budget import CostEstimate, open_budget
from engine.planning.early_start import BackgroundPlanning
from engine.planning.expectations import planning_took
from engine.planning.fit import refuse_unfit
from engine.planning.lacking_tools import lacking_tools
from engine.planning.plan_toml import parse_toml_plan, render_toml_plan
from engine.planning.preflight import PreparedRun, SeenCode
from engine.repository.base import prepare_base, read_base
from engine.repository.branch import fast_forward
from engine.repository.packed_base import PackedBase
from engine.repository.part import BasePart
from engine.run.attempt_store import write_contracts
from engine.run.plan_event import plan_ready
from engine.run.session import NOT_APPROVED, Session, announce, end_session, ending, storing
from engine.scheduling.types import RunOutcome, StopCause
from engine.verification.merge_conflicts import merge_conflicts
from engine.verification.prove import is_over, prove
from engine.verification.provenance import write_provenance
from engine.verification.remake import remake_lock_files
from engine.verification.repairs.repair import Proven
from engine.verification.reproduce import find_failure
from engine.verification.verify import Report
from engine.views.approval import Approval
from engine.views.existing import describe_base, describe_part
from engine.views.plan import render_plan_view
from engine.views.types import View

Charge = Callable[[Usage], None]


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
        model = prepared.models.executor
        prepared, supply = with_base(prepared, session)
        execution = Execution(session, prepared.backend, model, settings, budget, supply)
        try:
            plan, outcome = carry_out_plan(prepared, execution, view, charge)
            outcome, results = execution.proven(plan, outcome)
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
        not_applied = None
        try:
            stop = merge_conflicts(execution.besides(plan), plan, results)
            if stop is not None and is_over(stop):
                outcome = replace(outcome, stop=stop)
                results = results if deliverable(outcome) else {}
            remake_lock_files(execution.checks_of(plan), plan, results, settings, prepared.backend)
            merged = deliver(session, plan, results)
            code, proven = exit_code(outcome, merged), Proven(merged, Report(), outcome.stop)
            if code == 0:
                besides, checks = execution.besides(plan), execution.checks_of(plan)
                code, proven = prove(besides, checks, merged, settings, prepared.backend)
            if code == 0 and settings.apply and (why := apply_change(session)):
                code, not_applied = 1, MergeError(f"Not applied: {why}")
            if merged.files:
                write_provenance(session, plan, proven, prepared.price)
        finally:
            release(session, TimedBackend(prepared.backend, session.clock), budget.is_credible)
        return end_session(session, code, why=proven.stop or not_applied)


@storing()
def with_base(prepared: PreparedRun, session: Session) -> tuple[PreparedRun, PackedBase | None]:
    """With the existing code that the run changes, laid out; None where there is none."""
    settings, run = prepared.settings, session.run
    if settings.into is None:
        return prepared, None
    is_new = not run.base_json.exists()
    base = prepare_base(settings.into, settings.base, run)
    if is_new:
        for line in describe_base(base):
            session.notice(line)
    if base.is_empty:
        return prepared, None

    def tell(part: BasePart) -> None:
        for line in describe_part(part):
            session.notice(line)

    supply = PackedBase(run, base.manifest, session.asked, tell)
    return prepared.seeing(SeenCode.of(base, run)), supply


def apply_change(session: Session) -> str:
    """Why the branch that is checked out was not fast-forwarded; empty where it was, and where a
    directory is changed itself."""
    base = read_base(session.run)
    if base is None or base.is_plain:
        return ""
    if why := fast_forward(base, session.run):
        return why
    session.notice(f"{base.branch} in {base.directory} is at the result now.")
    if (delivered := session.run_view.delivered) is not None:
        session.emit(replace(delivered, branch="", take=""))
    return ""


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
    return CostEstimate(likely, likely, prepared.most_of_planning())


def carry_out_plan(
    prepared: PreparedRun, execution: Execution, view: View, charge: Charge
) -> tuple[Plan, RunOutcome]:
    """Have the plan made unless there is one, and run it; while it is being written if possible.

    Raises NotApproved, and what planner and backend raise.
    """
    session, settings, budget = execution.session, prepared.settings, execution.budget
    if found := find_failure(session, settings, prepared.backend, execution.checks_of):
        prepared = replace(prepared, code=replace(prepared.code, failure=found.for_planner()))
    is_new = not (session.run.plan.exists() or session.run_view.has_begun)
    if is_new and prepared.can_start_early:
        return run_early(prepared, execution, charge)
    plan = make_plan(
        session, lambda: prepared.ask_for_plan(budget.left(), charge, session.progress)
    )
    if not session.run_view.has_begun:
        refuse_unfit(session.run, plan)
    warn_of_lacking_tools(prepared, session, plan)
    if settings.approve and not session.run_view.approved:
        plan = approve(prepared, execution, view, charge, plan)
        refuse_unfit(session.run, plan)
    if session.run_view.forecast is None:  # the summary compares the result with the first
        session.emit(forecast_of(prepared, session, plan))
    return plan, execution.run(plan)


def forecast_of(prepared: PreparedRun, session: Session, plan: Plan) -> Forecast:
    took = planning_took(session.run_view, prepared.price)
    return prepared.expectations.forecast(plan, took)


def approve(
    prepared: PreparedRun, execution: Execution, view: View, charge: Charge, plan: Plan
) -> Plan:
    """The plan that the person agrees to: this one, one that they edited, or one that was made anew
    out of what they said. Raises NotApproved, and what the planner raises."""
    session = execution.session
    revisions: list[Revision] = []

    def keep(plan: Plan) -> None:
        save_plan(session, plan)
        session.emit(plan_ready(plan))

    def replan(plan: Plan, feedback: str) -> Plan:
        session.notice(f"The plan goes back to the planner: {feedback}")
        if prepared.facts.simulated:
            session.notice("A simulated planner does not read that: its plan stays the same.")
        text = plan.model_dump_json(exclude={"version", "prompt"})
        asked = (*revisions, Revision(text, feedback))
        made = prepared.ask_for_plan(execution.budget.left(), charge, session.progress, asked)
        revisions.append(asked[-1])
        keep(made)
        warn_of_lacking_tools(prepared, session, made)
        return made

    def render(plan: Plan) -> str:
        return render_plan_view(plan, forecast_of(prepared, session, plan))

    approval = Approval(view, render, render_toml_plan, parse_toml_plan, replan, keep)
    if (approved := approval.ask(plan)) is None:
        raise NotApproved(
            "Nothing was spent but on the plan. To resume the run asks again; or edit the plan,"
            f" {session.run.plan}, and give it to --plan."
        )
    session.emit(PlanApproved())
    return approved


def warn_of_lacking_tools(prepared: PreparedRun, session: Session, plan: Plan) -> None:
    if prepared.settings.verify and (notice := lacking_tools(plan, prepared.backend)):
        session.notice(notice)


def run_early(
    prepared: PreparedRun, execution: Execution, charge: Charge
) -> tuple[Plan, RunOutcome]:
    """Run the plan while it is being written. Raises as `carry_out_plan` does."""
    session, budget = execution.session, execution.budget
    allowance = budget.hold_planning(prepared.most_of_planning())

    def written(plan: Plan) -> None:
        budget.planning_ended()
        execution.expect(plan)
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
        warn_of_lacking_tools(prepared, session, begun)
        took = prepared.expectations.begun(begun, session.run_view.planning_s)
        session.emit(prepared.expectations.forecast(begun, took))
        source = planning if planning.plan is None else None
        outcome = execution.run(begun, source)
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


def exit_code(outcome: RunOutcome, merged: MergePlan) -> int:
    """0 all well, 1 something is left to do, 4 stopped by a limit, 130 interrupted."""
    if outcome.stop is not None:
        return 130 if outcome.stop.cause is StopCause.INTERRUPTED else 4
    complete = all(state is TaskState.SUCCEEDED for state in outcome.states.values())
    return 0 if complete and merged.clean else 1

"""What a delivery is worth: it is verified, and repaired and delivered again where that fails."""

from backends.base import Backend
from config import Settings
from engine.delivery.change import existing_tree
from engine.delivery.merge import MergePlan
from engine.repository.base import read_base
from engine.scheduling.types import Stop, StopCause
from engine.verification.acceptance import Accepted, accept
from engine.verification.added_task import AddedTasks
from engine.verification.baseline import Baseline
from engine.verification.choice import choose_runner
from engine.verification.repairs.repair import Proven, Repairs
from engine.verification.verify import CheckRunner, Report, verify


def prove(
    added: AddedTasks, checks: AddedTasks, merged: MergePlan, settings: Settings, backend: Backend
) -> tuple[int, Proven]:
    """The exit code, and what is delivered in the end. `checks` runs those that are jobs."""
    session = added.session
    base = read_base(session.run)
    baseline = Baseline(existing_tree(session.run, base)) if base else None
    runner = choose_runner(session, added.plan, merged, settings, backend, checks)
    accepted = Accepted(added.plan)
    if isinstance(runner, CheckRunner) and settings.real and not settings.no_acceptance:
        accepted = accept(added, added.plan, merged)
        runner = accepted.around(runner)
        if accepted.why_not:
            session.notice(f"Criteria without a command are not proven: {accepted.why_not}")

    def verify_tree(tree: MergePlan) -> Report:
        return verify(session, accepted.plan, tree, runner, baseline)

    end = Proven(merged, Report(), accepted.stop)
    if not is_over(accepted.stop):
        repairs = Repairs(session, accepted.plan, added, verify_tree, accepted.beside)
        end = repairs.run(Proven(merged, verify_tree(merged)), settings.repair_rounds)
    return exit_code(end), end


def is_over(stop: Stop | None) -> bool:
    """Whether nothing more may be done; what the budget has no room for is left out."""
    return stop is not None and stop.cause not in (StopCause.BUDGET, StopCause.DAMAGED)


def exit_code(end: Proven) -> int:
    """1 as well where the budget ends the repairs: the project is delivered."""
    if end.stop is None or not is_over(end.stop):
        return 1 if end.report.failed else 0
    return 130 if end.stop.cause is StopCause.INTERRUPTED else 4

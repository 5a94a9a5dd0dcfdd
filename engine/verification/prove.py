"""What a delivery is worth: it is verified, and repaired and delivered again where that fails."""

from backends.base import Backend
from config import Settings
from engine.delivery.merge import MergePlan
from engine.scheduling.types import Stop, StopCause
from engine.verification.added_task import AddedTasks
from engine.verification.choice import choose_runner
from engine.verification.repair import Proven, Repairs
from engine.verification.verify import Report, verify


def prove(
    added: AddedTasks, merged: MergePlan, settings: Settings, backend: Backend
) -> tuple[int, Stop | None]:
    """The exit code, and why the run has to stop before the last repair is through."""
    session, plan = added.session, added.plan
    runner = choose_runner(session, plan, merged, settings, backend)

    def verify_tree(tree: MergePlan) -> Report:
        return verify(session, plan, tree, runner)

    repairs = Repairs(session, plan, added, verify_tree)
    end = repairs.run(Proven(merged, verify_tree(merged)), settings.repair_rounds)
    return exit_code(end), end.stop


def exit_code(end: Proven) -> int:
    """1 as well where the budget ends the repairs: the project is delivered."""
    match end.stop and end.stop.cause:
        case None | StopCause.BUDGET | StopCause.DAMAGED:
            return 1 if end.report.failed else 0
        case StopCause.INTERRUPTED:
            return 130
        case _:
            return 4

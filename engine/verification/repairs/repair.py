"""Repairs: while checks fail and rounds are left, a task repairs what is delivered, and code
decides whether its work is kept. What is kept is delivered in place of what was there."""

from collections.abc import Callable
from dataclasses import dataclass

from core.checks.runner import FLAKY
from core.errors import MergeError
from core.events import CheckEnded, Proof, RepairBegun, RepairEnded, Suspect
from core.plan import Plan
from core.wire import write_atomic
from engine.delivery.deliver import deliver_repaired
from engine.delivery.merge import MergePlan, MergeSource, merge_over
from engine.delivery.merged_file import read_text
from engine.run.plan_event import repair_name
from engine.run.session import Session
from engine.scheduling.types import Stop, StopCause
from engine.verification.added_task import AddedEnd, AddedTasks
from engine.verification.repairs.judge import find_objections
from engine.verification.repairs.repair_task import RepairTask, plan_repair
from engine.verification.repairs.trace import owner_of
from engine.verification.verify import Report

Verify = Callable[[MergePlan], Report]
_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class Proven:
    """A tree, and what verification has shown of it. `stop` is why the run has to stop here."""

    merged: MergePlan
    report: Report
    stop: Stop | None = None


@dataclass(frozen=True, slots=True)
class Repairs:
    """Repairs the delivery of a session; `verify` is that of its runner, and `inputs` makes of a
    tree what a repair is given: with files that checks need and the project does not."""

    session: Session
    plan: Plan
    added: AddedTasks
    verify: Verify
    inputs: Callable[[MergePlan], MergePlan] = lambda tree: tree

    def run(self, best: Proven, rounds: int) -> Proven:
        """The best state there is after at most `rounds`; it is what is delivered.

        Raises as the scheduler and the checks do.
        """
        rejected = ""
        owners = {file.owner for file in best.merged.files}
        laid = [n for n in self.session.run_view.proof.kept_rounds if repair_name(n) in owners]
        for number in range(1 + max(laid, default=0), rounds + 1):
            if not (failed := best.report.failed):
                break
            planned = plan_repair(number, failed, self.plan, best.merged, rejected)
            commands = tuple(check.command for check in failed)
            self.session.emit(RepairBegun(number, commands, planned.suspects))
            end = self.added.run(planned.task, self.inputs(best.merged))
            found, rejected = self._judge(best, end, planned)
            changed = self._changed(best.merged, found.merged) if not rejected else ()
            states = [check.state for check in found.report.ended if check.phase == "check"]
            passed = states.count(Proof.PASSED)
            self.session.emit(RepairEnded(number, passed, len(states), changed, rejected))
            if end.outcome.stop is not None:
                return Proven(best.merged, best.report, end.outcome.stop)
            best = found
        return best

    def _judge(self, best: Proven, end: AddedEnd, planned: RepairTask) -> tuple[Proven, str]:
        """What is the best now, and why the repair was not kept; empty if it was."""
        if end.result is None or end.attempt is None:
            return best, _why_it_ended(end)
        result, files = end.result, end.attempt.files
        source = MergeSource(planned.task.id, files, result.manifest, result.deleted)
        tree = merge_over(best.merged, source)
        if objections := self._objections(best.merged, tree):
            return best, " ".join(f"{text.rstrip('.')}." for text in objections[:_MOST_TOLD])
        acceptance = self.session.run.acceptance.read_bytes()
        report = self.verify(tree)
        touched = [suspect.path for suspect in self._changed(best.merged, tree)]
        contracts = [c.path for c in self.plan.contracts if c.path in touched]
        why = why_no_better(best.report, report, contracts)
        if not why:
            try:
                delivered = deliver_repaired(self.session, self.plan, tree, planned.task.id)
                return Proven(delivered, report), ""
            except MergeError as exc:  # a person has been at the target meanwhile
                why = exc.message
        write_atomic(self.session.run.acceptance, acceptance.decode())
        return best, why

    def _objections(self, before: MergePlan, after: MergePlan) -> list[str]:
        if refused := after.refused[len(before.refused) :]:
            return [f"{file.path} {file.why}" for file in refused]
        old = {file.path: file for file in before.files}
        new = [file for file in after.files if file is not old.get(file.path)]
        gone = old.keys() - {file.path for file in after.files}
        if not (new or gone):
            return ["no file was changed"]
        paths = gone | {file.path for file in new}
        was = {path: read_text(file) for path, file in old.items() if path in paths}
        return find_objections(was, {file.path: read_text(file) for file in new})

    def _changed(self, before: MergePlan, after: MergePlan) -> tuple[Suspect, ...]:
        old = {(file.path, file.entry.sha256) for file in before.files}
        new = [file for file in after.files if (file.path, file.entry.sha256) not in old]
        left = {file.path for file in after.files}
        gone = (file for file in before.files if file.path not in left)
        return tuple(Suspect(file.path, owner_of(file, self.plan)) for file in (*new, *gone))


def why_no_better(before: Report, after: Report, contracts: list[str]) -> str:
    """Why a tree with the report `after` does not replace one with `before`; empty if it does.
    `contracts` are those that were changed for it."""
    if not after.ended:
        return "it could not be checked"
    ran = {_name(check): check.tests for check in after.ended}
    lost = [check for check in before.ended if _name(check) in before.passed - after.passed]
    if lost:
        return f"{lost[0].command} passed before, and does not now"
    for check in before.ended:
        now = ran.get(_name(check), 0)
        if now < check.tests and _name(check) in after.passed:
            return f"{check.command} ran {check.tests} tests before, and {now} now"
    failed = {_name(check) for check in before.failed}
    for check in after.ended:
        is_idle = check.state is Proof.NOT_PROVEN and check.reason != FLAKY
        if _name(check) in failed and is_idle:
            return f"{check.command} failed before, and proves nothing now: {check.reason}"
    if contracts and after.failed:
        return f"{contracts[0]} is a contract and was changed, and not every check passes now"
    known = {_name(check) for check in before.ended}
    is_better = len(after.passed & known) > len(before.passed)
    return "" if is_better else "no more checks pass than before"


def _name(check: CheckEnded) -> tuple[str, str]:
    return check.phase, check.command


def _why_it_ended(end: AddedEnd) -> str:
    stop = end.outcome.stop
    no_room = stop is not None and stop.cause is StopCause.BUDGET
    return f"none was tried, for want of budget. {end.why_not}" if no_room else end.why_not

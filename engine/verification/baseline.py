"""Existing code as it was: a check that failed there before is not held against anybody."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from core.check_request import Check, CheckRequest
from core.checks.runner import Tell
from core.events import CheckBegun, CheckEnded, Proof
from core.plan import Plan, Setup
from engine.delivery.merge import MergePlan

FAILED_BEFORE = "it failed before this change, too"
PASSED_BEFORE = "it passed before this change"

_FAILING = re.compile(
    r"^(?:FAILED|ERROR) (\S+)"  # pytest
    r"|^(?:FAIL|ERROR): (.+)$"  # unittest
    r"|^\s*--- FAIL: (\S+)"  # go
    r"|^\s*not ok \d+ -? ?(.+)$"  # TAP
    r"|^\s*[\u2715\u2716\u00d7] (.+?)(?: \([\d.]+ ?m?s\))?$",  # node, jest, vitest
    re.MULTILINE,
)
_MOST_NAMED = 3

Run = Callable[[CheckRequest, MergePlan, Tell], None]


@dataclass(slots=True)
class Baseline:
    """How commands end in the `tree` that the run started from, empty for a new project; run when
    first asked for."""

    tree: MergePlan
    _known: dict[str, CheckEnded] = field(default_factory=dict, init=False)

    def of(self, commands: list[str], setup: Setup, run: Run) -> dict[str, CheckEnded]:
        """The end of each command there. Raises as `run` does."""
        if unknown := [command for command in commands if command not in self._known]:
            run(CheckRequest(setup, tuple(map(Check, unknown))), self.tree, self._take)
        return {command: self._known[command] for command in commands if command in self._known}

    def judge(self, run: Run, plan: Plan, told: Tell) -> "BaselineJudge":
        return BaselineJudge(self, plan, run, told)

    def _take(self, data: CheckBegun | CheckEnded) -> None:
        if isinstance(data, CheckEnded) and data.phase == "check":
            self._known[data.command] = data


@dataclass(slots=True)
class BaselineJudge:
    """Stands between a runner and those who are told: failed checks are told at the end, as they
    compare with the baseline. A command of a criterion has to pass, whatever was before."""

    baseline: Baseline
    plan: Plan
    run: Run
    told: Tell
    _failed: list[CheckEnded] = field(default_factory=list, init=False)

    def tell(self, data: CheckBegun | CheckEnded) -> None:
        if not self.baseline.tree.files:  # a new project
            self.told(data)
        elif isinstance(data, CheckEnded) and (data.phase, data.state) == ("check", Proof.FAILED):
            self._failed.append(data)
        else:
            self.told(data)

    def end(self) -> None:
        """Raises as `run` does."""
        wanted = {criterion.command for criterion in self.plan.acceptance_criteria}
        commands = [check.command for check in self._failed]
        before = self.baseline.of(commands, self.plan.setup, self.run) if commands else {}
        for check in self._failed:
            self.told(_compared(check, before.get(check.command), check.command in wanted))


def _compared(check: CheckEnded, before: CheckEnded | None, is_wanted: bool) -> CheckEnded:
    if before is None or before.state is Proof.NOT_PROVEN:
        return check
    if before.state is Proof.PASSED:
        return replace(check, reason=f"{check.reason}; {PASSED_BEFORE}")
    if new := sorted(failing(check.output) - failing(before.output)):
        more = f" and {len(new) - _MOST_NAMED} more" if len(new) > _MOST_NAMED else ""
        return replace(check, reason=f"did not fail before: {', '.join(new[:_MOST_NAMED])}{more}")
    if is_wanted or check.tests < before.tests:
        return check
    return replace(check, state=Proof.NOT_PROVEN, reason=FAILED_BEFORE)


def failing(output: str) -> set[str]:
    """The tests that a runner names as failed."""
    return {next(filter(None, match.groups())).strip() for match in _FAILING.finditer(output)}

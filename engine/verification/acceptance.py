"""Black-box checks of criteria that no command of the plan shows: one more executor writes them,
from the request and the product, without having seen the project's tests."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from claude.prompts import load_prompt
from core.check_request import PROGRAMS, CheckRequest
from core.checks.runner import Tell
from core.plan import Plan, Task
from engine.delivery.merge import MergedFile, MergePlan
from engine.scheduling.types import Stop
from engine.verification.added_task import AddedTasks
from engine.verification.conventions import is_test
from engine.verification.verify import CheckRunner

TASK = "accept-1"
_FOLDER = f"{PROGRAMS}/"
_RUN_BY = {"py": "python3", "js": "node", "sh": "sh"}
_PROGRAM = re.compile(rf"{re.escape(_FOLDER)}([1-9][0-9]{{0,3}})\.(py|js|sh)")
_TOKENS_EACH = 500


@dataclass(frozen=True, slots=True)
class Accepted:
    """`plan` with commands for as many criteria as could be had, and the `files` that these need
    beside the product; `why_not` tells why there are none, `stop` why the run has to end."""

    plan: Plan
    files: Sequence[MergedFile] = ()
    why_not: str = ""
    stop: Stop | None = None

    def around(self, runner: CheckRunner) -> CheckRunner:
        """The same, with the files there."""
        return _WithFiles(runner, self) if self.files else runner

    def beside(self, merged: MergePlan) -> MergePlan:
        """What was merged, and the files."""
        files = (*_without_folder(merged).files, *self.files)
        return replace(merged, files=files) if self.files else merged


class _WithFiles(CheckRunner):
    def __init__(self, runner: CheckRunner, accepted: Accepted) -> None:
        self._runner, self._accepted = runner, accepted

    @property
    def name(self) -> str:  # type: ignore[override]
        return self._runner.name

    def run(self, request: CheckRequest, merged: MergePlan, tell: Tell) -> None:
        self._runner.run(request, self._accepted.beside(merged), tell)


def accept(besides: AddedTasks, plan: Plan, merged: MergePlan) -> Accepted:
    """Have the checks written, if any are wanted. Raises as a scheduler does."""
    if not lacking(plan):
        return Accepted(plan)
    seen = _without_folder(merged)
    seen = replace(seen, files=tuple(file for file in seen.files if not is_test(file.path)))
    end = besides.run(acceptance_task(plan), seen)
    if end.result is None or end.attempt is None:
        return Accepted(plan, (), end.why_not, end.outcome.stop)
    root, entries = end.attempt.files, end.result.manifest.entries
    return with_programs(plan, [MergedFile(e.path, TASK, root / e.path, e) for e in entries])


def acceptance_task(plan: Plan) -> Task:
    criteria = [f"{n}. {plan.acceptance_criteria[n - 1].text}" for n in lacking(plan)]
    return Task(
        id=TASK,
        title="Acceptance checks",
        instructions="\n".join([load_prompt("acceptance").rstrip(), *criteria]),
        owns=(_FOLDER,),
        estimate=_TOKENS_EACH * len(criteria),
    )


def lacking(plan: Plan) -> list[int]:
    """The numbers, from 1, of the criteria without a command."""
    numbered = enumerate(plan.acceptance_criteria, start=1)
    return [number for number, criterion in numbered if not criterion.command.strip()]


def with_programs(plan: Plan, files: Sequence[MergedFile]) -> Accepted:
    """With what the executor has left; a program without a criterion of its own is not run."""
    wanted, criteria = set(lacking(plan)), list(plan.acceptance_criteria)
    for path in (file.path for file in files):
        program = _PROGRAM.fullmatch(path)
        if program and (number := int(program[1])) in wanted:
            command = {"command": f"{_RUN_BY[program[2]]} {path}"}
            criteria[number - 1] = criteria[number - 1].model_copy(update=command)
            wanted.remove(number)
    return Accepted(plan.model_copy(update={"acceptance_criteria": tuple(criteria)}), files)


def _without_folder(merged: MergePlan) -> MergePlan:
    """Without files of the project that are in the way of the checks."""
    kept = tuple(file for file in merged.files if not file.path.startswith(_FOLDER))
    return replace(merged, files=kept)

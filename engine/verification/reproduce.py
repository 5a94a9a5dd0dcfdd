"""A failure that the prompt reports, tried on the code as it is, before anybody plans."""

from dataclasses import dataclass

from core.check_request import Check, CheckRequest
from core.events import CheckBegun, CheckEnded, Proof
from core.plan import Plan, build_single_task_plan
from core.quoting import quoted
from core.worker.planning import Failure
from engine.delivery.merge import MergePlan
from engine.delivery.merged_file import read_text
from engine.repository.reproduce import command_in, guess_setup
from engine.verification.verify import CheckRunner, ChecksNotRun

_MOST_OUTPUT_CHARS = 6_000
_PASSES = "It passes on the code as it is: what fails may need another state, input or version."


@dataclass(frozen=True, slots=True)
class Reproduction:
    """How the `command` ended on the code as it is; `reason` says more in words."""

    command: str
    state: Proof
    reason: str = ""
    output: str = ""

    def for_person(self) -> str:
        match self.state:
            case Proof.FAILED:
                return f"Reproduced: {self.command} fails on the code as it is ({self.reason})."
            case Proof.PASSED:
                return f"Not reproduced: {self.command} passes on the code as it is."
            case _:
                return f"Not reproduced: {self.command} could not be tried: {self.reason}."

    def for_planner(self) -> Failure:
        match self.state:
            case Proof.FAILED:
                told = f"It was run on the code as it is, and fails: {self.reason}."
            case Proof.PASSED:
                told = _PASSES
            case _:
                told = f"It could not be tried here: {self.reason}."
        parts = [f"<failure>\n{self.command}\n{told}", quoted(self.output[-_MOST_OUTPUT_CHARS:])]
        text = "\n".join([*filter(str.strip, parts), "</failure>"])
        return Failure(text, self.command if self.state is Proof.FAILED else "")


def plan_of_failure(prompt: str, tree: MergePlan) -> Plan | None:
    """A plan whose one check is the command that the prompt reports as failing, on the set-up that
    the files of `tree` tell; None where it reports none."""
    if (command := command_in(prompt)) is None:
        return None
    files = {file.path: file for file in tree.files}
    setup = guess_setup(
        command, files, lambda path: read_text(files[path]) if path in files else ""
    )
    alone = build_single_task_plan(prompt, existing=True, failing=command)
    return alone.model_copy(update={"setup": setup})


def reproduce(plan: Plan, tree: MergePlan, runner: CheckRunner | str) -> Reproduction:
    """How the check of `plan_of_failure` ends in `tree`; `runner` is the reason where there is
    none. Raises as a CheckRunner does otherwise, such as Interrupted."""
    (command,) = plan.tasks[0].checks
    if isinstance(runner, str):
        return Reproduction(command, Proof.NOT_PROVEN, runner)
    ended: list[CheckEnded] = []

    def tell(data: CheckBegun | CheckEnded) -> None:
        if isinstance(data, CheckEnded):
            ended.append(data)

    try:
        runner.run(CheckRequest(plan.setup, (Check(command),)), tree, tell)
    except ChecksNotRun as exc:
        return Reproduction(command, Proof.NOT_PROVEN, exc.message)
    failed = [end for end in ended if end.phase == "install" and end.state is not Proof.PASSED]
    if failed:  # its output tells more than that the check was not run
        reason = f"{failed[0].command} fails: {failed[0].reason}"
        return Reproduction(command, Proof.NOT_PROVEN, reason, failed[0].output)
    last = ended[-1]
    return Reproduction(command, last.state, last.reason, last.output)

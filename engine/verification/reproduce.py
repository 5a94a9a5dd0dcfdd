"""A failure that the prompt reports, tried on the code as it is, before anybody plans."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from backends.base import Backend, CheckPlace
from config import Settings
from core.check_request import Check, CheckRequest
from core.clock import Clock
from core.events import CheckBegun, CheckEnded, Proof
from core.plan import Plan, build_single_task_plan
from core.quoting import quoted
from core.wire import decode, encode, write_atomic
from core.worker.planning import Failure
from engine.delivery.change import existing_tree
from engine.delivery.merge import MergePlan
from engine.delivery.merged_file import read_text
from engine.repository.base import BaseRecord, read_base
from engine.repository.reproduce import command_in, guess_setup
from engine.run.rundir import RunDir
from engine.run.session import Session
from engine.verification.added_task import AddedTasks
from engine.verification.choice import choose_near, choose_runner
from engine.verification.job_runner import JobRunner
from engine.verification.verify import CheckRunner, ChecksNotRun

TASK = "reproduce-1"
QUEUE_S = 600.0
"""Seconds that it may wait for its start, where it is a job, before planning goes on without."""
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
                could_not = f"{self.command} could not be tried"
                return f"Not reproduced, and planned without: {could_not}: {self.reason}."

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


def find_failure(
    session: Session,
    settings: Settings,
    backend: Backend,
    checks_of: Callable[[Plan, float], AddedTasks],
) -> Reproduction | None:
    """How the command that the prompt reports as failing ends on the existing code; None where it
    reports none. It is tried once in a run, before there is a plan, and told when it was; what a
    killed session began of it goes on. `checks_of` a plan run as jobs that wait so many seconds to
    be started. Raises as `reproduce` does, and BackendError where no job of the run could work."""
    run = session.run
    if run.reproduction.exists():
        return decode(Reproduction, run.reproduction.read_bytes(), str(run.reproduction))
    base = read_base(run)
    if base is None or not settings.verify or run.plan.exists():
        return None
    tree = existing_tree(run, base)
    if (plan := plan_of_failure(session.facts.prompt, tree)) is None:
        return None
    session.progress(f"trying {plan.tasks[0].checks[0]} on the code as it is")
    runner = choose_runner(session, plan, tree, settings, backend, checks_of(plan, QUEUE_S))
    if isinstance(runner, JobRunner):
        runner = replace(runner, task=TASK)
    found = reproduce(plan, tree, runner)
    session.notice(found.for_person())
    write_atomic(run.reproduction, encode(found) + "\n", durable=True)
    return found


def try_alone(
    run: RunDir,
    base: BaseRecord,
    prompt: str,
    settings: Settings,
    place: CheckPlace,
    clock: Clock,
    progress: Callable[[str], None],
) -> Reproduction | None:
    """The same for a plan that is made without a run, on a backend whose checks run in `place`; no
    job is started."""
    tree = existing_tree(run, base)
    if not settings.verify or (plan := plan_of_failure(prompt, tree)) is None:
        return None
    progress(f"trying {plan.tasks[0].checks[0]} on the code as it is")
    is_job = place == "job"
    why_not = "it would be a job, and plan starts none"
    runner = why_not if is_job else choose_near(run, clock, plan, settings, place)
    return reproduce(plan, tree, runner)


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
        cause = exc.message.partition(". ")[0]  # without a remedy, since the run goes on
        return Reproduction(command, Proof.NOT_PROVEN, cause)
    failed = [end for end in ended if end.phase == "install" and end.state is not Proof.PASSED]
    if failed:  # its output tells more than that the check was not run
        reason = f"{failed[0].command} fails: {failed[0].reason}"
        return Reproduction(command, Proof.NOT_PROVEN, reason, failed[0].output)
    last = ended[-1]
    return Reproduction(command, last.state, last.reason, last.output)

"""Verification: what is delivered is installed and checked in a copy, and the journal has it.

Where that copy is, a CheckRunner decides: on this machine, in a container, or in a job.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.check_request import Check, CheckRequest
from core.checks.runner import Checker, Tell
from core.checks.sandbox import Places, Sandbox
from core.clock import Clock
from core.errors import OrchestratorError, WorkspaceError
from core.events import CheckBegun, CheckEnded, CriterionProof, Proof, Verified
from core.plan import Plan
from core.workspace.confined import ConfinedTree, remove_tree
from engine.delivery.merge import MergePlan
from engine.delivery.merged_file import read_as_judged
from engine.run.session import Session, storing
from engine.verification.acceptance_file import write_acceptance
from engine.verification.baseline import Baseline
from engine.verification.commands import find_commands
from engine.verification.config_files.check import check_config_files, checks_of_config_files
from engine.verification.idle_tests.find import find_doubt

MOST_MADE_BYTES = 8 * 1024 * 1024


class ChecksNotRun(OrchestratorError):
    """No check could be run; the message says why, as the end of a sentence."""


class CheckRunner(ABC):
    name: str
    """Where it has run checks, as it reads after "in"."""

    @abstractmethod
    def run(self, request: CheckRequest, merged: MergePlan, tell: Tell) -> None:
        """Run all commands in a copy of what was merged, and tell of each as it ends.

        Raises ChecksNotRun, and Interrupted from the clock.
        """

    def make(self, request: CheckRequest, merged: MergePlan, tell: Tell, path: str) -> bytes | None:
        """The same; gives what they have left at `path`, which nobody has proven. None where that
        is no regular file of at most MOST_MADE_BYTES. Raises ChecksNotRun where none is handed
        out."""
        raise ChecksNotRun(f"{self.name} hands out no file")


@dataclass(frozen=True, slots=True)
class HostRunner(CheckRunner):
    """On this machine; `root` is a directory of its own, removed at the end."""

    sandbox: Sandbox
    root: Path
    clock: Clock

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.sandbox.name

    def run(self, request: CheckRequest, merged: MergePlan, tell: Tell) -> None:
        with self._checked(request, merged, tell):
            pass

    def make(self, request: CheckRequest, merged: MergePlan, tell: Tell, path: str) -> bytes | None:
        with self._checked(request, merged, tell) as project, suppress(WorkspaceError):
            data = ConfinedTree(project).read(path, MOST_MADE_BYTES + 1)
            return data if len(data) <= MOST_MADE_BYTES else None
        return None

    @contextmanager
    def _checked(self, request: CheckRequest, merged: MergePlan, tell: Tell) -> Iterator[Path]:
        remove_tree(self.root)
        places = Places.below(self.root)
        try:
            places.make()
            lay_out(merged, places.project)
            checker = Checker(request, self.sandbox, places, self.clock, tell)
            checker.check(checker.install())
            yield places.project
        finally:
            remove_tree(self.root)


def lay_out(merged: MergePlan, project: Path) -> None:
    """Copy what was merged, byte for byte as it was judged. Raises ChecksNotRun for a file that is
    another by now."""
    for file in merged.files:
        if (data := read_as_judged(file)) is None:
            raise ChecksNotRun(f"{file.path} was changed after its delivery")
        path = project / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(file.entry.mode)


@dataclass(frozen=True, slots=True)
class Report:
    """What verification has shown: each command's end, in order; none where none was run."""

    ended: tuple[CheckEnded, ...] = ()

    @property
    def failed(self) -> tuple[CheckEnded, ...]:
        return tuple(ended for ended in self.ended if ended.state is Proof.FAILED)

    @property
    def passed(self) -> frozenset[tuple[str, str]]:
        """Phase and command of each that passed."""
        return frozenset((e.phase, e.command) for e in self.ended if e.state is Proof.PASSED)


@storing()
def verify(
    session: Session,
    plan: Plan,
    merged: MergePlan,
    runner: CheckRunner | str,
    baseline: Baseline | None = None,
) -> Report:
    """`runner` is the reason where there is none: then nothing is run. A check that fails counts
    as the `baseline` has it.

    Each command's end and the criteria's proof go to the journal, the latter also to
    acceptance.json in the run directory. Raises StorageError, and Interrupted from the clock.
    """
    ended: list[CheckEnded] = []

    def tell(data: CheckBegun | CheckEnded) -> None:
        session.emit(data)
        if isinstance(data, CheckEnded):
            ended.append(data)

    where, why_not = "", runner if isinstance(runner, str) else ""
    if not isinstance(runner, str):
        sources = {file.path: file.source for file in merged.files}
        commands = find_commands(plan, merged).items()
        checks = tuple(Check(*item, find_doubt(item[0], sources)) for item in commands)
        checks += tuple(checks_of_config_files(merged, plan))
        judge = (baseline or Baseline(MergePlan())).judge(runner.run, plan, tell)
        try:
            runner.run(CheckRequest(plan.setup, checks), merged, judge.tell)
            judge.end()
            where = runner.name
            for found in check_config_files(merged, plan):
                tell(found)
        except ChecksNotRun as exc:
            why_not = exc.message
    proofs = prove_criteria(plan, ended, why_not or "no command shows it")
    session.emit(Verified(where, why_not, proofs))
    write_acceptance(session.run, proofs, merged)
    return Report(tuple(ended))


def prove_criteria(
    plan: Plan, ended: Iterable[CheckEnded], otherwise: str
) -> tuple[CriterionProof, ...]:
    """Each criterion by its command; `otherwise` is the reason where that was not run."""
    checks = {check.command: check for check in ended if check.phase == "check"}

    def proofs() -> Iterator[CriterionProof]:
        for criterion in plan.acceptance_criteria:
            check = checks.get(criterion.command)
            state, reason = (check.state, check.reason) if check else (Proof.NOT_PROVEN, otherwise)
            yield CriterionProof(
                criterion.text, criterion.served_by, criterion.command, state, reason
            )

    return tuple(proofs())

"""Verification: what is delivered is installed and checked in a copy, and the journal has it.

Checks run one after the other in one copy of the merged tree, as a person would run them, so a copy
per check (of node_modules, say) is not needed and nothing is left behind in the target.
"""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from claude.engines.shell import CommandEnd, Shell
from core.errors import WorkspaceError
from core.events import CheckBegun, CheckEnded, CriterionProof, Proof, Verified
from core.plan import Plan
from core.wire import encode, write_atomic
from core.workspace.confined import remove_tree
from engine.delivery.merge import MergePlan
from engine.run.session import Session, storing
from engine.verification import start_check
from engine.verification.commands import find_commands
from engine.verification.sandbox import Places, Sandbox
from engine.verification.toolchain import link_python, missing_programs

INSTALL_S, CHECK_S = 600.0, 300.0
"""Seconds that one command may take."""
TOGETHER_S = 1_800.0
"""Seconds after which no further command is begun."""
_MEMORY_BYTES = 4 * 1024**3
_DISK_BYTES = 4 * 1024**3
_FILE_BYTES = 1024**3
_PRINTED_BYTES = 64 * 1024**2
_SHOWN_CHARS = 2_000
_NO_NETWORK = ("", "-", "no", "none", "nothing")
_MAKE_VENV = 'python3 -m venv "$HOME/.venv" &&'  # an environment of its own
_START_CHECK = 'python3 -I "$TOOLS/start_check.py"'
_USES_PIP = re.compile(r"\bpip3?\b")
_PYTHON = re.compile(r"python\D*3\.(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class _Verification:
    """One pass over a plan's commands. `ended` has what came out, by command."""

    session: Session
    plan: Plan
    commands: Mapping[str, tuple[str, ...]]
    sandbox: Sandbox
    places: Places
    shell: Shell
    begun: int = 0
    ended: dict[str, CheckEnded] = field(default_factory=dict)

    def run(self) -> None:
        lacking = missing_programs(self.plan.setup.tools)
        reason = f"no {' and no '.join(lacking)} here" if lacking else self._install()
        until = self.session.clock.monotonic() + TOGETHER_S
        for command, tasks in self.commands.items():
            if not reason and self.session.clock.monotonic() > until:
                reason = f"the others took {TOGETHER_S / 60:,.0f} minutes"
            if reason:
                self._emit(CheckEnded("check", command, tasks, Proof.NOT_PROVEN, reason))
            else:
                self._check(command, tasks)
        if self._starts() and not reason:
            self._check_start(self.plan.setup.start)

    def _install(self) -> str:
        """Run the set-up; the reason why nothing can be checked, if it fails."""
        setup = self.plan.setup
        network = setup.network.strip().lower().rstrip(".") not in _NO_NETWORK
        before = _MAKE_VENV if any(map(_USES_PIP.search, setup.install)) else ""
        for command in setup.install:
            end = self._execute(command, INSTALL_S, network=network, before=before)
            before = ""
            self._emit(_judged("install", command, (), end))
            if end.exit_code != 0:
                return f"the installation failed: {command}"
        return ""

    def _check(self, command: str, tasks: tuple[str, ...]) -> None:
        ended = _judged("check", command, tasks, self._execute(command, CHECK_S))
        if ended.state is Proof.FAILED and (older := _older_python(self.plan)):
            ended = CheckEnded(
                "check", command, tasks, Proof.NOT_PROVEN, older, ended.seconds, ended.output
            )
        self._emit(ended)

    def _starts(self) -> bool:
        """Only where no port of this machine is taken by it."""
        return bool(self.plan.setup.start) and self.sandbox.has_own_network

    def _check_start(self, command: str) -> None:
        shutil.copyfile(start_check.__file__, self.places.bin / "start_check.py")
        end = self._execute(command, CHECK_S, before=f"exec {_START_CHECK}", quoted=True)
        output, _, report = end.output.rstrip().rpartition("\n")
        try:
            state, seen = json.loads(report)
        except ValueError:
            self._emit(_judged("start", command, (), end))
            return
        shown = output.rstrip()[-_SHOWN_CHARS:] if state != Proof.PASSED else ""
        self._emit(
            CheckEnded("start", command, (), Proof(state), seen, round(end.seconds, 3), shown)
        )

    def _execute(
        self,
        command: str,
        limit_s: float,
        *,
        network: bool = False,
        before: str = "",
        quoted: bool = False,
    ) -> CommandEnd:
        """Run the command after `before`, or `quoted` as its argument."""
        self.begun += 1
        total = len(self.plan.setup.install) + len(self.commands) + self._starts()
        self.session.emit(CheckBegun(command, self.begun, total))
        whole = f"{before} {shlex.quote(command) if quoted else command}".strip()
        try:
            return self.shell.execute(
                self.sandbox.wrap(whole, self.places, network=network), limit_s
            )
        except WorkspaceError as exc:
            return CommandEnd(None, "", why=exc.message)

    def _emit(self, ended: CheckEnded) -> None:
        self.ended[ended.command] = ended
        self.session.emit(ended)


@storing()
def verify(session: Session, plan: Plan, merged: MergePlan, sandbox: Sandbox | str) -> bool:
    """Whether nothing failed. `sandbox` is the reason where there is none: then nothing is run.

    Each command's end and the criteria's proof go to the journal, the latter also to
    acceptance.json in the run directory. Raises StorageError, and Interrupted from the clock.
    """
    if isinstance(sandbox, str):
        session.emit(Verified(why_not=sandbox, criteria=_prove(plan, {}, sandbox)))
        return True
    root = session.run.verification
    remove_tree(root)
    places = Places(root / "project", root / "home", root / "bin")
    try:
        _lay_out(merged, places)
        with _open_shell(session, places) as shell:
            commands = find_commands(plan, merged)
            verification = _Verification(session, plan, commands, sandbox, places, shell)
            verification.run()
    finally:
        remove_tree(root)
    proofs = _prove(plan, verification.ended, "no command shows it")
    session.emit(Verified(sandbox.name, criteria=proofs))
    write_atomic(session.run.acceptance, encode(list(proofs)) + "\n")
    return all(ended.state is not Proof.FAILED for ended in verification.ended.values())


def _lay_out(merged: MergePlan, places: Places) -> None:
    for file in merged.files:
        path = places.project / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.source, path)
        path.chmod(file.entry.mode)
    places.home.mkdir()
    link_python(places.bin)


def _open_shell(session: Session, places: Places) -> Shell:
    return Shell(
        places.project,
        session.clock,
        environ={},
        scratch=places.home.parent / "scratch",
        max_bytes=_FILE_BYTES,
        max_printed_bytes=_PRINTED_BYTES,
        max_memory_bytes=_MEMORY_BYTES,
        max_disk_bytes=_DISK_BYTES,
    )


def _judged(phase: str, command: str, tasks: tuple[str, ...], end: CommandEnd) -> CheckEnded:
    seconds = round(end.seconds, 3)
    if end.exit_code == 0:
        return CheckEnded(phase, command, tasks, Proof.PASSED, seconds=seconds)
    output = end.output.rstrip()[-_SHOWN_CHARS:]
    return CheckEnded(phase, command, tasks, Proof.FAILED, end.outcome(), seconds, output)


def _prove(
    plan: Plan, ended: Mapping[str, CheckEnded], otherwise: str
) -> tuple[CriterionProof, ...]:
    def proofs() -> Iterator[CriterionProof]:
        for criterion in plan.acceptance_criteria:
            check = ended.get(criterion.command)
            state, reason = (check.state, check.reason) if check else (Proof.NOT_PROVEN, otherwise)
            yield CriterionProof(
                criterion.text, criterion.served_by, criterion.command, state, reason
            )

    return tuple(proofs())


def _older_python(plan: Plan) -> str:
    """The reason why a failure proves nothing where this Python is older than the plan's."""
    for tool in plan.setup.tools:
        found = _PYTHON.search(tool)
        if found and int(found[1]) > sys.version_info[1]:
            return f"python 3.{found[1]} is planned, 3.{sys.version_info[1]} is here"
    return ""

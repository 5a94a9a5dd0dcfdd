"""Verification: what is delivered is installed and checked in a copy, and the journal has it.

Checks run one after the other in one copy of the merged tree, as a person would run them, so a copy
per check (of node_modules, say) is not needed and nothing is left behind in the target.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from claude.engines.shell import CommandEnd, Shell
from core.errors import WorkspaceError
from core.events import CheckBegun, CheckEnded, CriterionProof, Proof, Verified
from core.plan import Plan
from core.wire import encode, write_atomic
from core.workspace.confined import read_regular, remove_tree
from engine.delivery.merge import MergePlan
from engine.run.session import Session, storing
from engine.verification import start_check
from engine.verification.commands import find_commands
from engine.verification.sandbox import Places, Sandbox
from engine.verification.start_check import lacking_program, read_report
from engine.verification.toolchain import missing_programs

INSTALL_S, CHECK_S = 600.0, 300.0
"""Seconds that one command may take."""
TOGETHER_S = 1_800.0
"""Seconds after which no further command is begun."""
_MEMORY_BYTES = 4 * 1024**3
_DISK_BYTES = 4 * 1024**3
_FILE_BYTES = 1024**3
_PRINTED_BYTES = 64 * 1024**2
_SHOWN_CHARS = 2_000
_NO_NETWORK = re.compile(r"\W*($|(no|none|not|nothing|n/a)\b)", re.IGNORECASE)
_MAKE_VENV = 'python3 -m venv "$HOME/.venv"'  # an environment of its own
_START_CHECK = 'python3 -I "$TOOLS/start_check.py"'
_USES_PIP = re.compile(r"\bpip3?\b")
_PYTHON = re.compile(r"python\D*3\.(\d+)", re.IGNORECASE)


@dataclass(slots=True)
class _Verification:
    """One pass over a plan's commands. `ended` has what came out, in order."""

    session: Session
    plan: Plan
    commands: Mapping[str, tuple[str, ...]]
    sandbox: Sandbox
    places: Places
    shell: Shell
    begun: int = 0
    ended: list[CheckEnded] = field(default_factory=list)

    def run(self) -> None:
        lacking = missing_programs(self.plan.setup.tools)
        reason = f"no {' and no '.join(lacking)} here" if lacking else self._install()
        until = self.session.clock.monotonic() + TOGETHER_S
        for command, tasks in self.commands.items():
            if not reason and self.session.clock.monotonic() > until:
                reason = f"the others took {TOGETHER_S / 60:,.0f} minutes"
            if reason:
                self._tell(CheckEnded("check", command, tasks, Proof.NOT_PROVEN, reason))
            else:
                self._judge("check", command, tasks, self._execute(command, CHECK_S))
        if self._starts() and not reason:
            self._check_start(self.plan.setup.start)

    def _install(self) -> str:
        """Run the set-up; the reason why nothing can be checked, if it fails."""
        setup = self.plan.setup
        network = _NO_NETWORK.match(setup.network) is None
        if any(map(_USES_PIP.search, setup.install)):
            made = self._run(_MAKE_VENV, INSTALL_S)
            if made.exit_code != 0:
                return "this Python makes no virtual environments (on Debian: python3-venv)"
        for command in filter(str.strip, setup.install):
            end = self._execute(command, INSTALL_S, network=network)
            if not self._judge("install", command, (), end):
                return f"the installation failed: {command}"
        return ""

    def _starts(self) -> bool:
        """Only where no port of this machine is taken by it."""
        return bool(self.plan.setup.start) and self.sandbox.has_own_network

    def _check_start(self, command: str) -> None:
        shutil.copyfile(start_check.__file__, self.places.tools / "start_check.py")
        end = self._execute(command, CHECK_S, inside=f"{_START_CHECK} {shlex.quote(command)}")
        state, seen, output = read_report(end.output)
        if end.exit_code != 0 or not state:  # the check itself was stopped
            self._judge("start", command, (), end)
        else:
            self._tell(CheckEnded("start", command, (), Proof(state), seen, end.seconds, output))

    def _execute(
        self,
        command: str,
        limit_s: float,
        *,
        network: bool = False,
        inside: str = "",
    ) -> CommandEnd:
        """Run the command, `inside` another if that is given, and show it."""
        self.begun += 1
        total = len(self.plan.setup.install) + len(self.commands) + self._starts()
        self.session.emit(CheckBegun(command, self.begun, total))
        return self._run(inside or command, limit_s, network=network)

    def _run(self, command: str, limit_s: float, *, network: bool = False) -> CommandEnd:
        wrapped = self.sandbox.wrap(command, self.places, network=network)
        try:
            return self.shell.execute(wrapped, limit_s)
        except WorkspaceError as exc:
            return CommandEnd(None, "", why=exc.message)

    def _judge(self, phase: str, command: str, tasks: tuple[str, ...], end: CommandEnd) -> bool:
        """Whether it passed. What a lack of this machine may have caused is not proven."""
        state, reason, output = Proof.PASSED, "", ""
        if end.exit_code != 0:
            lack = _older_python(self.plan) or lacking_program(end.exit_code, end.output)
            state = Proof.NOT_PROVEN if lack or end.ran_out_of_disk else Proof.FAILED
            reason, output = lack or end.outcome(), end.output
        self._tell(CheckEnded(phase, command, tasks, state, reason, end.seconds, output))
        return end.exit_code == 0

    def _tell(self, ended: CheckEnded) -> None:
        output = "" if ended.state is Proof.PASSED else ended.output.rstrip()[-_SHOWN_CHARS:]
        ended = replace(ended, output=output, seconds=round(ended.seconds, 3))
        self.ended.append(ended)
        self.session.emit(ended)


@storing()
def verify(session: Session, plan: Plan, merged: MergePlan, sandbox: Sandbox | str) -> bool:
    """Whether nothing failed. `sandbox` is the reason where there is none: then nothing is run.

    Each command's end and the criteria's proof go to the journal, the latter also to
    acceptance.json in the run directory. Raises StorageError, and Interrupted from the clock.
    """
    if isinstance(sandbox, str):
        _tell_end(session, Verified(why_not=sandbox, criteria=_prove(plan, (), sandbox)))
        return True
    root = session.run.verification
    remove_tree(root)
    places = Places.below(root)
    try:
        if changed := _lay_out(merged, places):
            why = f"{changed} was changed after its delivery"
            _tell_end(session, Verified(why_not=why, criteria=_prove(plan, (), why)))
            return True
        with _open_shell(session, places) as shell:
            commands = find_commands(plan, merged)
            verification = _Verification(session, plan, commands, sandbox, places, shell)
            verification.run()
    finally:
        remove_tree(root)
    proofs = _prove(plan, verification.ended, "no command shows it")
    _tell_end(session, Verified(sandbox.name, criteria=proofs))
    return all(ended.state is not Proof.FAILED for ended in verification.ended)


def _tell_end(session: Session, verified: Verified) -> None:
    session.emit(verified)
    write_atomic(session.run.acceptance, encode(list(verified.criteria)) + "\n")


def _lay_out(merged: MergePlan, places: Places) -> str:
    """Copy what was delivered, byte for byte as it was judged; gives the path of a file that is
    another by now, or nothing."""
    places.make()
    for file in merged.files:
        try:
            data = read_regular(file.source, file.entry.size)
        except OSError:
            return file.path
        if sha256(data).hexdigest() != file.entry.sha256:
            return file.path
        path = places.project / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(file.entry.mode)
    return ""


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


def _prove(plan: Plan, ended: Iterable[CheckEnded], otherwise: str) -> tuple[CriterionProof, ...]:
    checks = {check.command: check for check in ended if check.phase == "check"}

    def proofs() -> Iterator[CriterionProof]:
        for criterion in plan.acceptance_criteria:
            check = checks.get(criterion.command)
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

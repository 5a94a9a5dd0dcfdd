"""Installs a project, runs its checks and starts it, in a sandbox, and tells what came out.

Commands run one after the other in one copy of the project, as a person would run them, so a copy
for each (of node_modules, say) is not needed.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from core.check_request import Check, CheckRequest
from core.checks import lying_check, nginx, start_check
from core.checks.counts import count_tests
from core.checks.excerpt import excerpt
from core.checks.sandbox import Places, Sandbox
from core.checks.start_check import lacking_program, read_report
from core.checks.toolchain import missing_programs
from core.clock import Clock
from core.errors import WorkspaceError
from core.events import CheckBegun, CheckEnded, Proof
from core.plan import Setup
from core.shell.shell import CommandEnd, Shell

INSTALL_S, CHECK_S = 600.0, 300.0
"""Seconds that one command may take."""
TOGETHER_S = 1_800.0
"""Seconds after which no further command is begun."""
_IN_EMPTY_S = 15.0
AGAIN_S = 30.0
"""Seconds that a failed check may have taken to be run once more."""
FLAKY = "flaky: it failed once and passed once"
_MEMORY_BYTES = 4 * 1024**3
_DISK_BYTES = 4 * 1024**3
_FILE_BYTES = 1024**3
_PRINTED_BYTES = 64 * 1024**2
SHOWN_CHARS = 4_000
"""Of what a command printed, that are kept."""
_MAKE_VENV = 'python3 -m venv "$HOME/.venv"'  # an environment of its own
_START_CHECK = 'python3 -I "$TOOLS/start_check.py"'
_USES_PIP = re.compile(r"\bpip3?\b")
_PORT_TAKEN = re.compile(r"\bEADDRINUSE\b|address already in use", re.IGNORECASE)
_PYTHON = re.compile(r"python\D*3\.(\d+)", re.IGNORECASE)


Tell = Callable[[CheckBegun | CheckEnded], None]


@dataclass(slots=True)
class Checker:
    """One pass over the commands: `install`, then `check`. `places` hold the project.

    A check that failed is told at the end of the pass, when it has failed once more.
    """

    request: CheckRequest
    sandbox: Sandbox
    places: Places
    clock: Clock
    tell: Tell
    alone: bool = False
    """Whether this process has no other children (see core.shell.shell)."""
    _begun: int = field(default=0, init=False)
    _pass_in_empty: Future[set[str]] = field(default_factory=Future, init=False)
    """The commands that pass in an empty directory, too."""
    _failed_once: list[CheckEnded] = field(default_factory=list, init=False)

    def install(self) -> str:
        """Run the set-up; the reason why nothing can be checked, if it fails."""
        setup = self.request.setup
        if lacking := missing_programs(setup.tools):
            return f"no {' and no '.join(lacking)} here"
        with self._shell() as shell, self.sandbox.sharing_packages(self.places):
            if any(map(_USES_PIP.search, setup.install)):
                made = self._run(shell, _MAKE_VENV, INSTALL_S)
                if made.exit_code != 0:
                    return "this Python makes no virtual environments (on Debian: python3-venv)"
            for command in filter(str.strip, setup.install):
                network = self.request.installs_with_network
                end = self._execute(shell, command, INSTALL_S, network=network)
                lack = self.sandbox.registries.lack(end.output) if network else ""
                if not self._judge("install", command, (), end, lack=lack):
                    return lack or f"the installation failed: {command}"
        return ""

    def check(self, reason: str = "") -> None:
        """Run the checks and start the project, unless there is a `reason` why that proves
        nothing."""
        until = self.clock.monotonic() + TOGETHER_S
        self._begun = len(self.request.setup.install)
        with self._trying_in_empty(reason), self._shell() as shell:
            for check in self.request.checks:
                command, tasks, _ = check
                if not reason and self.clock.monotonic() > until:
                    reason = f"the others took {TOGETHER_S / 60:,.0f} minutes"
                if reason:
                    self._end(CheckEnded("check", command, tasks, Proof.NOT_PROVEN, reason))
                else:
                    end = self._execute(shell, command, CHECK_S)
                    self._judge("check", command, tasks, end, self._doubt(check, end.output))
            if self._starts() and not reason:
                self._check_start(shell, self.request.setup.start)
            for failed in self._failed_once:
                self.tell(self._try_again(shell, failed, until))

    def _try_again(self, shell: Shell, failed: CheckEnded, until: float) -> CheckEnded:
        """As it failed, unless it passes now: then neither is proven."""
        if self.clock.monotonic() > until:
            return failed
        end = self._execute(shell, failed.command, CHECK_S)
        is_flaky = end.exit_code == 0
        return replace(failed, state=Proof.NOT_PROVEN, reason=FLAKY) if is_flaky else failed

    def _doubt(self, check: Check, output: str) -> str:
        """Why it shows nothing if the check passed."""
        if check.doubt:
            return check.doubt
        if lying_check.cannot_fail(check.command):
            return lying_check.ALWAYS_PASSES
        if lying_check.ran_no_test(check.command, output):
            return lying_check.RAN_NO_TEST
        if not lying_check.is_decided_by_empty_directory(check.command):
            return ""
        passes = check.command in self._pass_in_empty.result()
        return lying_check.PASSES_IN_EMPTY if passes else ""

    @contextmanager
    def _trying_in_empty(self, reason: str) -> Iterator[None]:
        """Beside the checks, unless there is a `reason` to run none; before them where a shell may
        end all processes that are not its own."""
        with ThreadPoolExecutor(1) as pool:
            if not reason:
                self._pass_in_empty = pool.submit(self._try_in_empty)
            if not reason and self.alone:
                self._pass_in_empty.result()
            yield

    def _try_in_empty(self) -> set[str]:
        """Those that pass there, of what only this decides on."""
        commands = [check.command for check in self.request.checks if not check.doubt]
        commands = list(filter(lying_check.is_decided_by_empty_directory, commands))
        if not commands:
            return set()
        with self._shell("scratch-of-empty") as shell:
            end = self._run(shell, lying_check.in_empty_directories(commands), _IN_EMPTY_S)
        return {commands[int(number)] for number in end.output.split() if number.isdecimal()}

    def _starts(self) -> bool:
        return bool(self.request.setup.start) and self.sandbox.may_start

    def _taken(self, output: str) -> str:
        """That a port was taken by somebody else, if that may be."""
        may_be = not self.sandbox.has_own_network and _PORT_TAKEN.search(output)
        return "another program here has the port that it needs" if may_be else ""

    def _check_start(self, shell: Shell, command: str) -> None:
        shutil.copyfile(start_check.__file__, self.places.tools / "start_check.py")
        inside = f"{_START_CHECK} {shlex.quote(command)}"
        end = self._execute(shell, command, CHECK_S, inside=inside)
        state, seen, output = read_report(end.output)
        if state == Proof.FAILED and (taken := self._taken(output)):
            state, seen = Proof.NOT_PROVEN, taken
        if end.exit_code != 0 or not state:  # the check itself was stopped
            self._judge("start", command, (), end)
        else:
            self._end(CheckEnded("start", command, (), Proof(state), seen, end.seconds, output))

    def _execute(
        self,
        shell: Shell,
        command: str,
        limit_s: float,
        *,
        network: bool = False,
        inside: str = "",
    ) -> CommandEnd:
        """Run the command, `inside` another if that is given, and show it."""
        self._begun += 1
        planned = len(self.request.setup.install) + len(self.request.checks) + self._starts()
        total = planned + len(self._failed_once)
        self.tell(CheckBegun(command, self._begun, total))
        return self._run(shell, inside or command, limit_s, network=network)

    def _run(
        self, shell: Shell, command: str, limit_s: float, *, network: bool = False
    ) -> CommandEnd:
        wrapped = self.sandbox.wrap(command, self.places, network=network)
        try:
            return shell.execute(wrapped, limit_s)
        except WorkspaceError as exc:
            return CommandEnd(None, "", why=exc.message)

    def _judge(
        self,
        phase: str,
        command: str,
        tasks: tuple[str, ...],
        end: CommandEnd,
        doubt: str = "",
        *,
        lack: str = "",
    ) -> bool:
        """Whether it passed. What a `lack` of this machine may have caused is not proven, nor is
        what passes with a `doubt`."""
        state, reason, output = Proof.NOT_PROVEN if doubt else Proof.PASSED, doubt, ""
        if end.exit_code != 0:
            lack = lack or _older_python(self.request.setup)
            lack = lack or lacking_program(end.exit_code, end.output) or self._taken(end.output)
            lack = lack or nginx.lack_of(end.output)
            state = Proof.NOT_PROVEN if lack or end.ran_out_of_disk else Proof.FAILED
            reason, output = lack or end.outcome(), end.output
        ran = count_tests(end.output)
        self._end(CheckEnded(phase, command, tasks, state, reason, end.seconds, output, ran))
        return end.exit_code == 0

    def _end(self, ended: CheckEnded) -> None:
        output = "" if ended.state is Proof.PASSED else excerpt(ended.output, SHOWN_CHARS)
        ended = replace(ended, output=output, seconds=round(ended.seconds, 3))
        if (ended.phase, ended.state) == ("check", Proof.FAILED) and ended.seconds <= AGAIN_S:
            self._failed_once.append(ended)
        else:
            self.tell(ended)

    @contextmanager
    def _shell(self, scratch: str = "scratch") -> Iterator[Shell]:
        with Shell(
            self.places.project,
            self.clock,
            environ={},
            scratch=self.places.home.parent / scratch,
            max_bytes=_FILE_BYTES,
            max_printed_bytes=_PRINTED_BYTES,
            max_memory_bytes=_MEMORY_BYTES,
            max_disk_bytes=_DISK_BYTES,
            alone=self.alone,
        ) as shell:
            yield shell


def _older_python(setup: Setup) -> str:
    """The reason why a failure proves nothing where this Python is older than the plan's."""
    for tool in setup.tools:
        found = _PYTHON.search(tool)
        if found and int(found[1]) > sys.version_info[1]:
            return f"python 3.{found[1]} is planned, 3.{sys.version_info[1]} is here"
    return ""

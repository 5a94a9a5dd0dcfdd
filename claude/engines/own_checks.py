"""The tool run_checks: a task's own checks, for a model without a shell."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from core.bundle import AttemptDir
from core.checks.counts import count_tests
from core.checks.excerpt import excerpt
from core.checks.sandbox import Places, Sandbox, find_bubblewrap
from core.checks.toolchain import TOOLCHAINS
from core.clock import Clock
from core.shell.shell import CommandEnd, Shell, render_end
from core.workspace.confined import remove_tree

LIMIT_S = 120.0
"""Seconds that one check may take; the tool's description tells it."""
_MEMORY_BYTES, _DISK_BYTES = 2 * 1024**3, 1024**3
_SHOWN_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class OwnChecks:
    """Runs `commands` in a copy of what the attempt has written. Nothing is installed there."""

    commands: tuple[str, ...]
    sandbox: Sandbox
    attempt: AttemptDir
    clock: Clock

    def run(self) -> tuple[str, bool]:
        """Of each check how it ended, and of one that did not pass what it printed; and whether all
        passed. Raises WorkspaceError for a command that cannot be run, and Interrupted from the
        clock."""
        root = self.attempt.root / "checks"
        remove_tree(root)
        try:
            ended = list(self._run_all(Places.below(root)))
            told = (f"$ {command}\n{_told(end)}" for command, end in ended)
            return "\n".join(told), all(end.exit_code == 0 for _, end in ended)
        finally:
            remove_tree(root)

    def _run_all(self, places: Places) -> Iterator[tuple[str, CommandEnd]]:
        places.make()
        shutil.copytree(self.attempt.work, places.project, symlinks=True, dirs_exist_ok=True)
        with Shell(
            places.project,
            self.clock,
            environ={},
            scratch=places.home.parent / "scratch",
            max_memory_bytes=_MEMORY_BYTES,
            max_disk_bytes=_DISK_BYTES,
        ) as shell:
            for command in filter(str.strip, self.commands):
                end = shell.execute(self.sandbox.wrap(command, places, network=False), LIMIT_S)
                yield command, end


def _told(end: CommandEnd) -> str:
    """Each turn after this one pays for it again, so that what passed takes no more than a line."""
    if end.exit_code == 0:
        tests = f", {count} tests" if (count := count_tests(end.output)) else ""
        return f"passed in {end.seconds:.0f} s{tests}"
    told = render_end(end)
    if end.exit_code is None and end.seconds >= LIMIT_S:
        told = (
            f"stopped after {LIMIT_S:.0f} s. It has more when the project is proven: submit if it"
            f" is only slow, else find what it waits for.\n{end.output}"
        )
    return excerpt(told, _SHOWN_CHARS)


@lru_cache(maxsize=1)
def sandbox_for_checks() -> Sandbox | None:
    """The one of this machine; None where there is none."""
    found = find_bubblewrap(TOOLCHAINS.values())
    return found if isinstance(found, Sandbox) else None

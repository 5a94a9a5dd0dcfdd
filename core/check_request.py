"""What is run in a project to show that it works."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from core.plan import Setup

_NO_NETWORK = re.compile(r"\W*($|(no|none|not|nothing|n/a)\b)", re.IGNORECASE)


PROGRAMS = ".acceptance"
"""The directory of programs that show criteria; no part of the project, and beside it while it is
checked."""


class Check(NamedTuple):
    """A command, and the ids of the tasks that it is about. `doubt` is the reason why it shows
    nothing if it passes, as far as that is known before it has run."""

    command: str
    tasks: tuple[str, ...] = ()
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """All that is run in a project."""

    setup: Setup
    checks: tuple[Check, ...]

    @property
    def installs_with_network(self) -> bool:
        return bool(self.setup.install) and _NO_NETWORK.match(self.setup.network) is None

    def commands(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Phase, command and tasks of all that is run, in order."""
        for command in filter(str.strip, self.setup.install):
            yield "install", command, ()
        for check in self.checks:
            yield "check", check.command, check.tasks
        if self.setup.start:
            yield "start", self.setup.start, ()


@dataclass(frozen=True, slots=True)
class CheckJob:
    """The same for a worker; `unprotected` where it may run them without a sandbox."""

    request: CheckRequest
    unprotected: bool = False

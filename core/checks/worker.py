"""Checks in a container of their own: this process is its first, and nothing else is in it.

No process of a container can end or stop its first one, so no check can do anything to this one.
https://man7.org/linux/man-pages/man7/pid_namespaces.7.html
"""

import signal
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from core.check_request import CheckRequest
from core.checks.registries import Registries
from core.checks.report import render_line
from core.checks.runner import Checker
from core.checks.sandbox import Contained, Places
from core.clock import Clock
from core.events import Verified
from core.shell.processes import hide_memory
from core.wire import decode

REQUEST_FILE = "request.json"
INSTALL, CHECK = "install", "check"


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """The content of REQUEST_FILE; the files of `registries` lie beside it."""

    request: CheckRequest
    registries: Registries


def run_phases(
    root: Path, phases: Collection[str], clock: Clock, tell: Callable[[str], None]
) -> None:
    """Run these phases of the request in `root`, whose `project` they are about, and tell of them
    in lines for a CheckReport. Raises BundleError."""
    hide_memory()
    signal.signal(signal.SIGINT, lambda *_: None)  # the only one that Python has a handler for
    told = decode(WorkerRequest, (root / REQUEST_FILE).read_bytes(), REQUEST_FILE)
    places, reason, sandbox = Places.below(root), "", Contained(told.registries)
    checker = Checker(
        told.request, sandbox, places, clock, lambda data: tell(render_line(data)), alone=True
    )
    if INSTALL in phases:
        places.make()
        reason = checker.install()
    if CHECK in phases:
        checker.check(reason)
    tell(render_line(Verified(why_not=reason)))

"""The checks of a project as a job: a worker runs them, and leaves how each ended in checks.json.

That file comes from beside commands that nobody trusts. Whoever reads it takes from it the ends of
what it has asked for, and nothing else.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from core.check_request import CheckJob, CheckRequest
from core.checks.registries import read_registries
from core.checks.report import bounded
from core.checks.runner import SHOWN_CHARS, Checker
from core.checks.sandbox import Bare, Bubblewrap, Contained, Places, Sandbox, find_bubblewrap
from core.checks.toolchain import programs_of
from core.clock import Clock
from core.errors import BundleError
from core.events import CheckBegun, CheckEnded
from core.shell.processes import hide_memory
from core.wire import decode
from core.workspace.base_tree import Put
from core.workspace.confined import read_regular

CHECKS_NAME = "checks.json"
REPORT_VERSION = 1
_MOST_BYTES = 16 * 1024 * 1024
_SANDBOXES = frozenset(kind.name for kind in (Bubblewrap, Contained, Bare))


@dataclass(frozen=True, slots=True)
class ChecksReport:
    """How each command ended, in order, in a `sandbox`; or `why_not`, the end of a sentence."""

    sandbox: str = ""
    why_not: str = ""
    ended: tuple[CheckEnded, ...] = ()
    version: int = REPORT_VERSION


def run_checks(
    job: CheckJob,
    lay_out: Callable[[Put], object],
    root: Path,
    clock: Clock,
    say: Callable[[str], None],
    *,
    contained: bool,
) -> ChecksReport:
    """Run them in what `lay_out` puts below `root`, a fresh directory, and `say` how it goes.

    `contained`: a container is around this process, which does nothing else. Raises Interrupted
    from the clock, and OSError where the disk fails.
    """
    sandbox = _choose_sandbox(job, contained=contained)
    if isinstance(sandbox, str):
        return ChecksReport(why_not=sandbox)
    hide_memory()
    ended: list[CheckEnded] = []

    def tell(data: CheckBegun | CheckEnded) -> None:
        if isinstance(data, CheckEnded):
            ended.append(data)
            say(": ".join(filter(None, (data.state, data.reason, data.command))))
        else:
            say(f"{data.number} of {data.total}: {data.command}")

    places = Places.below(root)
    places.make()
    lay_out(_putting(places.project))
    checker = Checker(job.request, sandbox, places, clock, tell, alone=contained)
    checker.check(checker.install())
    return ChecksReport(sandbox.name, ended=tuple(ended))


def read_report(path: Path, request: CheckRequest) -> ChecksReport:
    """What a worker has left of a `request`. Raises BundleError for what cannot be its answer."""
    try:
        data = read_regular(path, _MOST_BYTES)
    except OSError as exc:
        raise BundleError(f"{path} cannot be read: {exc}.") from exc
    found = decode(ChecksReport, data, str(path))
    if found.version != REPORT_VERSION:
        raise BundleError(f"{path} has version {found.version}, not {REPORT_VERSION}.")
    if found.why_not:
        return ChecksReport(why_not=found.why_not[:SHOWN_CHARS])
    if found.sandbox not in _SANDBOXES:
        raise BundleError(f"{path} names no sandbox that a worker has.")
    _check_ends(path, request, found.ended)
    return replace(found, ended=tuple(map(bounded, found.ended)))


def _check_ends(path: Path, request: CheckRequest, ended: tuple[CheckEnded, ...]) -> None:
    """Every check once, in whatever order they ended, and nothing that was not asked for."""
    asked = list(request.commands())
    for end in ended:
        if (end.phase, end.command, end.tasks) not in asked:
            raise BundleError(f"{path} tells of {end.command!r}, which was not asked for there.")
        asked.remove((end.phase, end.command, end.tasks))
    told = sum(end.phase == "check" for end in ended)
    if told != len(request.checks):
        raise BundleError(f"{path} tells of {told} checks, not of {len(request.checks)}.")


def _choose_sandbox(job: CheckJob, *, contained: bool) -> Sandbox | str:
    if contained:
        return Contained()
    found = find_bubblewrap(programs_of(job.request.setup.tools), "on the node")
    if isinstance(found, Sandbox):
        return found
    if job.unprotected:
        return Bare(read_registries(os.environ, Path.home()))
    return f"{found}; install it there, or --verify-on-host runs them unprotected"


def _putting(project: Path) -> Put:
    def put(name: str, data: bytes, mode: int) -> None:
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)

    return put

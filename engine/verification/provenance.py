"""Where each delivered file comes from, and which checks are about it: provenance.json."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from claude.prompts import load_prompt
from core.bundle import read_request, read_unchecked_result
from core.errors import BundleError
from core.events import CONTRACTS, EXISTING, Conflict, Proof
from core.job import JobKey, Usage
from core.plan import Plan
from core.wire import encode, write_atomic
from engine.delivery.merge import MergedFile
from engine.run.rundir import RunDir
from engine.run.session import Session
from engine.verification.config_files.check import PHASE
from engine.verification.repairs.repair import Proven
from engine.verification.repairs.trace import owner_of
from engine.verification.verify import Report

_EXECUTOR = ("", "_team", "_alone", "_existing", "_commands", "_no_commands")
_PROMPTS = {
    "api": tuple(f"executor{part}" for part in _EXECUTOR),
    "claude-code": ("executor_claude_code", "executor_claude_code_existing"),
}
_ADDED = {"merge-": "merge", "repair-": "repair", "accept-": "acceptance"}
_DIGITS = 12

Price = Callable[[Usage], float | None]


@dataclass(frozen=True, slots=True)
class FileCheck:
    phase: str
    command: str
    state: Proof


@dataclass(frozen=True, slots=True)
class Origin:
    """What wrote a file: an attempt of a `task`, or the planner, whose task is `contracts` and
    attempt 0. `models` answered it; `prompts` is a digest of its instructions; `cost_usd` is the
    cost of all that it did, which is shared by its files."""

    task: str
    attempt: int
    models: tuple[str, ...]
    prompts: str
    cost_usd: float


@dataclass(frozen=True, slots=True)
class FileProvenance:
    """`checks` are those of the task that the file belongs to; `made_by` is the command that has
    made a lock file anew, of what several tasks had changed."""

    path: str
    sha256: str
    origin: Origin
    cost_share_usd: float
    checks: tuple[FileCheck, ...]
    made_by: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """`conflicts` tell where versions are that are in none of the files."""

    run: str
    files: tuple[FileProvenance, ...]
    conflicts: tuple[Conflict, ...] = ()
    version: int = 1


def write_provenance(session: Session, plan: Plan, proven: Proven, price: Price) -> None:
    """Of what was delivered, in the run directory; not of existing code that stayed as it was."""
    report = proven.report
    written = [file for file in proven.merged.files if file.owner != EXISTING]
    origins = {owner: _origin(session, owner, price) for owner in {file.owner for file in written}}
    commands = {made.path: made.command for made in proven.merged.made_anew}
    counts = {owner: sum(file.owner == owner for file in written) for owner in origins}
    files = tuple(
        FileProvenance(
            file.path,
            file.entry.sha256,
            origins[file.owner],
            round(origins[file.owner].cost_usd / counts[file.owner], 6),
            tuple(_checks_of(file, plan, report)),
            commands.get(file.path, ""),
        )
        for file in written
    )
    found = Provenance(session.run.run_id, files, proven.merged.conflicts)
    write_atomic(session.run.provenance, encode(found) + "\n")


def _origin(session: Session, owner: str, price: Price) -> Origin:
    view = session.run_view
    usage: Sequence[Usage] = view.planning_usage
    number, prompts = 0, ["planner"] if usage else []
    if owner != CONTRACTS:
        number = view.jobs.succeeded.get(owner, 0)
        usage, prompts = _read_attempt(session.run, JobKey(session.run.run_id, owner, number))
    models = tuple(dict.fromkeys(request.model for request in usage))
    cost = round(sum(price(request) or 0.0 for request in usage), 6)
    return Origin(owner, number, models, _digest(prompts), cost)


def _read_attempt(run: RunDir, key: JobKey) -> tuple[Sequence[Usage], list[str]]:
    """What it used, and the names of its prompts; nothing of one that was removed."""
    attempt = run.attempt(key)
    try:
        usage = read_unchecked_result(attempt, key).usage
        engine = read_request(attempt).model.engine
    except BundleError:
        return (), []
    added = [name for prefix, name in _ADDED.items() if key.task.startswith(prefix)]
    return usage, [*_PROMPTS[engine], *added]


def _digest(prompts: Sequence[str]) -> str:
    text = "\0".join(map(load_prompt, prompts))
    return sha256(text.encode()).hexdigest()[:_DIGITS] if prompts else ""


def _checks_of(file: MergedFile, plan: Plan, report: Report) -> Iterator[FileCheck]:
    """Those about its task, or about the tasks that use it if it is a contract, and about all."""
    owner = owner_of(file, plan)
    users = {task.id for task in plan.tasks if file.path in task.uses}
    tasks = users if owner == CONTRACTS else {owner}
    for check in report.ended:
        is_of_file = check.phase != PHASE or check.command == file.path
        if is_of_file and (not check.tasks or not tasks.isdisjoint(check.tasks)):
            yield FileCheck(check.phase, check.command, check.state)

"""Lock files that several tasks have changed, or whose manifest they have: before the delivery
their own tool makes them anew, in a copy of what was merged, in the sandbox of the checks."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath

from backends.base import Backend
from config import Settings
from core.check_request import Check, CheckRequest
from core.events import CheckBegun, CheckEnded, MadeAnew, Proof
from core.job import TaskResult
from core.plan import Plan, Setup
from engine.delivery.change import Change
from engine.delivery.deliver import settled_change_of
from engine.delivery.lock_files import (
    LockFile,
    WantedLock,
    keep_lock_file,
    made_lock_files,
    wanted_lock_files,
)
from engine.delivery.merge import tree_digest
from engine.run.session import storing
from engine.verification.added_task import AddedTasks
from engine.verification.choice import choose_runner
from engine.verification.verify import CheckRunner, ChecksNotRun

_NO_RETRIES = "export npm_config_fetch_retries=0"
"""npm and pnpm would wait for minutes for a network."""

Choose = Callable[[Plan], CheckRunner | str]
"""What runs the commands of a plan, or why nothing does."""


@storing()
def remake_lock_files(
    checks: AddedTasks,
    plan: Plan,
    results: Mapping[str, TaskResult],
    settings: Settings,
    backend: Backend,
) -> None:
    """deliver() takes what comes of it. What was made of the same tree is not made again. Raises
    StorageError, and Interrupted from the clock."""
    session = checks.session
    change = settled_change_of(session, plan, results)
    if change is None or not (wanted := [*wanted_lock_files(change)]):
        return

    def choose(needed: Plan) -> CheckRunner | str:
        return choose_runner(session, needed, change.tree, settings, backend, checks)

    known = made_lock_files(session.run, change)
    for lock in (lock for lock in wanted if lock.path not in known or known[lock.path].why_not):
        session.progress(f"making {lock.path} anew: {lock.command}")
        end, content = remake(change, lock, plan, choose)
        keep_lock_file(session.run, change, end, content)
        if end.why_not and not lock.collides:
            session.notice(
                f"{lock.path} may not fit {lock.manifest}, which several tasks have changed. It was"
                f" not made anew: {end.why_not}. To do it yourself: {lock.command}"
            )


def remake(change: Change, lock: WantedLock, plan: Plan, choose: Choose) -> tuple[LockFile, bytes]:
    """What became of one, and its content; `plan` says whether its set-up has a network."""
    path, digest = lock.path, tree_digest(change.tree.files)

    def failed(why_not: str) -> tuple[LockFile, bytes]:
        return LockFile(digest, MadeAnew(path, lock.command, ""), why_not=why_not.rstrip(".")), b""

    if any(conflict.path == lock.manifest for conflict in change.tree.conflicts):
        return failed(f"{lock.manifest} is in conflict")
    if all(file.path != lock.manifest for file in change.tree.files):
        return failed(f"{lock.manifest} is not there")
    setup = _setup(plan, lock)
    runner = choose(plan.model_copy(update={"setup": setup}))
    if isinstance(runner, str):
        return failed(runner)
    request = CheckRequest(setup, (Check(f"test -s {shlex.quote(path)}"),))
    ended: list[CheckEnded] = []

    def tell(data: CheckBegun | CheckEnded) -> None:
        if isinstance(data, CheckEnded):
            ended.append(data)

    try:
        content = runner.make(request, change.tree, tell, path)
    except ChecksNotRun as exc:
        return failed(exc.message)
    if wrong := [end for end in ended if end.state is not Proof.PASSED]:
        return failed(_why(wrong[0], has_network=request.installs_with_network))
    if not content:
        return failed("what it left is no regular file, or too large")
    return LockFile(digest, MadeAnew(path, lock.command, runner.name)), content


def _setup(plan: Plan, lock: WantedLock) -> Setup:
    """In which the tool is all that is run, with the network that installations have."""
    tools = (lock.command.partition(" ")[0],)
    update = {"tools": tools, "install": (lock.command,), "start": ""}
    setup = plan.setup.model_copy(update=update)
    steps = [
        f"cd {shlex.quote(f'./{PurePosixPath(lock.path).parent}')}",
        "unset CI",  # in one some tools change no lock file
        *([] if CheckRequest(setup, ()).installs_with_network else [_NO_RETRIES]),
        lock.command,
    ]
    return setup.model_copy(update={"install": ("; ".join(steps),)})


def _why(end: CheckEnded, *, has_network: bool) -> str:
    if end.state is not Proof.FAILED:  # the reason says what is lacking
        return end.reason
    lines = [line.strip() for line in end.output.splitlines() if line.strip()]
    said = [line for line in lines if "error" in line.lower()] or lines[-1:]
    offline = "" if has_network else ", without a network, since the plan's set-up needs none"
    return ": ".join([f"{end.reason}{offline if end.phase == 'install' else ''}", *said[:1]])

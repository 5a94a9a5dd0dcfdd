"""The run directory: one object names every file of a run, and finds the runs there are."""

import errno
import fcntl
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, TextIO

from pydantic import Field

from core.bundle import BASE_FILES, AttemptDir
from core.errors import BundleError, RunLocked, RunNotFound, TargetRefused, UsageError
from core.job import JobKey, Manifest
from core.program import here, program_line
from core.wire import decode, encode, write_atomic

RUN_FORMAT = 1
_YEAR_9000 = 2.2e11


@dataclass(frozen=True, slots=True)
class RunFacts:
    """run.json: what a run was asked for. `settings` are those in force, without secrets;
    `created` is Unix time in seconds."""

    run: str
    prompt: str
    target: str
    created: Annotated[float, Field(ge=0, le=_YEAR_9000)]
    settings: dict[str, object]
    simulated: bool
    version: int = RUN_FORMAT


@dataclass(frozen=True, slots=True)
class RunDir:
    """Names every file of the run below `root`."""

    root: Path

    @property
    def run_id(self) -> str:
        return self.root.name

    @property
    def facts(self) -> Path:
        return self.root / "run.json"

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def journal(self) -> Path:
        return self.root / "journal.jsonl"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def delivered(self) -> Path:
        """The manifest of what this run last delivered."""
        return self.root / "delivered.json"

    @property
    def acceptance(self) -> Path:
        """What is proven of each acceptance criterion."""
        return self.root / "acceptance.json"

    @property
    def reproduction(self) -> Path:
        """How the command that the prompt reports as failing ended on existing code."""
        return self.root / "reproduction.json"

    @property
    def report(self) -> Path:
        """The run as a page for a browser."""
        return self.root / "report.html"

    @property
    def provenance(self) -> Path:
        """Where each delivered file comes from."""
        return self.root / "provenance.json"

    @property
    def verification(self) -> Path:
        """Where the delivered project is checked, while it is."""
        return self.root / "verification"

    @property
    def checked_in_docker(self) -> Path:
        """The same while that is done in a container."""
        return self.verification / "docker"

    @property
    def merged(self) -> Path:
        """Versions of files of several tasks, as one."""
        return self.root / "merged"

    @property
    def lock_files(self) -> Path:
        """What became of those that their tools were to make anew."""
        return self.root / "lock-files.json"

    @property
    def contracts(self) -> Path:
        return self.root / "contracts"

    @property
    def tasks(self) -> Path:
        return self.root / "tasks"

    @property
    def context(self) -> Path:
        """What was given beside the prompt."""
        return self.root / "context"

    @property
    def base(self) -> Path:
        """The files that the run began with, of existing code; nobody changes them."""
        return self.root / BASE_FILES

    @property
    def base_json(self) -> Path:
        """What they are, and where they are from; written once they all are there."""
        return self.root / "base.json"

    @property
    def repository(self) -> Path:
        """A repository of the run's own, where the code is in none."""
        return self.root / "repository.git"

    @property
    def branch_json(self) -> Path:
        """The commits that the run's branch was set to."""
        return self.root / "branch.json"

    @property
    def undo(self) -> Path:
        """What a plain directory held before its files were replaced."""
        return self.root / "undo"

    def attempt(self, key: JobKey) -> AttemptDir:
        return AttemptDir(self.root.joinpath("tasks", key.task, str(key.attempt)))

    def command(self, verb: str, *more: str) -> str:
        """That command about this run, to be pasted."""
        work_dir = self.root.parent.parent
        chosen = "ORCHESTRATOR_WORK_DIR" in os.environ or os.path.exists("orchestrator.toml")
        is_found = not chosen and work_dir == Path(here(), ".orchestrator")
        where = () if is_found else ("--work-dir", str(work_dir))
        return program_line(verb, self.run_id, *where, *more)

    def read_facts(self) -> RunFacts:
        """Raises BundleError when they are damaged or of another format, OSError."""
        facts = decode(RunFacts, self.facts.read_bytes(), str(self.facts))
        if facts.version != RUN_FORMAT:
            raise BundleError(
                f"{self.facts} has run format {facts.version}; this version reads {RUN_FORMAT}.",
                "Use the version of the program that wrote it.",
            )
        return facts


@dataclass(frozen=True, slots=True)
class Deliveries:
    """delivered.json: the trees that the target may hold if only this run has written to it."""

    manifests: tuple[Manifest, ...] = ()
    version: int = 1


def known_deliveries(run: RunDir) -> tuple[Manifest, ...]:
    if not run.delivered.exists():
        return ()
    return decode(Deliveries, run.delivered.read_bytes(), str(run.delivered)).manifests


def write_deliveries(run: RunDir, manifests: tuple[Manifest, ...]) -> None:
    write_atomic(run.delivered, encode(Deliveries(manifests)), durable=True)


def new_run_id(now: float) -> str:
    """Sorts by time to the millisecond; the random end keeps apart runs of the same one."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d-%H%M%S")
    return f"{stamp}-{int(now * 1000) % 1000:03d}{secrets.token_hex(2)}"


def slug(prompt: str, limit: int = 40) -> str:
    """A short directory name made of the prompt's words; "project" when it has none."""
    text = "-".join(re.findall(r"[a-z0-9]+", prompt.lower()))
    if len(text) > limit:
        text = text[: limit + 1].rpartition("-")[0] or text[:limit]
    return text or "project"


def create_run(
    work_dir: Path, facts: RunFacts, fill: Callable[[RunDir], None] = lambda _: None
) -> RunDir:
    """Make the run's directory, with what `fill` puts there, and then write run.json: killed before
    it, there is no run. Raises UsageError when that is not possible."""
    run = RunDir(work_dir / "runs" / facts.run)
    try:
        run.tasks.mkdir(parents=True)
        ignored = run.root.parent / ".gitignore"  # not in the work directory: that may hold more
        if not ignored.exists():
            write_atomic(ignored, "*\n")
        fill(run)
        write_atomic(run.facts, encode(facts) + "\n", durable=True)
    except OSError as exc:
        raise UsageError(
            f"The work directory {work_dir} cannot be written: {exc.strerror}.",
            "Choose another one with --work-dir.",
        ) from exc
    return run


def runs_in(work_dir: Path) -> list[RunDir]:
    """Every run of the work directory, oldest first."""
    return [RunDir(path.parent) for path in sorted((work_dir / "runs").glob("*/run.json"))]


def find_run(work_dir: Path, name: str) -> RunDir:
    """The run whose id is, or alone begins or ends with, `name`; "last" is the newest.

    Raises RunNotFound, which lists the runs.
    """
    runs = runs_in(work_dir)
    if name == "last" and runs:
        return runs[-1]
    near = matching_ids((run.run_id for run in runs), name)
    if len(near) == 1:
        return RunDir(work_dir / "runs" / near.pop())
    where = work_dir / "runs"
    if not runs:
        raise RunNotFound(f"No runs were found in {where}.", "Start one, or give its --work-dir.")
    choices = ", ".join(sorted(near or {run.run_id for run in runs})[-5:])
    problem = f"{name!r} matches several runs" if near else f"The run {name!r} was not found"
    raise RunNotFound(f"{problem} in {where}.", f"Choose one of: {choices}.")


def matching_ids(ids: Iterable[str], name: str) -> set[str]:
    """The id `name`, or else those that begin or end with it."""
    near = {i for i in ids if name and (i.startswith(name) or i.endswith(name))}
    return {name} if name in near else near


_NO_LOCKS = frozenset({errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP})


@contextmanager
def locked(run: RunDir) -> Iterator[None]:
    """Hold the run, so that no second orchestrator works on it. Raises RunLocked.

    The kernel lets go of a flock when its process ends, however it ends.
    """
    with run.lock.open("a+") as stream:
        try:
            _take(stream)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            raise RunLocked(
                f"Run {run.run_id} is being worked on by {holder}.", "Wait for it or stop it."
            ) from None
        except OSError as exc:
            if exc.errno not in _NO_LOCKS:
                raise
            raise UsageError(
                f"The file system of {run.root} has no file locks: {exc.strerror}.",
                "Put --work-dir on one that has, or have it mounted with them: Lustre with the"
                " option flock, NFS with its lock daemon.",
            ) from exc
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        yield


@contextmanager
def reserved(target: Path, run_id: str) -> Iterator[None]:
    """Keep the target for one run while it works, so that another that would deliver there is
    refused before it spends. Raises TargetRefused. Leaves nothing behind; where a file system has
    no locks, the delivery of the second is refused."""
    name = os.fsencode(target.name)[:150].decode(errors="ignore")  # room for the rest of the name
    lock = target.with_name(f".{name}.reserved")
    made = [path for path in lock.parents if not path.exists()]
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as stream:
        try:
            _take(stream)
        except BlockingIOError:
            stream.seek(0)
            raise TargetRefused(
                f"The output directory cannot be used: {target} is that of the run"
                f" {stream.read() or 'of another process'}, which is at work.",
                "Choose another --output-dir, or wait for that run.",
            ) from None
        except OSError as exc:
            if exc.errno not in _NO_LOCKS:
                raise
        try:
            stream.truncate(0)
            stream.write(run_id)
            stream.flush()
            yield
        finally:
            lock.unlink(missing_ok=True)
            for path in made:
                with suppress(OSError):  # it holds something by now
                    path.rmdir()


@contextmanager
def held_alone(directory: Path) -> Iterator[None]:
    """Keep a directory that is changed in place for one run, without a file in it. Raises
    TargetRefused."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        why = f"{directory} is changed by another run, which is at work."
        raise TargetRefused(why, "Wait for that run, or cancel it.") from None
    except OSError as exc:
        if exc.errno not in _NO_LOCKS:
            raise
    try:
        yield
    finally:
        os.close(fd)


def _take(stream: TextIO) -> None:
    """Raises BlockingIOError when another process has it for longer than a look at it takes."""
    for _ in range(3):
        with suppress(BlockingIOError):
            return fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.05)  # `runs` takes it for a moment, to see whether it is held
    return fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_locked(run: RunDir) -> bool:
    """Whether a process works on the run now."""
    try:
        with run.lock.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as exc:
        return isinstance(exc, BlockingIOError)
    return False

"""Runs of four tasks through the whole pipeline, and damage to them at a chosen step of their way.

The seams: an event's listener acts in the deciding thread, right after the journal has the event;
a worker that has left its result; and our own functions that write.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from backends.base import Backend, BackendContext
from backends.threading_backend import ThreadingBackend
from claude.limits.governor import Governor
from config import Settings
from core.bundle import AttemptDir, build_manifest, claim, read_request, write_result
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.events import Event, EventSink, Kind
from core.job import JobKey, Outcome, TaskResult
from core.plan import Plan, render_plan
from core.wire import write_atomic
from engine.pipeline import carry_out
from engine.planning.preflight import PreparedRun, read_expectations
from engine.run.rundir import RunDir, RunFacts, create_run
from engine.run.session import open_session
from engine.views.plain import Quiet
from planner_agent import ask_for_plan
from tests.fakes.plans import make_plan

RUN = "20260101-000000-aaaa"
PLAN = make_plan({"a": (), "b": ("a",), "c": ("b",), "d": ()}, contracts={"api.py": "X = 1\n"})
"""`c` is given what `a` has left, as `b` is; nobody needs `d`."""
EXPECTED = {"api.py": "X = 1\n", **{f"{t.id}/out.txt": f"{t.id}\n" for t in PLAN.tasks}}
FULL, BROKEN = errno.ENOSPC, errno.EIO
FAULTS = {"ENOSPC": FULL, "EIO": BROKEN}


def os_error(number: int, path: Path | str = "") -> OSError:
    return OSError(number, os.strerror(number), str(path))


def work(attempt: AttemptDir, claimant: str, clock: Clock) -> None:
    """A worker that writes one file; what it was given has to be there."""
    request = read_request(attempt)
    if not claim(attempt, claimant):
        return
    for task in {"b": ("a",), "c": ("a", "b")}.get(request.task.id, ()):
        assert (attempt.inputs / task / "out.txt").read_text() == f"{task}\n"
    place = attempt.files / request.task.id / "out.txt"
    for directory in (attempt.files.parent, attempt.files, place.parent):
        directory.mkdir(exist_ok=True)  # as workers do, none of a run that was removed
    place.write_text(f"{request.task.id}\n")
    result = TaskResult(request.key, Outcome.OK, "done", manifest=build_manifest(attempt.files))
    write_result(attempt, result)


@dataclass
class At:
    """A listener that acts when the event of this kind comes, so many times."""

    kind: Kind
    act: Callable[[], None]
    task: str = ""
    times: int = 1

    def emit(self, event: Event) -> None:
        if self.times and event.kind is self.kind and self.task in ("", event.task):
            self.times -= 1
            self.act()


@dataclass
class Heard:
    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class SabotagedRun:
    """`worker_left` acts on the attempt that a worker has just finished."""

    place: Path
    worker_left: Callable[[AttemptDir], None] = lambda _: None
    make_backend: Callable[[RunDir, Callable[..., None]], Backend] | None = None
    heard: Heard = field(default_factory=Heard)
    plan: Plan = PLAN
    retries: int = 3

    @property
    def dir(self) -> RunDir:
        return RunDir(self.place / "work" / "runs" / RUN)

    @property
    def target(self) -> Path:
        return self.place / "out"

    def attempt(self, task: str, number: int = 1) -> AttemptDir:
        return self.dir.attempt(JobKey(RUN, task, number))

    def delivered(self) -> dict[str, str]:
        files = [p for p in self.target.rglob("*") if p.is_file()]
        return {p.relative_to(self.target).as_posix(): p.read_text() for p in files}

    def __call__(self, *sinks: EventSink) -> int:
        """One session of the run; its exit code. Raises what ends it."""
        settings = Settings(
            work_dir=self.place / "work", output_dir=self.target, max_retries=self.retries
        )
        facts = RunFacts(RUN, "Build it", str(self.target), 0.0, {}, True)
        if not self.dir.root.exists():
            create_run(settings.work_dir, facts)
            write_atomic(self.dir.plan, render_plan(self.plan))
        prepared = self._prepared(settings, facts)
        try:
            with open_session(facts, self.dir, [self.heard, *sinks], SystemClock()) as session:
                return carry_out(prepared, session, Quiet())
        finally:
            prepared.close()

    def _prepared(self, settings: Settings, facts: RunFacts) -> PreparedRun:
        models, governor = settings.models(), Governor()
        context = BackendContext(self.dir.root, Credentials(), SystemClock(), self._work)
        make = self.make_backend or (lambda run, work: ThreadingBackend(run.root, work))
        return PreparedRun(
            settings,
            models,
            facts,
            self.dir,
            context,
            governor,
            make(self.dir, self._work),
            ask_for_plan,
            read_expectations(settings, models),
        )

    def _work(self, attempt: AttemptDir, claimant: str, clock: Clock) -> None:
        work(attempt, claimant, clock)
        self.worker_left(attempt)


# -- damage to a result


def remove_result(attempt: AttemptDir) -> None:
    shutil.rmtree(attempt.result)


def remove_files(attempt: AttemptDir) -> None:
    shutil.rmtree(attempt.files)


def _only_file(attempt: AttemptDir) -> Path:
    [path] = [path for path in attempt.files.rglob("*") if path.is_file()]
    return path


def change_file(attempt: AttemptDir) -> None:
    _only_file(attempt).write_text("x\n")


def cut_file(attempt: AttemptDir) -> None:
    _only_file(attempt).write_text("")


def cut_manifest(attempt: AttemptDir) -> None:
    path = attempt.result_json
    path.write_bytes(path.read_bytes()[:-9])


DAMAGE = (remove_result, remove_files, change_file, cut_file, cut_manifest)

"""`cancel RUN`: stops a run's jobs wherever they run, and whoever works on it before that.

Another process on this host is asked as Ctrl-C asks. Then the run is taken up without a scheduler,
what its backends still run is stopped, and the journal told, so that `resume` goes on with it.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backends.base import Backend
from core.clock import Clock
from core.errors import BackendError, RunLocked
from core.events import Event, EventSink, JobEnded, Notice, RunEnded, encode_event
from core.job import JobKey, Outcome
from engine.cleanup.outstanding_jobs import (
    STOP_S,
    Asking,
    OutstandingJobs,
    collect_ended,
    look,
    note_ends,
    note_gone,
    stop,
)
from engine.cleanup.run_backends import RunBackends, moved_from, used_backends
from engine.pipeline import announce
from engine.run.jobs_view import JobsView
from engine.run.journal import read_journal
from engine.run.run_view import read_run_view
from engine.run.rundir import RunDir, find_run, is_locked
from engine.run.session import Session, end_session, open_session
from engine.views.format import clean, plural

LET_GO_S = 60.0
"""How long the process that works on a run has to stop; the scheduler gives its jobs 10 s."""
_LOOK_S = 0.1
_DONE_EXITS = {0, 1}


@dataclass(frozen=True, slots=True)
class Spoken:
    """A sink that says events line by line: as JSON, or in words where they have any."""

    say: Callable[[str], None]
    as_json: bool

    def emit(self, event: Event) -> None:
        if line := encode_event(event) if self.as_json else _in_words(event):
            self.say(line + "\n")


def _in_words(event: Event) -> str:
    task = clean(event.task)
    match event.data:
        case Notice(text):
            return clean(text, 2_000)
        case JobEnded(Outcome.INTERRUPTED):
            return f"  {task}: stopped (attempt {event.attempt})"
        case JobEnded(Outcome.OK):
            return f"  {task}: had finished; its result is kept"
        case JobEnded(message=message):
            return f"  {task}: had ended: {clean(message)}"
    return ""


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that works on a run, as its lock file names it."""

    pid: int
    host: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def find_holder(run: RunDir) -> Holder | None:
    """Who works on the run now; None when nobody does. Raises RunLocked when that is not clear."""
    if not is_locked(run):
        return None
    text = run.lock.read_text(encoding="utf-8", errors="replace").strip()
    if (found := re.fullmatch(r"process ([1-9]\d{0,9}) on (\S+)", text)) is None:
        raise RunLocked(f"Run {run.run_id} is being worked on by another process.", "Stop it.")
    return Holder(int(found[1]), found[2])


def ask_to_stop(
    run: RunDir,
    clock: Clock,
    tell: Callable[[str], None],
    patience_s: float = LET_GO_S,
    send: Callable[[int, int], None] = os.kill,
) -> bool:
    """Have whoever works on the run stop, and wait for it; whether there was anybody.

    Raises RunLocked when it does not stop.
    """
    if (holder := find_holder(run)) is None:
        return False
    name = f"Run {run.run_id} is being worked on by {holder}"
    if holder.host != socket.gethostname():
        raise RunLocked(f"{name}.", "Cancel it there, or end that process.")
    if not _has_open(holder.pid, run.lock):
        if find_holder(run) != holder:
            return ask_to_stop(run, clock, tell, patience_s, send)
        raise RunLocked(
            f"{name}, which cannot be seen from here.", "Cancel it as its user, in its container."
        )
    tell(f"{name}; asking it to stop.")
    try:
        # What SIGINT asks for; but that one is ignored by what a script started with '&'
        send(holder.pid, signal.SIGTERM)
    except OSError as exc:
        raise RunLocked(f"{name}, which cannot be asked: {exc.strerror}.", "Stop it.") from exc
    until = clock.monotonic() + patience_s
    while is_locked(run):
        if clock.monotonic() >= until:
            stuck = f"{name}, which has not stopped within {patience_s:g} s."
            raise RunLocked(stuck, f"End it (kill -9 {holder.pid}), then cancel again.")
        clock.sleep(_LOOK_S)
    return True


def _has_open(pid: int, lock: Path) -> bool:
    """Whether the process has the lock file open: a number in a file may be anybody's by now."""
    if not Path("/proc/self/fd").exists():
        return True  # no way to see it here; the lock is held, and by whom it says
    wanted = lock.stat()
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    return any(_is_same(f"/proc/{pid}/fd/{name}", wanted) for name in names)


def _is_same(path: str, wanted: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), wanted)
    except OSError:
        return False


def cancel_named(name: str, reopening: RunBackends, say: Callable[[str], None]) -> int:
    """The command. Raises RunNotFound, and what `cancel_run` raises."""
    run = find_run(reopening.work_dir, name)
    return cancel_run(run, reopening, reopening.clock, Spoken(say, reopening.as_json))


def cancel_run(
    run: RunDir,
    reopening: RunBackends,
    clock: Clock,
    voice: EventSink,
    *,
    let_go_s: float = LET_GO_S,
    stop_s: float = STOP_S,
) -> int:
    """Stop all jobs of the run; gives the exit code.

    Raises RunLocked when another process keeps the run, BackendError when jobs may still run.
    """

    def tell(text: str) -> None:
        voice.emit(Event(Notice(text), clock.time()))

    asked_at = len(read_journal(run.journal))
    asked = ask_to_stop(run, clock, tell, let_go_s)
    with open_session(run.read_facts(), run, [voice], clock, replayed=False) as session:
        # what the process did that was asked to stop
        for event in read_journal(run.journal)[asked_at:]:
            voice.emit(event)
        return Cancelling(session, reopening, asked, stop_s).carry_out(tell)


def leave_others(
    run: RunDir, reopening: RunBackends, chosen: str, tell: Callable[[str], None]
) -> None:
    """Before a run goes on with the backend `chosen`: cancel what it still has on others, since
    its tasks would be done, and paid for, twice. What cannot be asked is told and left."""
    facts, run_view = run.read_facts(), read_run_view(run)
    names = tuple(name for name in used_backends(facts, run_view) if name != chosen)
    if not names or not run_view.jobs.open:
        return
    voice = Spoken(lambda line: tell(line.rstrip("\n")), as_json=False)
    try:
        with open_session(facts, run, [voice], reopening.clock, replayed=False) as session:
            Cancelling(session, reopening, only=names).carry_out(lambda _: None)
    except BackendError as exc:
        tell(f"warning: {exc}")


@dataclass(frozen=True, slots=True)
class Cancelling:
    """One run, held by this process, whose jobs are to end; `asked` whoever held it before.

    `only` names backends, where not all that it was carried out on are meant.
    """

    session: Session
    reopening: RunBackends
    asked: bool = False
    stop_s: float = STOP_S
    only: tuple[str, ...] = ()

    def carry_out(self, tell: Callable[[str], None]) -> int:
        session, facts = self.session, self.session.facts
        asking, run_view = Asking(session.clock), session.run_view
        ended, jobs = run_view.ended, run_view.jobs
        idle_s = session.clock.time() - (run_view.last_at or facts.created)
        with ExitStack() as stack:
            found: list[tuple[Backend, OutstandingJobs]] = []
            moved = False
            try:
                for name in self.only or used_backends(facts, run_view):
                    backend = stack.enter_context(self.reopening.backend(session.run, name, facts))
                    elsewhere = self._is_elsewhere(name, tell)
                    moved |= elsewhere
                    known = JobsView() if elsewhere else jobs
                    remains = look(asking, backend, facts.run, known, idle_s)
                    found.append((backend, remains))
            except BackendError as exc:
                raise self._out_of_reach(exc) from exc
            running = {key for _, r in found for key in (h.key for h in r.running)}
            finished = ended is not None and ended.exit_code in _DONE_EXITS
            if not running and ended is not None and (finished or not jobs.open):
                tell(self._nothing_runs(ended))
                return 0
            if not finished:
                self._begin()
            left = self._stop_all(asking, found)
            if not left and not self.only:
                grace_s = max((backend.grace_s for backend, _ in found), default=0.0)
                looked = [r for _, r in found]
                note_gone(session, looked, settled=idle_s >= grace_s, moved=moved)
        outcome = "interrupted" if left else "cancelled"
        if not finished:
            end_session(session, 130, outcome)
        if left:
            raise BackendError(
                f"{plural(len(left), 'job')} of run {facts.run} may still run: {_names(left)}.",
                "Cancel it again, or look after them where they run.",
            )
        stopped = f"{plural(len(running), 'job')} stopped" if running else "nothing was running"
        tell(f"Run {facts.run} is cancelled: {stopped}. 'resume {facts.run}' goes on with it.")
        return 0

    def _is_elsewhere(self, name: str, tell: Callable[[str], None]) -> bool:
        """Whether the backend is in another place now than the run's open jobs: there their
        handles mean nothing, or somebody else's jobs."""
        session = self.session
        place = moved_from(name, session.facts, self.reopening.settings(session.facts))
        if not place or not session.run_view.jobs.open:
            return False
        tell(
            f"Jobs are looked for where this command says. What may run on {name} where they were"
            f" started ({place}) is not stopped."
        )
        return True

    def _nothing_runs(self, end: RunEnded) -> str:
        run_id = self.session.facts.run
        if self.asked and end.exit_code not in _DONE_EXITS:
            return f"Run {run_id} is stopped. 'resume {run_id}' goes on with it."
        outcome = clean(end.outcome or "unknown")
        return f"Nothing of run {run_id} is running. How it ended: {outcome}."

    def _begin(self) -> None:
        """A session of its own in the journal, so that the time since the last is not its."""
        settings = self.reopening.settings(self.session.facts)
        announce(self.session, settings.backend, settings.model, settings.max_executors)

    def _stop_all(
        self, asking: Asking, found: Sequence[tuple[Backend, OutstandingJobs]]
    ) -> set[JobKey]:
        """Stop what runs, note what ended, leave nothing behind; gives what may still run."""
        left: set[JobKey] = set()
        for backend, before in found:
            try:
                after = stop(asking, backend, before, self.stop_s + backend.cancel_lag_s)
            except BackendError as exc:
                left |= {h.key for h in before.running}
                self.session.notice(f"{backend.name}: {exc}")
                continue
            still = frozenset(h.key for h in after.running)
            left |= still
            stopped = frozenset(h.key for h in before.running) - still
            try:
                if not self._note(asking, backend, after, stopped) and not still:
                    run_id = self.session.facts.run
                    asking.ask("cleanup", partial(backend.cleanup, run_id), asking.cleanup_s)
            except BackendError as exc:
                self.session.notice(f"{backend.name}: {exc} 'clean' and 'resume' ask again.")
        return left

    def _note(
        self, asking: Asking, backend: Backend, after: OutstandingJobs, stopped: frozenset[JobKey]
    ) -> list[JobKey]:
        """Fetch and journal what ended; gives what is still to come."""
        session, jobs = self.session, self.session.run_view.jobs
        given_up = stopped - jobs.open.keys()
        found = collect_ended(asking, backend, session.run, jobs, after)
        to_come = note_ends(session, after, found, stopped)
        for key in sorted(given_up):
            session.notice(f"{key.task}: stopped (attempt {key.attempt}), given up before")
        return to_come

    def _out_of_reach(self, exc: BackendError) -> BackendError:
        run_id, still_open = self.session.facts.run, self.session.run_view.jobs.open
        what = f" Of run {run_id}, these may still run: {_names(set(still_open))}."
        return BackendError(
            exc.message + (what if still_open else ""),
            f"{exc.remedy} Then cancel the run again.".strip(),
        )


def _names(keys: set[JobKey]) -> str:
    return ", ".join(f"{clean(key.task)} (attempt {key.attempt})" for key in sorted(keys))

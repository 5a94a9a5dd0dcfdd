"""`cancel RUN`: stops the process that works on a run, then the run's jobs wherever they run, and
journals their ends, so that `resume` goes on from there."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from core.errors import BackendError
from core.events import Event, EventSink, JobEnded, Notice, RunEnded, encode_event
from core.job import JobKey, Outcome
from engine.cleanup.lock_holder import stop_holder
from engine.cleanup.outstanding_jobs import STOP_S, EndRecorder, OutstandingJobs
from engine.cleanup.run_backends import RunBackends, moved_from, used_backends
from engine.run.jobs_view import JobsView
from engine.run.journal import read_journal
from engine.run.run_view import read_run_view
from engine.run.rundir import RunDir
from engine.run.session import Session, announce, end_session, open_session
from engine.views.format import clean, plural

_DONE_EXITS = {0, 1}


@dataclass(frozen=True, slots=True)
class EventPrinter:
    """A sink that writes events line by line: as JSON, or as text where there is any."""

    write: Callable[[str], None]
    as_json: bool

    def emit(self, event: Event) -> None:
        if line := encode_event(event) if self.as_json else _text(event):
            self.write(line + "\n")


def _text(event: Event) -> str:
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


def cancel_run(
    run: RunDir, backends: RunBackends, sink: EventSink, *, stop_s: float = STOP_S
) -> int:
    """Stop all jobs of the run; gives the exit code.

    Raises RunLocked when another process keeps the run, BackendError when jobs may still run.
    """

    clock = backends.clock

    def notify(text: str) -> None:
        sink.emit(Event(Notice(text), clock.time()))

    before = len(read_journal(run.journal))
    was_held = stop_holder(run, clock, notify)
    with open_session(run.read_facts(), run, [sink], clock, replayed=False) as session:
        for event in read_journal(run.journal)[before:]:  # what the stopped process did
            sink.emit(event)
        return Cancellation(session, backends, was_held, stop_s).run(notify)


def leave_others(
    run: RunDir, backends: RunBackends, chosen: str, notify: Callable[[str], None]
) -> None:
    """Before a run goes on with the backend `chosen`: cancel what it still has on others, since
    its tasks would be done, and paid for, twice. What cannot be asked is reported and left."""
    facts, run_view = run.read_facts(), read_run_view(run)
    names = tuple(name for name in used_backends(facts, run_view) if name != chosen)
    if not names or not run_view.jobs.open:
        return
    sink = EventPrinter(lambda line: notify(line.rstrip("\n")), as_json=False)
    try:
        with open_session(facts, run, [sink], backends.clock, replayed=False) as session:
            Cancellation(session, backends, only=names).run(lambda _: None)
    except BackendError as exc:
        notify(f"warning: {exc}")


@dataclass(frozen=True, slots=True)
class Cancellation:
    """Of one run, held by this process; `was_held`: by another one before, which was stopped.

    `only` names backends, where not all that the run was carried out on are meant.
    """

    session: Session
    backends: RunBackends
    was_held: bool = False
    stop_s: float = STOP_S
    only: tuple[str, ...] = ()

    def run(self, notify: Callable[[str], None]) -> int:
        """Gives the exit code. Raises BackendError when jobs may still run."""
        session = self.session
        idle_s = session.clock.time() - (session.run_view.last_at or session.facts.created)
        with ExitStack() as stack:
            found, moved = self._find(stack, idle_s, notify)
            return self._cancel(found, idle_s, notify, moved=moved)

    def _find(
        self, stack: ExitStack, idle_s: float, notify: Callable[[str], None]
    ) -> tuple[list[OutstandingJobs], bool]:
        """The jobs on each backend; whether one of these has moved since they were started."""
        session, run_view, facts = self.session, self.session.run_view, self.session.facts
        found: list[OutstandingJobs] = []
        moved = False
        try:
            for name in self.only or used_backends(facts, run_view):
                backend = stack.enter_context(self.backends.open(session.run, name, facts))
                elsewhere = self._is_elsewhere(name, notify)
                moved |= elsewhere
                known = JobsView() if elsewhere else run_view.jobs
                found.append(OutstandingJobs.find(backend, facts.run, known, idle_s))
        except BackendError as exc:
            still_open = run_view.jobs.open
            names = f" Of run {facts.run}, these may still run: {_names(set(still_open))}."
            message = exc.message + (names if still_open else "")
            raise BackendError(message, f"{exc.remedy} Then cancel the run again.".strip()) from exc
        return found, moved

    def _cancel(
        self,
        found: list[OutstandingJobs],
        idle_s: float,
        notify: Callable[[str], None],
        *,
        moved: bool,
    ) -> int:
        session, run_id, ended = self.session, self.session.facts.run, self.session.run_view.ended
        running = {handle.key for jobs in found for handle in jobs.running}
        finished = ended is not None and ended.exit_code in _DONE_EXITS
        if not running and ended is not None and (finished or not session.run_view.jobs.open):
            notify(self._nothing_runs(ended))
            return 0
        budget = self.backends.budget(session.facts, session.run_view.jobs)
        recorder = EndRecorder(session, budget.is_credible)
        if not finished:  # a session of its own, so that the time since the last is not its
            settings = self.backends.settings(session.facts)
            announce(session, settings.backend, settings.models(), settings.max_executors)
        left = self._stop_all(found, recorder)
        if not left and not self.only:
            grace_s = max((jobs.backend.backend.grace_s for jobs in found), default=0.0)
            recorder.record_missing(found, settled=idle_s >= grace_s, moved=moved)
        if not finished:
            end_session(session, 130, "interrupted" if left else "cancelled")
        if left:
            raise BackendError(
                f"{plural(len(left), 'job')} of run {run_id} may still run: {_names(left)}.",
                "Cancel it again, or stop them where they run.",
            )
        stopped = f"{plural(len(running), 'job')} stopped" if running else "nothing was running"
        notify(f"Run {run_id} is cancelled: {stopped}. {self._way_on}")
        return 0

    def _is_elsewhere(self, name: str, notify: Callable[[str], None]) -> bool:
        """Whether the backend is in another place now than the run's open jobs: there their
        handles mean nothing, or another run's jobs."""
        session = self.session
        place = moved_from(name, session.facts, self.backends.settings(session.facts))
        if not place or not session.run_view.jobs.open:
            return False
        notify(
            f"Jobs are looked for where this command says. What may run on {name} where they were"
            f" started ({place}) is not stopped."
        )
        return True

    @property
    def _way_on(self) -> str:
        return f"Go on with it by `{self.session.run.command('resume')}`."

    def _nothing_runs(self, ended: RunEnded) -> str:
        run_id = self.session.facts.run
        if self.was_held and ended.exit_code not in _DONE_EXITS:
            return f"Run {run_id} is stopped. {self._way_on}"
        return f"Nothing of run {run_id} is running. How it ended: {clean(ended.outcome)}."

    def _stop_all(self, found: Sequence[OutstandingJobs], recorder: EndRecorder) -> set[JobKey]:
        """Stop what runs, record what ended, leave nothing behind; gives what may still run."""
        left: set[JobKey] = set()
        for before in found:
            backend, running = before.backend, frozenset(h.key for h in before.running)
            try:
                after = before.stop(self.stop_s + backend.backend.cancel_lag_s)
            except BackendError as exc:
                left |= running
                self.session.notice(f"{backend.name}: {exc}")
                continue
            still = frozenset(h.key for h in after.running)
            left |= still
            try:
                if not self._record(after, running - still, recorder) and not still:
                    backend.cleanup(self.session.facts.run)
            except BackendError as exc:
                self.session.notice(f"{backend.name}: {exc} Clean or resume the run to ask again.")
        return left

    def _record(
        self, after: OutstandingJobs, stopped: frozenset[JobKey], recorder: EndRecorder
    ) -> list[JobKey]:
        """Collect and journal what ended; gives what is still to come."""
        session, open_jobs = self.session, self.session.run_view.jobs.open
        given_up = stopped - open_jobs.keys()
        found = after.collect_ended(session.run, open_jobs)
        to_come = recorder.record(after, found, stopped)
        for key in sorted(given_up):
            session.notice(f"{key.task}: stopped (attempt {key.attempt}), given up before")
        return to_come


def _names(keys: set[JobKey]) -> str:
    return ", ".join(f"{clean(key.task)} (attempt {key.attempt})" for key in sorted(keys))

"""One process at work on one run: its directory, lock, journal and listeners."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.bundle import Models
from core.clock import Clock
from core.errors import OrchestratorError, RunRemoved, StorageError
from core.events import (
    AnswerProgress,
    Broadcast,
    Event,
    EventData,
    EventSink,
    Notice,
    Part,
    Progress,
    RunEnded,
    RunStarted,
    event_at,
)
from core.job import JobKey, Usage
from core.wire import encode, write_atomic
from engine.delivery.target import recover_target
from engine.money.usage import Price
from engine.run.context_files import build_context, stored_context
from engine.run.journal import Journal, read_journal
from engine.run.run_view import RunView, replay
from engine.run.rundir import RunDir, RunFacts, locked
from engine.scheduling.types import Stop

OUTCOMES = {0: "succeeded", 1: "finished with problems", 4: "stopped", 130: "interrupted"}
"""What a run came to, by exit code."""
NOT_APPROVED = "not approved"
FAILED, REMOVED = "failed", "removed"
"""The same where an error ended it, which is printed where it is caught; and where nothing is left
to resume."""


@dataclass(frozen=True, slots=True)
class Session:
    """`run_view` follows the journal, earlier sessions included; `resumed`: there were some.

    `sink` is the journal and the listeners, `listeners` is without the journal. `begun_at` is Unix
    time.
    """

    run: RunDir
    facts: RunFacts
    journal: Journal
    run_view: RunView
    sink: EventSink
    listeners: EventSink
    clock: Clock
    begun_at: float
    resumed: bool

    def emit(self, data: EventData, key: JobKey | None = None) -> None:
        self.sink.emit(event_at(self.clock.time(), data, key))

    @property
    def asked(self) -> str:
        """What executors are asked: the prompt, with the texts that were given beside it."""
        return build_context(stored_context(self.run)).added_to(self.facts.prompt)

    def notice(self, text: str) -> None:
        self.emit(Notice(text))

    def spent(self, usage: Usage) -> None:
        self.emit(Progress(usage=usage))

    def progress(self, told: str | AnswerProgress) -> None:
        self.emit(Progress(told) if isinstance(told, str) else told)


@contextmanager
def open_session(
    facts: RunFacts,
    run: RunDir,
    sinks: Sequence[EventSink],
    clock: Clock,
    *,
    replayed: bool = True,
    price: Price = lambda _: None,
) -> Iterator[Session]:
    """Hold the run and its journal, with `facts` in force. Raises RunLocked when another has it.

    With `replayed`, `sinks` get the events of earlier sessions first, so that they show the whole
    run.
    """
    with storing(), locked(run):
        earlier = Path(run.read_facts().target)
        if earlier != Path(facts.target):  # a delivery cut off elsewhere is settled there first
            recover_target(earlier, run.run_id)
        write_atomic(run.facts, encode(facts) + "\n", durable=True)
        events = read_journal(run.journal)
        for event in events if replayed else ():
            for sink in sinks:
                sink.emit(event)
        run_view = replay(run.run_id, events, price)
        journal = Journal(run.journal)
        try:
            yield Session(
                run=run,
                facts=facts,
                journal=journal,
                run_view=run_view,
                sink=Broadcast([journal, run_view, *sinks]),
                listeners=Broadcast([run_view, *sinks]),
                clock=clock,
                begun_at=clock.time(),
                resumed=run_view.ended is not None or bool(run_view.jobs.attempts),
            )
        finally:
            with suppress(OSError):  # what could be kept is kept; another error is on its way
                journal.close()


@contextmanager
def storing() -> Iterator[None]:
    """What the operating system refuses inside becomes a StorageError."""
    try:
        yield
    except OSError as exc:
        raise StorageError(exc) from exc


def end_session(
    session: Session, exit_code: int, outcome: str = "", why: Stop | OrchestratorError | None = None
) -> int:
    """Emit how it ended and why; the last event of every session that can still write one.

    `outcome` in words is that of OUTCOMES, unless it is given. Gives the exit code.
    """
    end = RunEnded(
        exit_code=exit_code,
        outcome=outcome or OUTCOMES[exit_code],
        message=why.message if why else "",
        wall_s=round(session.clock.time() - session.begun_at, 3),
        resume_with=why.resume_with if why else "",
    )
    try:
        session.emit(end)
        session.journal.commit()
    except (OSError, RunRemoved):  # there is no room for it; the listeners get it all the same
        session.listeners.emit(Event(end, session.clock.time()))
    return exit_code


@contextmanager
def ending(session: Session) -> Iterator[None]:
    """An error or Ctrl-C inside ends the session as well."""
    try:
        yield
    except KeyboardInterrupt:
        end_session(session, 130)
        raise
    except OrchestratorError as exc:
        outcome = {4: OUTCOMES[4]}.get(exc.exit_code, FAILED)
        end_session(
            session, exc.exit_code, REMOVED if isinstance(exc, RunRemoved) else outcome, exc
        )
        raise


def announce(
    session: Session,
    backend: str,
    models: Models,
    max_executors: int,
    planning: Part | None = None,
) -> None:
    """The first event of every session; `planning` is what making a plan is expected to take."""
    facts, planner, executor = session.facts, models.planner, models.executor
    session.emit(
        RunStarted(
            run=facts.run,
            run_dir=str(session.run.root),
            prompt=facts.prompt,
            simulated=facts.simulated,
            backend=backend,
            model=executor.model,
            effort=executor.effort,
            planner_model=planner.model if models.differ else "",
            planner_effort=planner.effort,
            planning=planning,
            max_executors=max_executors,
            target=facts.target,
            resumed=session.resumed,
            speed=executor.simulation.speed if executor.simulation else None,
            existing=bool(facts.settings.get("into")),
        )
    )

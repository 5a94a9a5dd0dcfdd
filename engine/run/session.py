"""One process at work on one run: its directory, lock, journal and whoever listens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.clock import Clock
from core.errors import OrchestratorError, StorageError
from core.events import Broadcast, Event, EventSink, Kind
from core.job import Usage
from core.wire import encode, plain, write_atomic
from engine.delivery.target import recover_target
from engine.run.journal import History, Journal, read_journal, replay
from engine.run.rundir import RunDir, RunFacts, locked
from engine.scheduling.types import Stop

OUTCOMES = {0: "succeeded", 1: "finished with problems", 4: "stopped", 130: "interrupted"}
"""What a run came to, by exit code."""


@dataclass(frozen=True, slots=True)
class Session:
    """`history` is where the run stood when this process took it up; `begun_at` is Unix time.

    `sink` is the journal and those who listen, `listeners` is without the journal.
    """

    run: RunDir
    facts: RunFacts
    journal: Journal
    sink: EventSink
    listeners: EventSink
    history: History
    clock: Clock
    begun_at: float

    @property
    def resumed(self) -> bool:
        return self.history.end is not None or bool(self.history.attempts)

    def emit(self, kind: Kind, **data: Any) -> None:
        self.sink.emit(Event(kind, self.clock.time(), data=data))

    def notice(self, text: str) -> None:
        self.emit(Kind.NOTICE, text=text)

    def spent(self, usage: Usage) -> None:
        self.emit(Kind.PROGRESS, usage=plain(usage))

    def progress(self, text: str) -> None:
        self.emit(Kind.PROGRESS, text=text)


@contextmanager
def open_session(
    facts: RunFacts, run: RunDir, sinks: Sequence[EventSink], clock: Clock
) -> Iterator[Session]:
    """Hold the run and its journal, with `facts` in force. Raises RunLocked when another has it.

    What earlier sessions did is told to `sinks` first, so that they show the whole run.
    """
    with storing(), locked(run):
        _settle_earlier_target(run, facts)
        write_atomic(run.facts, encode(facts) + "\n", durable=True)
        events = read_journal(run.journal)
        for event in events:
            for sink in sinks:
                sink.emit(event)
        journal = Journal(run.journal)
        try:
            yield Session(
                run=run,
                facts=facts,
                journal=journal,
                sink=Broadcast([journal, *sinks]),
                listeners=Broadcast(sinks),
                history=replay(run.run_id, events),
                clock=clock,
                begun_at=clock.time(),
            )
        finally:
            with suppress(OSError):  # what could be kept is kept; another error is on its way
                journal.close()


def _settle_earlier_target(run: RunDir, facts: RunFacts) -> None:
    """A delivery that was cut off elsewhere is settled there before the run goes to a new place."""
    earlier = Path(run.read_facts().target)
    if earlier != Path(facts.target):
        recover_target(earlier, run.run_id)


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
    """Say how it ended and why; the last event of every session that can still write one.

    `outcome` in words is that of OUTCOMES, unless it is given. Gives the exit code.
    """
    outcome = outcome or OUTCOMES[exit_code]
    message = why.message if why else ""
    resume_with = why.resume_with if isinstance(why, Stop) else ""
    wall_s = round(session.clock.time() - session.begun_at, 3)
    data = {"exit_code": exit_code, "outcome": outcome, "message": message, "wall_s": wall_s}
    if resume_with:
        data["resume_with"] = resume_with
    try:
        session.emit(Kind.RUN_ENDED, **data)
        session.journal.commit()
    except OSError:  # a full disk takes no last word; those who watch hear it all the same
        session.listeners.emit(Event(Kind.RUN_ENDED, session.clock.time(), data=data))
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
        end_session(session, exc.exit_code, {4: OUTCOMES[4]}.get(exc.exit_code, "failed"), exc)
        raise


def announce(session: Session, backend: str, model: str, max_executors: int) -> None:
    """The first event of every session."""
    facts = session.facts
    session.emit(
        Kind.RUN_STARTED,
        run=facts.run,
        run_dir=str(session.run.root),
        prompt=facts.prompt,
        simulated=facts.simulated,
        backend=backend,
        model=model,
        max_executors=max_executors,
        target=facts.target,
        resumed=session.resumed,
    )

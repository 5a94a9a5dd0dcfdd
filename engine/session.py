"""One process at work on one run: its directory, lock, journal and whoever listens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from core.clock import Clock
from core.events import Broadcast, Event, EventSink, Kind
from core.job import Usage
from core.wire import encode, plain, write_atomic
from engine.journal import History, Journal, read_journal, replay
from engine.rundir import RunDir, RunFacts, locked


@dataclass(frozen=True, slots=True)
class Session:
    """`history` is where the run stood when this process took it up; `begun_at` is Unix time."""

    run: RunDir
    facts: RunFacts
    journal: Journal
    sink: EventSink
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
    with locked(run):
        write_atomic(run.facts, encode(facts) + "\n")
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
                history=replay(run.run_id, events),
                clock=clock,
                begun_at=clock.time(),
            )
        finally:
            journal.close()


def end_session(session: Session, exit_code: int, outcome: str, message: str = "") -> None:
    """Say how it ended; the last event of every session that can still write one."""
    wall_s = round(session.clock.time() - session.begun_at, 3)
    session.emit(
        Kind.RUN_ENDED, exit_code=exit_code, outcome=outcome, message=message, wall_s=wall_s
    )
    session.journal.commit()

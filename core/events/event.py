"""Events: their form in JSON, and who receives them.

In JSON an event is an object of `kind`, `at`, `task`, `attempt`, `data` and `version`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from core.errors import BundleError
from core.events.base import TYPE_OF, EventData, Kind
from core.job import JobKey
from core.wire import decode, encode

EVENT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is Unix time in seconds; `task` and `attempt` are empty and 0 where none is meant."""

    data: EventData
    at: float
    task: str = ""
    attempt: int = 0

    @property
    def kind(self) -> Kind:
        return self.data.kind


def event_at(at: float, data: EventData, key: JobKey | None = None) -> Event:
    """About one attempt of a task, or about the run."""
    return Event(data, at, key.task, key.attempt) if key else Event(data, at)


@dataclass(frozen=True, slots=True)
class _Record:
    """An event as JSON."""

    kind: Kind
    at: float
    task: str = ""
    attempt: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    version: int = EVENT_VERSION


def encode_event(event: Event) -> str:
    """JSON on one line, as decode_event reads it."""
    data = event.data
    text = encode(data, [name for name in data.sparse if not getattr(data, name)])
    return (
        f'{{"kind":"{event.kind}","at":{event.at!r},"task":{_quoted(event.task)},'
        f'"attempt":{event.attempt},"data":{text},"version":{EVENT_VERSION}}}'
    )


_quoted = lru_cache(maxsize=1024)(encode)


def decode_event(text: str | bytes, source: str) -> Event:
    """Raises BundleError, naming `source`, when it is damaged or of another version."""
    record = decode(_Record, text, source)
    if record.version != EVENT_VERSION:
        raise BundleError(
            f"{source} has event format {record.version}; this version reads {EVENT_VERSION}.",
            "Use the version of the program that wrote it.",
        )
    where = f"{source} ({record.kind} of {record.task or 'the run'}/{record.attempt})"
    data = decode(TYPE_OF[record.kind], json.dumps(record.data), where)
    return Event(data, record.at, record.task, record.attempt)


class EventSink(Protocol):
    """Receives events in order, in the one deciding thread; AnswerProgress also from another."""

    def emit(self, event: Event) -> None: ...


class Broadcast:
    """One sink that passes each event to several, in the order given, and those of several threads
    one after the other."""

    def __init__(self, sinks: Sequence[EventSink]) -> None:
        self._sinks = tuple(sinks)
        self._lock = threading.RLock()

    def emit(self, event: Event) -> None:
        with self._lock:
            for sink in self._sinks:
                sink.emit(event)

"""The journal: the run's append-only event log and the one source of truth about it.

A line is one event, given to the kernel at once, so that it outlives this process; what decides is
proof against a power cut before it is acted upon (`commit`). Progress is not kept. A line cut by a
crash is the last one and is left out when read, and cut off before appending.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from core.events import EPHEMERAL, Event, Kind
from core.job import JobHandle, JobKey, Outcome, Usage
from core.wire import decode, encode
from engine.money.ledger import Amount

T = TypeVar("T")


class Journal:
    """An event sink that writes to `path`. `commit` may be called from any thread."""

    def __init__(self, path: Path) -> None:
        _cut_torn_line(path)
        self._stream = path.open("ab", buffering=0)
        self._size = self._stream.tell()
        self._syncing = threading.Lock()
        self._dirty = False

    def emit(self, event: Event) -> None:
        if event.kind in EPHEMERAL and not is_planning_usage(event):
            return
        line = memoryview(encode(event).encode() + b"\n")
        begin = self._size
        try:
            while line:
                written = self._stream.write(line)
                self._size += written
                line = line[written:]
        except OSError:
            with suppress(OSError):  # half a line would damage the next one
                self._size = self._stream.truncate(begin)
            raise
        self._dirty = True  # only now: a commit in between would have missed the line

    def commit(self) -> None:
        """Return once everything emitted so far would survive a power cut."""
        with self._syncing:
            if not self._dirty or self._stream.closed:
                return
            self._dirty = False  # before the sync: what is emitted meanwhile needs another
            try:
                os.fsync(self._stream.fileno())
            except OSError:
                self._dirty = True
                raise

    def close(self) -> None:
        self.commit()
        with self._syncing:
            self._stream.close()


def is_planning_usage(event: Event) -> bool:
    """What planning used has no other place: it has no job that ends."""
    return event.kind is Kind.PROGRESS and not event.task and "usage" in event.data


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        with path.open("r+b") as stream:
            stream.truncate(data.rfind(b"\n") + 1)


def read_journal(path: Path) -> list[Event]:
    """All whole events. Raises BundleError when a line before the last is damaged."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    return [decode(Event, line, f"{path}:{n}") for n, line in enumerate(lines[:-1], 1) if line]


@dataclass(slots=True)
class History:
    """What a journal says has become of a run so far."""

    attempts: dict[str, int] = field(default_factory=dict)
    """Highest attempt of each task that was begun."""
    succeeded: dict[str, int] = field(default_factory=dict)
    """Tasks that are done, and by which attempt."""
    failures: dict[str, str] = field(default_factory=dict)
    """What became of the last attempt of tasks that are not done."""
    untold: dict[str, str] = field(default_factory=dict)
    """Tasks whose last job ended well just before the process did, and the job's message."""
    open: dict[JobKey, JobHandle | None] = field(default_factory=dict)
    """Jobs intended (None) or submitted, whose end is not known."""
    spent: list[Usage] = field(default_factory=list)
    """Every request of planning and of ended attempts."""
    spent_at: float = 0.0
    """Unix time of the last end of an attempt that used something."""
    reserved: dict[JobKey, Amount] = field(default_factory=dict)
    """What was reserved for jobs that are open, or ended and nobody knows what they used."""
    foreseen: bool = False
    """Whether the forecast was told."""
    end: Mapping[str, Any] | None = None
    """Data of the last RUN_ENDED, unless the run was started again since."""


def replay(run_id: str, events: Iterable[Event]) -> History:
    """Fold the events of one run into where it stands."""
    history = History()
    for event in events:
        _apply(history, run_id, event)
    return history


def _apply(history: History, run_id: str, event: Event) -> None:
    key = JobKey(run_id, event.task, event.attempt)
    if event.kind is Kind.JOB_INTENDED:
        history.attempts[event.task] = max(event.attempt, history.attempts.get(event.task, 0))
        history.open.setdefault(key, None)
        if reservation := event.data.get("reservation"):
            history.reserved[key] = _decode(Amount, reservation, event, "reservation")
    elif event.kind is Kind.JOB_SUBMITTED:
        history.open[key] = decode_handle(event)
    elif event.kind is Kind.JOB_ENDED:
        history.open.pop(key, None)
        _account(history, key, event)
        message = str(event.data.get("message", ""))
        if event.data.get("cause") == Outcome.OK:
            _succeed(history, event)
            history.untold[event.task] = message
        else:
            history.failures[event.task] = message
    elif event.kind is Kind.TASK_ENDED and event.data.get("state") == "SUCCEEDED":
        _succeed(history, event)
        history.untold.pop(event.task, None)
    elif is_planning_usage(event):
        history.spent.append(_decode(Usage, event.data["usage"], event, "usage"))
    elif event.kind is Kind.FORECAST:
        history.foreseen = True
    elif event.kind is Kind.RUN_STARTED:
        history.end = None
    elif event.kind is Kind.RUN_ENDED:
        history.end = event.data


def _succeed(history: History, event: Event) -> None:
    history.succeeded[event.task] = event.attempt
    history.failures.pop(event.task, None)


def _account(history: History, key: JobKey, event: Event) -> None:
    usages = [_decode(Usage, usage, event, "usage") for usage in event.data.get("usage") or ()]
    history.spent += usages
    if usages:
        history.spent_at = event.at
    if not event.data.get("unaccounted"):
        history.reserved.pop(key, None)


def decode_handle(event: Event) -> JobHandle:
    """The handle in a JOB_SUBMITTED event. Raises BundleError when it is none."""
    return _decode(JobHandle, event.data.get("handle"), event, "handle")


def _decode(kind: type[T], value: object, event: Event, name: str) -> T:
    where = f"The journal's {name} of {event.task or 'planning'}/{event.attempt}"
    return decode(kind, json.dumps(value), where)

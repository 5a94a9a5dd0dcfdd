"""Events: every kind says what it holds, and one sink can tell many."""

from __future__ import annotations

from core.events import EPHEMERAL, Broadcast, Event, Kind


class Listener:
    def __init__(self, heard: list[str], name: str) -> None:
        self._heard, self._name = heard, name

    def emit(self, event: Event) -> None:
        self._heard.append(f"{self._name} {event.kind}")


def test_a_broadcast_reports_every_sink_in_the_order_given() -> None:
    heard: list[str] = []
    sink = Broadcast([Listener(heard, "journal"), Broadcast([]), Listener(heard, "screen")])
    sink.emit(Event(Kind.NOTICE, 1.0))
    sink.emit(Event(Kind.RUN_ENDED, 2.0))
    assert heard == ["journal notice", "screen notice", "journal run_ended", "screen run_ended"]


def test_what_a_resumed_run_needs_is_never_ephemeral() -> None:
    assert {Kind.PROGRESS, Kind.JOB_STATE, Kind.QUEUE} == EPHEMERAL

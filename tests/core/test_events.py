"""Events: every kind says what it holds, and one sink can tell many."""

from __future__ import annotations

import json

import pytest

from core.errors import BundleError
from core.events import (
    EPHEMERAL,
    AnswerBegun,
    AnswerProgress,
    Broadcast,
    CheckBegun,
    CheckEnded,
    Conflict,
    CriterionProof,
    Delivered,
    Event,
    Forecast,
    JobEnded,
    JobIntended,
    JobStateChanged,
    JobSubmitted,
    Kind,
    MergeIntended,
    Notice,
    PlanApproved,
    PlannedTask,
    PlanReady,
    Progress,
    Proof,
    QueueWait,
    QueueWaits,
    Range,
    Refused,
    RepairBegun,
    RepairEnded,
    RunEnded,
    RunStarted,
    Suspect,
    TaskAdded,
    TaskEnded,
    TaskRetry,
    Verified,
    decode_event,
    encode_event,
)
from core.job import Amount, JobHandle, JobKey, JobState, Reason, TaskState, Usage


class Listener:
    def __init__(self, heard: list[str], name: str) -> None:
        self._heard, self._name = heard, name

    def emit(self, event: Event) -> None:
        self._heard.append(f"{self._name} {event.kind}")


def test_a_broadcast_reports_every_sink_in_the_order_given() -> None:
    heard: list[str] = []
    sink = Broadcast([Listener(heard, "journal"), Broadcast([]), Listener(heard, "screen")])
    sink.emit(Event(Notice(), 1.0))
    sink.emit(Event(RunEnded(), 2.0))
    assert heard == ["journal notice", "screen notice", "journal run_ended", "screen run_ended"]


def test_what_a_resumed_run_needs_is_never_ephemeral() -> None:
    momentary = {Kind.ANSWER_BEGUN, Kind.ANSWER_PROGRESS, Kind.PROGRESS, Kind.JOB_STATE, Kind.QUEUE}
    assert momentary | {Kind.CHECK_BEGUN} == EPHEMERAL


CONFLICT, REFUSED = Conflict("p", ("a", "b"), "q", "w"), Refused("p", "a", "w")
EVENTS = [
    Event(RunStarted("r", prompt='hostile "quotes"\n\u2028 and lines \x00'), 1.0),
    Event(PlanReady("T", (PlannedTask("a", "A", ("b",), 3),)), 1.0),
    Event(PlanApproved(), 1.0),
    Event(TaskAdded("Repair", 900, is_anew=True), 1.0, "repair-1"),
    Event(Forecast(2, Range(1, 2, 3), 1.0, Range(5, 5, 5), None), 1.0),
    Event(JobIntended(Amount(9, 0.5)), 1.0, "a", 1),
    Event(JobIntended(), 1.0, "a", 1),
    Event(JobSubmitted(JobHandle(JobKey("r", "a", 1), "slurm", "1", {"x": [None]})), 1.0, "a", 1),
    Event(JobStateChanged(JobState.QUEUED, Reason.UNSCHEDULABLE, "why"), 1.0, "a", 1),
    Event(QueueWaits((QueueWait("why", 3, stuck=True),)), 1.0),
    Event(AnswerBegun(), 1.0, "a", 1),
    Event(AnswerProgress(7, "a.py", 2.5), 1.0, "a", 1),
    Event(Progress("é"), 1.25, "a", 2),
    Event(Progress(usage=Usage("p", "m", 1)), 1.0),
    Event(JobEnded("OK", JobState.SUCCEEDED, "done", (Usage("p", "m"),), 2, 1.5), 1.0, "a", 1),
    Event(JobEnded("EXIT", JobState.FAILED, unaccounted=True), 1.0, "a", 1),
    Event(TaskRetry("EXIT", 1.5, "again"), 1.0, "a", 1),
    Event(TaskEnded(TaskState.BLOCKED, "no"), 1.0, "a", 1),
    Event(Notice("n"), 1.0),
    Event(MergeIntended("/t", 3), 1.0),
    Event(CheckBegun("true", 1, 2), 1.0),
    Event(CheckEnded("check", "true", ("a",), Proof.FAILED, "exit code 1", 0.5, "no"), 1.0),
    Event(Verified("a box", "", (CriterionProof("t", ("a",), "", Proof.PASSED, ""),)), 1.0),
    Event(Delivered("/t", 3, (CONFLICT,), (REFUSED,)), 1.0),
    Event(RepairBegun(1, ("true",), (Suspect("a.py", "a"),)), 1.0),
    Event(RepairEnded(1, 3, 4, (Suspect("a.py", "a"),), "no"), 1.0),
    Event(RunEnded(4, "stopped", "m", 1.0, "--max-cost 2"), 1.0),
]


def test_every_kind_of_event_comes_back_from_its_json() -> None:
    assert {event.kind for event in EVENTS} == set(Kind)
    for event in EVENTS:
        line = encode_event(event)
        assert decode_event(line, "here") == event
        assert encode_event(decode_event(line, "here")) == line, "whole numbers stay whole"


def test_json_leaves_out_what_is_rarely_there() -> None:
    assert json.loads(encode_event(Event(Progress("x"), 1.0)))["data"] == {"text": "x"}
    assert "unaccounted" not in encode_event(Event(JobEnded(), 1.0))
    assert "resume_with" not in encode_event(Event(RunEnded(), 1.0))


@pytest.mark.parametrize("text", ["", "{", "null", "{}", '{"kind": "unheard", "at": 1}'])
def test_a_damaged_event_is_an_error_that_names_its_source(text: str) -> None:
    with pytest.raises(BundleError, match=r"journal:3 is damaged"):
        decode_event(text, "journal:3")


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        *[("job_submitted", "handle", handle) for handle in (None, "x", {}, {"key": 3})],
        ("job_intended", "reservation", {"tokens": "many"}),
        ("job_ended", "usage", [{"input_tokens": 3}]),
        ("progress", "usage", "some"),
        ("task_ended", "state", "WEIRD"),
        ("forecast", "seconds", 3),
    ],
)
def test_damaged_data_is_an_error_that_names_kind_and_job(
    kind: str, field: str, value: object
) -> None:
    record = {"kind": kind, "at": 1.0, "task": "a", "attempt": 1, "data": {field: value}}
    with pytest.raises(BundleError, match=rf"journal:3 \({kind} of a/1\) is damaged"):
        decode_event(json.dumps(record), "journal:3")


def test_an_event_of_another_format_is_refused() -> None:
    with pytest.raises(BundleError, match="journal:3 has event format 2; this version reads 1"):
        decode_event('{"kind": "notice", "at": 1.0, "version": 2}', "journal:3")

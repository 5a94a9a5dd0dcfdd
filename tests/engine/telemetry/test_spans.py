"""Events as spans, in one session and in several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from core.bundle import AttemptDir
from core.events import (
    CheckEnded,
    Event,
    EventData,
    JobEnded,
    JobIntended,
    Part,
    PlanReady,
    Progress,
    Proof,
    RunEnded,
    RunStarted,
    TaskEnded,
    event_at,
)
from core.job import JobKey, JobState, TaskState, Usage
from engine.telemetry.sender import RunIds
from engine.telemetry.spans import RunSpans
from engine.telemetry.turns import read_turns

RUN = "20260101-120000-aaaa"
ONE, TWO = JobKey(RUN, "one", 1), JobKey(RUN, "two", 1)
USAGE = Usage("bedrock", "m-1", 10, 5, 200, 30, duration_s=2.0)
BEGIN = RunStarted(run=RUN, model="m-1", planning=Part())


def at(seconds: float, data: EventData, key: JobKey | None = None) -> Event:
    return event_at(1000.0 + seconds, data, key)


def ok(usage: Usage = USAGE) -> JobEnded:
    return JobEnded("OK", JobState.SUCCEEDED, usage=(usage,))


def trace(events: Sequence[Event], place: Path, since: float = 0.0) -> list[ReadableSpan]:
    """The spans that a session sends which began `since`."""
    ids, kept = RunIds(), InMemorySpanExporter()
    provider = TracerProvider(id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))

    def find(key: JobKey) -> AttemptDir:
        return AttemptDir(place / key.task)

    spans = RunSpans(provider.get_tracer("t"), ids, find, 1000.0 + since)
    for event in events:
        spans.emit(event)
    return list(kept.get_finished_spans())


def times(span: ReadableSpan) -> tuple[float, float]:
    """Seconds after 1000.0."""
    return ((span.start_time or 0) / 1e9 - 1000, (span.end_time or 0) / 1e9 - 1000)


def found(spans: Sequence[ReadableSpan], name: str) -> ReadableSpan:
    [span] = [span for span in spans if span.name == name]
    return span


def ids_of(spans: Sequence[ReadableSpan]) -> list[int]:
    return [span.context.span_id for span in spans if span.context]


def write_turns(place: Path, *lines: dict[str, Any] | str) -> None:
    attempt = AttemptDir(place / "one")
    attempt.result.mkdir(parents=True)
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    attempt.transcript.write_text("\n".join(texts), encoding="utf-8")


def turn(began_at: float = 1011.0, **usage: Any) -> dict[str, Any]:
    of = {"provider": "bedrock", "model": "m-1", "input_tokens": 10, "output_tokens": 5}
    of |= {"cache_read_tokens": 200, "cache_write_tokens": 30, "duration_s": 2.0, **usage}
    return {"turn": 1, "at": began_at, "usage": of, "stop_reason": "end_turn"}


WHOLE = [
    at(0, BEGIN),
    at(4, Progress(usage=USAGE)),
    at(5, PlanReady(title="canary")),
    at(10, JobIntended(), ONE),
    at(20, ok(), ONE),
    at(21, TaskEnded(TaskState.SUCCEEDED, "canary"), ONE),
    at(40, CheckEnded("check", "canary", ("one",), Proof.FAILED, seconds=3.0, output="canary")),
    at(50, RunEnded(1, "finished with problems", "canary")),
]


def test_names_times_and_figures_are_those_of_events_and_transcript(tmp_path: Path) -> None:
    write_turns(tmp_path, turn())
    spans = trace(WHOLE, tmp_path)
    assert {span.name: times(span) for span in spans if span.name != "chat m-1"} == {
        "invoke_workflow parallel-orchestrator": (0, 50),
        "plan planner": (0, 5),
        "task one": (10, 21),
        "invoke_agent executor": (10, 20),
        "check check": (37, 40),
    }
    planning, working = (span for span in spans if span.name == "chat m-1")
    assert (times(planning), times(working)) == ((2, 4), (11, 13))
    assert dict(working.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.bedrock",
        "gen_ai.request.model": "m-1",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("end_turn",),
        "gen_ai.usage.input_tokens": 240,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 200,
        "gen_ai.usage.cache_creation.input_tokens": 30,
    }
    bad = {span.name for span in spans if span.status.status_code is StatusCode.ERROR}
    assert bad == {"check check", "invoke_workflow parallel-orchestrator"}
    assert "canary" not in "".join(span.to_json() for span in spans)
    assert len(set(ids_of(spans))) == len(spans)


def test_a_failed_attempt_says_its_cause_and_another_follows_in_the_same_task(
    tmp_path: Path,
) -> None:
    again = JobKey(RUN, "one", 2)
    failed = JobEnded("OOM", JobState.FAILED)
    events = [at(0, BEGIN), at(1, JobIntended(), ONE), at(2, failed, ONE)]
    events += [at(3, JobIntended(), again), at(4, ok(), again)]
    events += [at(5, TaskEnded(TaskState.SUCCEEDED), again), at(6, RunEnded())]
    spans = trace(events, tmp_path)
    attempts = [span for span in spans if span.name == "invoke_agent executor"]
    assert [(span.attributes or {}).get("error.type") for span in attempts] == ["OOM", None]
    task = found(spans, "task one").context
    assert {span.parent and span.parent.span_id for span in attempts} == {task and task.span_id}


def test_a_resumed_run_goes_on_in_its_trace_and_sends_nothing_again(tmp_path: Path) -> None:
    first = [*WHOLE[:-1], at(45, JobIntended(), TWO), at(50, RunEnded(130, "interrupted"))]
    later = [
        at(100, RunStarted(run=RUN, resumed=True)),
        at(110, ok(), TWO),  # it ran on meanwhile
        at(111, TaskEnded(TaskState.SUCCEEDED), TWO),
        at(120, RunEnded()),
    ]
    before, after = trace(first, tmp_path), trace([*first, *later], tmp_path, since=99)
    assert {span.name: times(span) for span in after} == {
        "invoke_workflow parallel-orchestrator": (100, 120),
        "task two": (45, 111),
        "invoke_agent executor": (45, 110),
    }
    assert len({span.context.trace_id for span in (*before, *after) if span.context}) == 1
    assert not set(ids_of(before)) & set(ids_of(after))


def test_what_a_killed_session_left_open_is_sent_by_the_next(tmp_path: Path) -> None:
    killed = WHOLE[:4]
    after = trace([*killed, at(100, RunStarted(run=RUN)), at(101, RunEnded())], tmp_path, since=99)
    lost = {span.name: times(span) for span in after if times(span)[1] < 99}
    assert lost == {
        "invoke_workflow parallel-orchestrator": (0, 10),
        "plan planner": (0, 5),
        "task one": (10, 10),
        "invoke_agent executor": (10, 10),
    }
    whole = trace(WHOLE, tmp_path)
    assert set(ids_of(after)) & set(ids_of(whole)), "the same spans have the same ids"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{",
        "[]",
        '"turn"',
        json.dumps({"turn": 1}),
        json.dumps(turn(began_at=float("nan"))),
        json.dumps(turn(began_at=-5.0)),
        json.dumps(turn(duration_s=1e300)),
        json.dumps(turn(output_tokens=-1)),
        json.dumps({**turn(), "usage": "much"}),
        json.dumps({**turn(), "stop_reason": "x" * 200}),
        "[" * 100_000,
    ],
)
def test_a_transcript_that_a_command_has_written_to_spoils_nothing(
    tmp_path: Path, line: str
) -> None:
    write_turns(tmp_path, line, turn())
    assert [turn.began_at for turn in read_turns(AttemptDir(tmp_path / "one"))] == [1011.0]

"""Where traces go, that nothing goes out otherwise, and that no endpoint holds up a run."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import orchestrator
from core.bundle import AttemptDir
from core.clock import SystemClock
from core.events import RunEnded, RunStarted, event_at
from core.job import JobKey
from core.shell.shell import build_environment
from engine.telemetry import tracing
from engine.telemetry.tracing import Tracing, open_tracing, wanted_endpoint
from tests.fakes.scripted_server import ScriptedServer, Told, scripted_server
from tests.fakes.surroundings import free_port

ROOT = Path(__file__).resolve().parents[3]
BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
OF_TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROMPT = "Build a thing for canary-4711"
RUN = [PROMPT, "--sim-tasks", "3", "--sim-speed", "0", "--output-dir", "out"]


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({}, ""),
        ({BASE: "  "}, ""),
        ({"OTEL_SERVICE_NAME": "mine", "OTEL_TRACES_EXPORTER": "otlp"}, ""),
        ({BASE: "http://a:4318"}, "http://a:4318"),
        ({BASE: "http://a:4318", OF_TRACES: "http://b/v1/traces"}, "http://b/v1/traces"),
        ({BASE: "http://a:4318", "OTEL_SDK_DISABLED": "TRUE"}, ""),
        ({BASE: "http://a:4318", "OTEL_SDK_DISABLED": "false"}, "http://a:4318"),
        ({BASE: "http://a:4318", "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({BASE: "http://a:4318", "OTEL_TRACES_EXPORTER": "console"}, ""),
        ({BASE: "http://a:4318", "OTEL_TRACES_EXPORTER": "console, otlp"}, "http://a:4318"),
    ],
)
def test_traces_are_wanted_where_the_standard_variables_name_an_endpoint(
    environ: dict[str, str], endpoint: str
) -> None:
    assert wanted_endpoint(environ) == endpoint


@pytest.fixture
def receiver() -> Iterator[ScriptedServer]:
    with scripted_server(Told()) as server:
        yield server


def spans_of(server: ScriptedServer) -> list[Span]:
    requests = [ExportTraceServiceRequest.FromString(asked.body) for asked in server.asked]
    scopes = [scope for r in requests for one in r.resource_spans for scope in one.scope_spans]
    return [span for scope in scopes for span in scope.spans]


def attributes(span: Span) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value") or "") for a in span.attributes}


def kind_of(span: Span) -> str:
    return span.name.partition(" ")[0]


def test_a_run_is_sent_as_a_tree_of_spans_that_tells_no_prompt_and_no_secret(
    receiver: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        BASE: receiver.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=canary-of-a-key",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=here",
        "ANTHROPIC_API_KEY": "canary-of-the-api",
    }.items():
        monkeypatch.setenv(name, text)
    assert orchestrator.main(RUN) == 0
    spans = {span.span_id: span for span in spans_of(receiver)}
    assert len({span.trace_id for span in spans.values()}) == 1
    [run] = [span for span in spans.values() if not span.parent_span_id]
    assert run.name == "invoke_workflow parallel-orchestrator"
    assert attributes(run)["parallel_orchestrator.run.exit_code"] == 0
    below = [span for span in spans.values() if span is not run]
    assert {(kind_of(span), kind_of(spans[span.parent_span_id])) for span in below} == {
        *(("plan", "invoke_workflow"), ("chat", "plan")),
        *(("task", "invoke_workflow"), ("invoke_agent", "task"), ("chat", "invoke_agent")),
    }
    assert [kind_of(span) for span in below].count("task") == 3
    for span in below:
        parent, slack = spans[span.parent_span_id], 10_000_000
        assert parent.start_time_unix_nano <= span.start_time_unix_nano + slack
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= parent.end_time_unix_nano + slack
    for span in (span for span in below if span.kind == Span.SPAN_KIND_CLIENT):
        told = attributes(span)
        assert span.name == f"chat {told['gen_ai.request.model']}"
        assert (told["gen_ai.operation.name"], told["gen_ai.provider.name"]) == (
            "chat",
            "anthropic",
        )
        assert isinstance(told["gen_ai.usage.output_tokens"], int)
    bodies = b"".join(asked.body for asked in receiver.asked)
    assert b"canary" not in bodies
    assert b"parallel-orchestrator" in bodies
    assert b"deployment.environment.name" in bodies
    assert {asked.path for asked in receiver.asked} == {"/v1/traces"}
    assert {asked.headers["x-key"] for asked in receiver.asked} == {"canary-of-a-key"}


def test_without_an_endpoint_the_sdk_is_not_even_imported(tmp_path: Path) -> None:
    code = (
        f"import sys, orchestrator; code = orchestrator.main({RUN!r});"
        " print(code, 'opentelemetry.sdk' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "ORCHESTRATOR_VERIFY": "0", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines()[-1] == "0 False"


def no_attempt(key: JobKey) -> AttemptDir:
    return AttemptDir(Path("nowhere"))


@pytest.mark.parametrize(
    ("environ", "exporter", "words"),
    [
        ({}, "opentelemetry.nowhere.http", "pip install 'parallel-task-orchestrator[otel]'"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "opentelemetry", "'grpc' is not supported"),
    ],
)
def test_what_keeps_traces_from_being_sent_is_told_once_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], exporter: str, words: str
) -> None:
    monkeypatch.setattr(tracing, "_EXPORTER", exporter)
    told: list[str] = []
    wanted = {BASE: "http://127.0.0.1:1", **environ}
    assert open_tracing(wanted, no_attempt, SystemClock(), told.append) is None
    [notice] = told
    assert words in notice


def traced(told: list[str], url: str, monkeypatch: pytest.MonkeyPatch) -> Tracing:
    """A run that has begun and ended, traced to `url`."""
    monkeypatch.setenv(BASE, url)
    found = open_tracing({BASE: url}, no_attempt, SystemClock(), told.append)
    assert found is not None
    now = SystemClock().time() + 1
    for data in (RunStarted(run="r1"), RunEnded()):
        found.emit(event_at(now, data))
    return found


def test_an_endpoint_that_hangs_is_left_behind_with_one_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    go_on = threading.Event()

    def hang(_: object) -> Told:
        go_on.wait(60)
        return Told()

    with scripted_server(hang) as server:
        found = traced(told, server.url, monkeypatch)
        found.close(wait_s=0.2)
        assert not go_on.is_set()
        go_on.set()
        found._thread.join(30)
    [notice] = told
    assert "did not answer within 0.2 s" in notice


def test_an_endpoint_that_refuses_is_told_with_its_reason_and_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    with scripted_server(Told(401, b"who are you")) as server:
        url = server.url.replace("://", "://me:canary@")
        traced(told, url, monkeypatch).close(wait_s=30)
    [notice] = told
    assert "401" in notice
    assert "canary" not in notice


def test_an_endpoint_that_is_down_costs_a_notice_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(BASE, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(tracing, "LAST_WAIT_S", 0.2)
    assert orchestrator.main(RUN) == 0
    assert capsys.readouterr().err.count("Not all traces could be sent") == 1


def test_commands_of_the_model_do_not_see_the_variables(tmp_path: Path) -> None:
    seen = build_environment({BASE: "x", "OTEL_EXPORTER_OTLP_HEADERS": "key=canary"}, tmp_path)
    assert [name for name in seen if name.startswith("OTEL_")] == []

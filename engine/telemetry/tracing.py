"""Sends a run's traces where the standard variables say, and nothing where they name no endpoint.

Whatever an endpoint does, the run neither waits for it nor fails by it: a thread of its own takes
the events, imports OpenTelemetry and sends.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from queue import SimpleQueue
from threading import Thread

from core.bundle import AttemptDir
from core.clock import Clock
from core.credentials import mask_password
from core.events import Event
from core.job import JobKey

LAST_WAIT_S = 3.0
"""How long the end of a run waits until the last spans are sent."""
_EXPORTER = "opentelemetry.exporter.otlp.proto.http"
_PROTOCOL = "http/protobuf"
_INSTALL = "pip install 'parallel-task-orchestrator[otel]'"


def open_tracing(
    environ: Mapping[str, str],
    find_attempt: Callable[[JobKey], AttemptDir],
    clock: Clock,
    warn: Callable[[str], None],
) -> "Tracing | None":
    """None where no traces are wanted, or none can be sent, which `warn` is told then."""
    if not (endpoint := wanted_endpoint(environ)):
        return None
    protocol = _of_traces(environ, "PROTOCOL") or _PROTOCOL
    if protocol != _PROTOCOL:
        warn(
            f"warning: No traces are sent: the protocol {protocol!r} is not supported. Set"
            f" OTEL_EXPORTER_OTLP_PROTOCOL={_PROTOCOL}, and the endpoint of it."
        )
        return None
    if not _is_installed():
        warn(f"warning: No traces are sent: OpenTelemetry is not installed. Try: {_INSTALL}")
        return None
    return Tracing(mask_password(endpoint), find_attempt, clock.time(), warn)


def wanted_endpoint(environ: Mapping[str, str]) -> str:
    """Where traces are to go by the standard variables; empty where they are not wanted."""
    exporters = environ.get("OTEL_TRACES_EXPORTER", "").lower().replace(" ", "") or "otlp"
    is_off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_off or "otlp" not in exporters.split(","):
        return ""
    return _of_traces(environ, "ENDPOINT")


def _of_traces(environ: Mapping[str, str], name: str) -> str:
    for variable in (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        if text := environ.get(variable, "").strip():
            return text
    return ""


def _is_installed() -> bool:
    try:
        return find_spec(_EXPORTER) is not None and find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:  # not even the packages around it
        return False


class Tracing:
    """An event sink. `since` is Unix time: what ended before was sent by an earlier session."""

    def __init__(
        self,
        endpoint: str,
        find_attempt: Callable[[JobKey], AttemptDir],
        since: float,
        warn: Callable[[str], None],
    ) -> None:
        self._endpoint, self._find_attempt = endpoint, find_attempt
        self._since, self._warn = since, warn
        self._events: SimpleQueue[Event | None] = SimpleQueue()
        self._problem = ""
        self._thread = Thread(target=self._work, name="traces", daemon=True)
        self._thread.start()

    def emit(self, event: Event) -> None:
        if self._thread.is_alive():
            self._events.put(event)

    def close(self, wait_s: float | None = None) -> None:
        """Send what is left, for `wait_s` at most (LAST_WAIT_S); tells what could not be sent."""
        wait_s = LAST_WAIT_S if wait_s is None else wait_s
        self._events.put(None)
        self._thread.join(wait_s)
        problem = self._problem
        if self._thread.is_alive():
            problem = problem or f"it did not answer within {wait_s:g} s"
        if problem:
            self._warn(
                f"warning: Not all traces could be sent to {self._endpoint}: {problem}. The run is"
                " not concerned."
            )

    def _work(self) -> None:
        try:
            from engine.telemetry.sender import Sender
            from engine.telemetry.spans import RunSpans

            sender = Sender(self._tell)
            spans = RunSpans(sender.tracer, sender.ids, self._find_attempt, self._since)
            while (event := self._events.get()) is not None:
                spans.emit(event)
            sender.close()
        except Exception as exc:  # noqa: BLE001 - no error of it may end a run
            self._tell(f"{type(exc).__name__}: {exc}")

    def _tell(self, problem: str) -> None:
        self._problem = mask_password(problem).rstrip(".")

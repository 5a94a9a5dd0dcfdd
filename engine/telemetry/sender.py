"""The way of spans out of this process: OpenTelemetry's SDK as the standard variables set it up."""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator

SERVICE = "parallel-orchestrator"
MOST_WAITING = 20_000
"""Spans that wait to be sent; of a large plan many end at once."""


class RunIds(IdGenerator):
    """Ids that follow from the run and from what a span is about, so that every session of a run
    writes the same trace."""

    def __init__(self) -> None:
        self.run = self.subject = ""

    def generate_trace_id(self) -> int:
        return self._number(f"trace {self.run}", 16)

    def generate_span_id(self) -> int:
        return self._number(f"span {self.run} {self.subject}", 8)

    def _number(self, text: str, size: int) -> int:
        return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:size]) or 1


class Sender:
    """`tell` is told, from any thread, why spans could not be sent."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.ids = RunIds()
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: SERVICE}))
        self._provider = TracerProvider(
            resource=resource, id_generator=self.ids, shutdown_on_exit=False
        )
        exporter = _Told(OTLPSpanExporter(), tell)
        most = None if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else MOST_WAITING
        self._provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=most))
        self.tracer = self._provider.get_tracer("parallel_task_orchestrator")

    def close(self) -> None:
        """Send what is left; may take as long as the exporter tries."""
        self._provider.shutdown()


class _Told(SpanExporter):
    """Sends through `inner`, and tells the last words of its log where that fails."""

    def __init__(self, inner: SpanExporter, tell: Callable[[str], None]) -> None:
        self._inner, self._tell = inner, tell
        self._words = _LastWords()
        self._log = logging.getLogger("opentelemetry")
        self._log.addHandler(self._words)
        self._log.setLevel(logging.WARNING)
        self._log.propagate = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._tell(self._words.last or "it was refused")
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()
        self._log.removeHandler(self._words)


class _LastWords(logging.Handler):
    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()

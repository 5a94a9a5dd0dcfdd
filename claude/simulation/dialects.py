"""What differs between the two providers' answers: streams, headers, and the shape of an error."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from claude.http.plain_http import Outgoing
from claude.simulation.wire import render_chunk_frame, render_exception_frame, render_sse


def render_json(status: int, value: object, **headers: str) -> Outgoing:
    body = json.dumps(value).encode()
    return Outgoing(status, {"content-type": "application/json", **headers}, (body,), len(body))


class AnthropicDialect:
    """The Messages API. `errors` gives status and name of each kind of error.

    https://platform.claude.com/docs/en/api/errors
    """

    stream_type = "text/event-stream; charset=utf-8"
    id_header = "request-id"
    too_long = "prompt is too long: {tokens} tokens > {limit} maximum"
    errors: ClassVar[Mapping[str, tuple[int, str]]] = {
        "invalid": (400, "invalid_request_error"),
        "credentials": (401, "authentication_error"),
        "not_found": (404, "not_found_error"),
        "too_large": (413, "request_too_large"),
        "rate_limit": (429, "rate_limit_error"),
        "server_error": (500, "api_error"),
        "unavailable": (503, "api_error"),
        "overloaded": (529, "overloaded_error"),
    }

    def encode(self, event: dict[str, Any]) -> bytes:
        """One event of a stream."""
        return render_sse(event)

    def stream_error(self, text: str) -> bytes:
        """Overload in the middle of a stream."""
        return render_sse({"type": "error", "error": {"type": "overloaded_error", "message": text}})

    def refuse(self, kind: str, text: str, request_id: str) -> Outgoing:
        status, name = self.errors[kind]
        error = {"type": name, "message": text}
        return render_json(status, {"type": "error", "error": error, "request_id": request_id})


class BedrockDialect(AnthropicDialect):
    """https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html"""

    stream_type = "application/vnd.amazon.eventstream"
    id_header = "x-amzn-requestid"
    too_long = "Input is too long for requested model."
    errors: ClassVar[Mapping[str, tuple[int, str]]] = {
        "invalid": (400, "ValidationException"),
        "credentials": (403, "MissingAuthenticationTokenException"),
        "not_found": (404, "UnknownOperationException"),
        "too_large": (413, "RequestEntityTooLargeException"),
        "rate_limit": (429, "ThrottlingException"),
        "server_error": (500, "InternalServerException"),
        "unavailable": (500, "InternalServerException"),
        "overloaded": (503, "ServiceUnavailableException"),
    }

    def encode(self, event: dict[str, Any]) -> bytes:
        return render_chunk_frame(event)

    def stream_error(self, text: str) -> bytes:
        return render_exception_frame("serviceUnavailableException", text)

    def refuse(self, kind: str, text: str, request_id: str) -> Outgoing:
        status, name = self.errors[kind]
        error_type = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/"}
        return render_json(status, {"message": text}, **error_type)

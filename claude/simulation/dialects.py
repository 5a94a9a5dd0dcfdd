"""How the two providers say the same: paths, streams, and the shape of an error."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from claude.simulation.wire import render_chunk_frame, render_exception_frame, render_sse


@dataclass(frozen=True, slots=True)
class RejectedRequest:
    """An error as a response: status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Dialect(Protocol):
    """`kind` names an error: invalid, credentials, not_found, too_large, rate_limit, overloaded,
    server_error or unavailable."""

    stream_type: str

    def encode(self, event: dict[str, Any]) -> bytes:
        """One event of a stream."""

    def stream_error(self, text: str) -> bytes:
        """Overload, as it shows in mid-stream."""

    def refuse(self, kind: str, text: str, request_id: str) -> RejectedRequest:
        """An error of the given kind as a response."""

    def id_header(self, request_id: str) -> dict[str, str]:
        """The header that names a request."""

    def too_long(self, tokens: int, limit: int) -> str:
        """What is said of a request longer than the context window."""


class AnthropicDialect:
    """https://platform.claude.com/docs/en/api/errors"""

    stream_type = "text/event-stream; charset=utf-8"
    _errors: ClassVar = {
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
        return render_sse(event)

    def stream_error(self, text: str) -> bytes:
        error = {"type": "overloaded_error", "message": text}
        return render_sse({"type": "error", "error": error})

    def refuse(self, kind: str, text: str, request_id: str) -> RejectedRequest:
        status, name = self._errors[kind]
        error = {"type": name, "message": text}
        body = json.dumps({"type": "error", "error": error, "request_id": request_id})
        return RejectedRequest(status, {}, body.encode())

    def id_header(self, request_id: str) -> dict[str, str]:
        return {"request-id": request_id}

    def too_long(self, tokens: int, limit: int) -> str:
        return f"prompt is too long: {tokens} tokens > {limit} maximum"


class BedrockDialect:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html"""

    stream_type = "application/vnd.amazon.eventstream"
    _errors: ClassVar = {
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

    def refuse(self, kind: str, text: str, request_id: str) -> RejectedRequest:
        status, name = self._errors[kind]
        headers = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/"}
        return RejectedRequest(status, headers, json.dumps({"message": text}).encode())

    def id_header(self, request_id: str) -> dict[str, str]:
        return {"x-amzn-requestid": request_id}

    def too_long(self, tokens: int, limit: int) -> str:
        return "Input is too long for requested model."

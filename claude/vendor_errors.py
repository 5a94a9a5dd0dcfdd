"""Turns what the SDKs raise into the project's errors, in one context manager.

A refusal is known by its HTTP status, or by its error type where the status cannot tell: in the
middle of a stream the status was 200 long ago, and Bedrock has one status for several causes.
https://platform.claude.com/docs/en/api/errors
https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from claude.stream import StreamDamaged
from core.errors import (
    BillingRefused,
    ConnectionLost,
    CredentialsRefused,
    ModelError,
    ModelUnavailable,
    ModelUnknown,
    OrchestratorError,
    Overloaded,
    RateLimited,
    RequestRejected,
    ServerFault,
)

if TYPE_CHECKING:
    import anthropic
    import httpx2

_MAX_DETAIL_CHARS = 500


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Who was asked, for messages. `mask` takes secrets out of a text, `now` is Unix time."""

    provider: str
    model: str
    region: str
    host: str
    mask: Callable[[str], str]
    now: Callable[[], float]

    def __str__(self) -> str:
        where = f"bedrock in {self.region}" if self.provider == "bedrock" else self.provider
        return f"{self.model} on {where} ({self.host})"


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What a server said: status, the vendor's name for the error, and its text."""

    status: int
    name: str
    detail: str
    retry_after_s: float | None = None


@contextmanager
def vendor_errors(endpoint: Endpoint) -> Iterator[None]:
    """Raises a ModelError for whatever the SDK, its HTTP client or its signer raise inside.

    Errors of the project pass, also those that the SDK wrapped (Interrupted, from a clock below).
    """
    try:
        yield
    except OrchestratorError:
        raise
    except Exception as exc:
        _raise_own_cause(exc)
        if (error := _translate(exc, endpoint)) is None:
            raise
        # a vendor's text that repeats a secret must not come back in a traceback
        raise error from (exc if endpoint.mask(str(exc)) == str(exc) else None)


def _raise_own_cause(exc: Exception) -> None:
    cause = exc.__cause__
    if isinstance(cause, OrchestratorError):
        raise cause


def _translate(exc: Exception, endpoint: Endpoint) -> ModelError | None:
    """The project's error for `exc`; None for what is no failure of a request."""
    import anthropic
    import httpx2

    match exc:
        case anthropic.APIStatusError():
            return _from_refusal(_read_refusal(exc, endpoint), endpoint)
        case anthropic.APIConnectionError():
            return _from_connection(exc.__cause__ or exc, endpoint)
        case anthropic.APIError():
            return ServerFault(f"{endpoint} gave an answer that cannot be read: {exc}.")
        case anthropic.AnthropicError():
            return _no_credentials(exc, endpoint)
        case httpx2.HTTPError() | httpx2.StreamError() | httpx2.InvalidURL():
            return _from_connection(exc, endpoint)
        case StreamDamaged() | UnicodeDecodeError():
            return _lost(endpoint, str(exc))
        case UnicodeEncodeError():
            return _unsendable(exc, endpoint)
    return _from_foreign(exc, endpoint)


def _from_foreign(exc: Exception, endpoint: Endpoint) -> ModelError | None:
    """Errors of json and botocore, and the SDK's bare ones, which have only their text."""
    module = type(exc).__module__
    if module == "botocore.eventstream" or module.startswith("json"):
        return _lost(endpoint, f"the stream is damaged ({exc})")
    if module.startswith("botocore") or "Could not resolve" in str(exc):
        return _no_credentials(exc, endpoint)
    return None


def _from_connection(cause: BaseException, endpoint: Endpoint) -> ModelError | None:
    import httpx2

    if not isinstance(cause, httpx2.HTTPError | httpx2.InvalidURL | httpx2.StreamError | OSError):
        return None  # the SDK wraps whatever its transport raises: a mistake stays one
    if isinstance(
        cause, httpx2.UnsupportedProtocol | httpx2.InvalidURL | httpx2.LocalProtocolError
    ):
        return RequestRejected(
            f"A request to {endpoint} could not be made: {endpoint.mask(str(cause))}.",
            "Check the base URL and the headers set in the environment (ANTHROPIC_BASE_URL, "
            "ANTHROPIC_BEDROCK_BASE_URL, ANTHROPIC_CUSTOM_HEADERS).",
        )
    return _lost(endpoint, str(cause) or type(cause).__name__)


def _lost(endpoint: Endpoint, why: str) -> ConnectionLost:
    return ConnectionLost(
        f"The connection to {endpoint} was lost: {_shorten(endpoint.mask(why))}.",
        "Check the network, the proxy and the base URL.",
    )


def _unsendable(exc: UnicodeEncodeError, endpoint: Endpoint) -> RequestRejected:
    return RequestRejected(
        f"A request to {endpoint} holds text that is no valid Unicode ({exc.reason}).",
        "Remove the characters that are half of a surrogate pair from the prompt or the files.",
    )


def _no_credentials(exc: Exception, endpoint: Endpoint) -> CredentialsRefused:
    detail = _shorten(endpoint.mask(str(exc))).strip('"')
    return CredentialsRefused(
        f"There are no usable credentials for {endpoint}: {detail}.", _credentials_remedy(endpoint)
    )


def _credentials_remedy(endpoint: Endpoint) -> str:
    if endpoint.provider == "bedrock":
        return (
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), "
            "AWS_BEARER_TOKEN_BEDROCK or AWS_PROFILE, or give this machine a role."
        )
    return "Set ANTHROPIC_API_KEY to a valid key, or leave out --real to simulate."


def _read_refusal(exc: anthropic.APIStatusError, endpoint: Endpoint) -> _Refusal:
    headers = exc.response.headers
    # the header looks like "ThrottlingException:http://internal.amazon.com/..."
    amazon = headers.get("x-amzn-errortype", "").partition(":")[0]
    name = amazon or str(exc.error_code or exc.type or "")
    body: Any = exc.body
    said = exc.api_message or (body.get("message") if isinstance(body, dict) else None)
    detail = _shorten(endpoint.mask(str(said or exc.message)))
    if request_id := headers.get("request-id") or headers.get("x-amzn-requestid"):
        detail += f" (request {request_id})"
    return _Refusal(exc.status_code, name, detail, _retry_after_s(headers, endpoint.now))


def _retry_after_s(headers: httpx2.Headers, now: Callable[[], float]) -> float | None:
    """Seconds from a retry-after header, which holds seconds or an HTTP date."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now()
    return max(0.0, seconds) if seconds < float("inf") else None


_STATUS_OF_NAME = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    # quotas that no waiting refills within a run come as 429
    "contract_spend_limit_reached": 402,
    "enforced_spend_limit_reached": 402,
    # Bedrock, as a response
    "ServiceUnavailableException": 529,
    "ModelErrorException": 500,
    "ResourceNotFoundException": 404,
    # Bedrock, as an exception frame in a stream
    "validationException": 400,
    "throttlingException": 429,
    "serviceUnavailableException": 529,
}

_RETRYABLE: dict[int, type[ModelUnavailable]] = {
    408: ServerFault,
    409: ServerFault,
    424: ServerFault,
    429: RateLimited,
    499: ConnectionLost,
    529: Overloaded,
}


def _effective_status(refusal: _Refusal) -> int:
    if (status := _STATUS_OF_NAME.get(refusal.name)) is not None:
        return status
    return 500 if refusal.status == 200 else refusal.status


def _from_refusal(refusal: _Refusal, endpoint: Endpoint) -> ModelError:
    status = _effective_status(refusal)
    if (special := _from_text(refusal, status, endpoint)) is not None:
        return special
    if status in _RETRYABLE or status >= 500:
        return _retryable(refusal, status, endpoint)
    if status in (401, 403):
        return CredentialsRefused(
            f"{endpoint} refused the credentials: {refusal.detail}.", _credentials_remedy(endpoint)
        )
    if status == 402:
        return _billing(refusal, endpoint)
    if status == 404:
        return ModelUnknown(
            f"{endpoint} was not found: {refusal.detail}.",
            "Check --model, and the base URL if one is set.",
        )
    return RequestRejected(
        f"{endpoint} rejected a request ({refusal.status}): {refusal.detail}.",
        "The same request would fail again; what it holds has to change.",
    )


def _retryable(refusal: _Refusal, status: int, endpoint: Endpoint) -> ModelUnavailable:
    kind = _RETRYABLE.get(status, ServerFault)
    said = {RateLimited: "limits the rate of requests", Overloaded: "is overloaded"}.get(
        kind, "failed to answer"
    )
    remedy = "Lower --max-executors, or go on later with resume."
    return kind(
        f"{endpoint} {said} ({refusal.status}): {refusal.detail}.",
        remedy if kind in (RateLimited, Overloaded) else "Go on later with resume.",
        retry_after_s=refusal.retry_after_s,
    )


def _billing(refusal: _Refusal, endpoint: Endpoint) -> BillingRefused:
    return BillingRefused(
        f"The account for {endpoint} cannot pay for more: {refusal.detail}.",
        "Add credit or raise the spend limit, then go on with resume.",
    )


def _from_text(refusal: _Refusal, status: int, endpoint: Endpoint) -> ModelError | None:
    """Causes that only the server's text tells apart."""
    text = refusal.detail.lower()
    if status in (400, 403) and "credit balance" in text:
        return _billing(refusal, endpoint)
    if endpoint.provider != "bedrock":
        return None
    if "on-demand throughput" in text:
        return ModelUnknown(
            f"{endpoint} cannot be asked by its bare id: {refusal.detail}.",
            f"Use an inference profile, such as --model global.{endpoint.model} or "
            f"eu.{endpoint.model}.",
        )
    if "model identifier is invalid" in text:
        return ModelUnknown(
            f"{endpoint} was not found: {refusal.detail}.",
            "Check --model and --region: not every region has every model.",
        )
    return _from_aws_credentials(refusal, text, endpoint)


def _from_aws_credentials(
    refusal: _Refusal, text: str, endpoint: Endpoint
) -> CredentialsRefused | None:
    if "ExpiredToken" in refusal.name or "token included in the request is expired" in text:
        return CredentialsRefused(
            f"The AWS session for {endpoint} has expired: {refusal.detail}.",
            "Sign in again (aws sso login) or renew AWS_SESSION_TOKEN, then go on with resume.",
        )
    if "signature expired" in text or "signature not yet current" in text:
        return CredentialsRefused(
            f"{endpoint} refused a signature by its time: {refusal.detail}.",
            "Set this machine's clock.",
        )
    if refusal.name == "AccessDeniedException":
        return CredentialsRefused(
            f"This AWS account may not use {endpoint}: {refusal.detail}.",
            "Request access to the model in the Bedrock console of this region, and allow "
            "bedrock:InvokeModelWithResponseStream to the role or user.",
        )
    return None


def _shorten(text: str) -> str:
    text = " ".join(text.split()).rstrip(".")
    return text if len(text) <= _MAX_DETAIL_CHARS else text[: _MAX_DETAIL_CHARS - 1] + "…"

"""What a server's refusal means, as an error of the project with a message and a fix of its own.

A refusal is known by its HTTP status, or by its error type where the status cannot tell: in the
middle of a stream the status was 200 long ago, and Bedrock has one status for several causes.
https://platform.claude.com/docs/en/api/errors
"""

from __future__ import annotations

from claude.errors.aws_refusals import CREDENTIALS_REMEDY, from_aws
from claude.errors.endpoint import Endpoint, Refusal
from core.errors import (
    BillingRefused,
    ConnectionLost,
    CredentialsRefused,
    ModelError,
    ModelUnavailable,
    ModelUnknown,
    Overloaded,
    RateLimited,
    RequestRejected,
    ServerFault,
)
from core.models import find_ending

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


def from_refusal(refusal: Refusal, endpoint: Endpoint) -> ModelError:
    status = _effective_status(refusal)
    retryable = status in _RETRYABLE or status >= 500
    if refusal.web_page and not retryable and status != 413:
        return web_page_error(endpoint, f"a web page, status {refusal.status}")
    if endpoint.provider == "bedrock" and (error := from_aws(refusal, endpoint)) is not None:
        return error
    if status in (400, 402, 403) and (error := _by_text(refusal, endpoint)) is not None:
        return error
    if retryable:
        return _retryable(refusal, status, endpoint)
    return _final(refusal, status, endpoint)


def web_page_error(endpoint: Endpoint, came: str) -> RequestRejected:
    """Somebody else answers at this address: a proxy's page, a sign-in, a web site."""
    return RequestRejected(
        f"The address of {endpoint} is no API: it answered with {came}.",
        "Check the base URL (ANTHROPIC_BASE_URL, ANTHROPIC_BEDROCK_BASE_URL), and whether a proxy "
        "or sign-in page stands in between.",
    )


def credentials_remedy(endpoint: Endpoint) -> str:
    if endpoint.provider == "bedrock":
        return CREDENTIALS_REMEDY
    return (
        "Set ANTHROPIC_API_KEY to a valid key (or ANTHROPIC_AUTH_TOKEN to a valid token), or leave "
        "out --real to simulate."
    )


def _effective_status(refusal: Refusal) -> int:
    if (status := _STATUS_OF_NAME.get(refusal.name)) is not None:
        return status
    return 500 if refusal.status == 200 else refusal.status


def _by_text(refusal: Refusal, endpoint: Endpoint) -> ModelError | None:
    """Causes that only the server's text tells apart."""
    if refusal.says("credit balance", "api usage limits"):
        return _billing(refusal, endpoint)
    if refusal.says("organization has been disabled"):
        return CredentialsRefused(
            f"The organization of this key is disabled, {endpoint} says: {refusal.detail}.",
            "Use a key of another organization, or ask Anthropic's support.",
        )
    if refusal.says("request not allowed", "unsupported countries"):
        return CredentialsRefused(
            f"{endpoint} does not serve this network: {refusal.detail}.",
            "Use a network in a supported country; a VPN or proxy may be in the way.",
        )
    return None


def _final(refusal: Refusal, status: int, endpoint: Endpoint) -> ModelError:
    if status == 401:
        return _unauthenticated(refusal, endpoint)
    if status == 403:
        return _forbidden(refusal, endpoint)
    if status == 402:
        return _billing(refusal, endpoint)
    if status == 404:
        return _not_found(refusal, endpoint)
    if status == 413:
        return RequestRejected(
            f"A request was too large for {endpoint}: {refusal.detail}.",
            "Make the prompt, the contracts or the files of the task smaller.",
        )
    return RequestRejected(
        f"{endpoint} rejected a request ({refusal.status}): {refusal.detail}.",
        "The same request would fail again; what it holds has to change.",
    )


def _unauthenticated(refusal: Refusal, endpoint: Endpoint) -> CredentialsRefused:
    if refusal.says("expired"):
        return CredentialsRefused(
            f"The token for {endpoint} has expired: {refusal.detail}.",
            "Set ANTHROPIC_AUTH_TOKEN to a new one, or use a key in ANTHROPIC_API_KEY.",
        )
    return CredentialsRefused(
        f"{endpoint} refused the credentials: {refusal.detail}.", credentials_remedy(endpoint)
    )


def _forbidden(refusal: Refusal, endpoint: Endpoint) -> CredentialsRefused:
    if endpoint.provider == "bedrock":
        return _unauthenticated(refusal, endpoint)
    return CredentialsRefused(
        f"These credentials may not use {endpoint}: {refusal.detail}.",
        "Use a key (ANTHROPIC_API_KEY) of a workspace that may use this model, or another --model.",
    )


def _billing(refusal: Refusal, endpoint: Endpoint) -> BillingRefused:
    return BillingRefused(
        f"The account for {endpoint} cannot pay for more: {refusal.detail}.",
        "Add credit or raise the spend limit in the provider's console.",
    )


def _not_found(refusal: Refusal, endpoint: Endpoint) -> ModelUnknown:
    ending = find_ending(endpoint.model) if endpoint.provider == "anthropic" else None
    fix = (
        f"It ends on {ending.day}; use --model {ending.successor}."
        if ending
        else "Check --model (without it a current one is used), and the base URL if one is set."
    )
    return ModelUnknown(f"{endpoint} was not found: {refusal.detail}.", fix)


def _retryable(refusal: Refusal, status: int, endpoint: Endpoint) -> ModelUnavailable:
    kind = _RETRYABLE.get(status, ServerFault)
    said = {RateLimited: "limits the rate of requests", Overloaded: "is overloaded"}.get(
        kind, "failed to answer"
    )
    if refusal.name == "ModelNotReadyException":
        said = "is not ready yet"
    remedy = "Lower --max-executors, or go on later with resume."
    return kind(
        f"{endpoint} {said} ({refusal.status}): {refusal.detail}.",
        remedy if kind in (RateLimited, Overloaded) else "Go on later with resume.",
        retry_after_s=refusal.retry_after_s,
    )

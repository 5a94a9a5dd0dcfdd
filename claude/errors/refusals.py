"""A server's refusal as an error of the project, with a message and a remedy of its own.

The HTTP status decides, or the error's type where the status says too little: in the middle of a
stream it was 200 long ago, and Bedrock has one status for several causes.
https://platform.claude.com/docs/en/api/errors
"""

import re

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
    # quotas that do not refill within a run come as 429
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

_API_PATH = re.compile(r"/(v1/messages|model/[^/]+/invoke[^/]*)$")

_RETRYABLE: dict[int, type[ModelUnavailable]] = {
    408: ServerFault,
    409: ServerFault,
    424: ServerFault,
    429: RateLimited,
    499: ConnectionLost,
    529: Overloaded,
}


def from_refusal(refusal: Refusal, endpoint: Endpoint) -> ModelError:
    if refusal.location:
        return _redirected(refusal, endpoint)
    reported = 500 if refusal.status == 200 else refusal.status
    status = _STATUS_OF_NAME.get(refusal.name, reported)
    retryable = status in _RETRYABLE or status >= 500
    if refusal.web_page and not retryable and status != 413:
        return web_page_error(endpoint, f"a web page, status {refusal.status}")
    if endpoint.is_bedrock and (error := from_aws(refusal, endpoint)) is not None:
        return error
    if retryable:
        return _retryable(refusal, status, endpoint)
    kind, message, remedy = _final(refusal, status, endpoint)
    return kind(f"{message}: {refusal.detail}.", remedy)


def web_page_error(endpoint: Endpoint, answer: str) -> RequestRejected:
    """Another server answers at this address: a proxy, a sign-in page, a web site."""
    return RequestRejected(
        f"The address of {endpoint} is not an API: it answered with {answer}.",
        "Check the base URL (ANTHROPIC_BASE_URL, ANTHROPIC_BEDROCK_BASE_URL), and whether a proxy "
        "or sign-in page is in between.",
    )


def _redirected(refusal: Refusal, endpoint: Endpoint) -> RequestRejected:
    variable = "ANTHROPIC_BEDROCK_BASE_URL" if endpoint.is_bedrock else "ANTHROPIC_BASE_URL"
    url = endpoint.masked(refusal.location)
    base, is_api = _API_PATH.subn("", url)
    fix = f"Set {variable} to {base}, if you trust that address."
    if not is_api:
        fix = f"Set {variable} to the address of an API. A proxy or sign-in page may be in between."
    return RequestRejected(
        f"The base URL of {endpoint} redirects to {base} ({refusal.status}); nothing"
        " was sent there.",
        fix,
    )


def credentials_remedy(endpoint: Endpoint) -> str:
    if endpoint.is_bedrock:
        return CREDENTIALS_REMEDY
    return (
        "Set ANTHROPIC_API_KEY to a valid key (or ANTHROPIC_AUTH_TOKEN to a valid token), or leave "
        "out --real to run a simulation."
    )


def _final(refusal: Refusal, status: int, endpoint: Endpoint) -> tuple[type[ModelError], str, str]:
    """Kind, message and remedy of a refusal that another try would meet again."""
    denied = status in (400, 402, 403)
    if status == 402 or (denied and refusal.matches("credit balance|api usage limits")):
        return (
            BillingRefused,
            f"The account for {endpoint} has no credit left or has reached its spend limit",
            "Add credit or raise the spend limit in the provider's console.",
        )
    if denied and refusal.matches("organization has been disabled"):
        return (
            CredentialsRefused,
            f"The organization of the key for {endpoint} is disabled",
            "Use a key of another organization, or contact Anthropic's support.",
        )
    if denied and refusal.matches("request not allowed|unsupported countries"):
        return (
            CredentialsRefused,
            f"{endpoint} is not available from this network",
            "Use a network in a supported country, without a VPN or proxy to another one.",
        )
    if status == 403 and not endpoint.is_bedrock:
        return (
            CredentialsRefused,
            f"These credentials may not use {endpoint}",
            "Set ANTHROPIC_API_KEY to a key of a workspace that may use this model, or use another"
            f" {endpoint.model.option}.",
        )
    if status in (401, 403):
        return _unauthenticated(refusal, endpoint)
    if status == 404:
        return ModelUnknown, f"{endpoint} was not found", _model_remedy(endpoint)
    if status == 413:
        return (
            RequestRejected,
            f"A request was too large for {endpoint}",
            "Shorten the prompt, the contracts or the files of the task.",
        )
    remedy = "Change what the message names; the same request would be rejected again."
    if endpoint.model.effort and refusal.matches("effort"):
        remedy = "Leave out --planner-effort or --executor-effort for this model."
    return RequestRejected, f"{endpoint} rejected a request ({refusal.status})", remedy


def _unauthenticated(refusal: Refusal, endpoint: Endpoint) -> tuple[type[ModelError], str, str]:
    if refusal.matches("expired"):
        return (
            CredentialsRefused,
            f"The token for {endpoint} has expired",
            "Set ANTHROPIC_AUTH_TOKEN to a new one, or use a key in ANTHROPIC_API_KEY.",
        )
    message = f"{endpoint} rejected the credentials"
    return CredentialsRefused, message, credentials_remedy(endpoint)


def _model_remedy(endpoint: Endpoint) -> str:
    ending = find_ending(endpoint.model.model) if not endpoint.is_bedrock else None
    option = endpoint.model.option
    if ending is None:
        return f"Check {option} (leave it out for a current one), and the base URL if one is set."
    return f"Use {option} {ending.successor}; this one ends on {ending.day}."


def _retryable(refusal: Refusal, status: int, endpoint: Endpoint) -> ModelUnavailable:
    kind, remedy = _RETRYABLE.get(status, ServerFault), "Continue later with resume."
    state = "failed to answer"
    if kind in (RateLimited, Overloaded):
        state = "limits the rate of requests" if kind is RateLimited else "is overloaded"
        remedy = "Lower --max-executors, or continue later with resume."
    if refusal.name == "ModelNotReadyException":
        state = "is not ready yet"
    message = f"{endpoint} {state} ({refusal.status}): {refusal.detail}."
    return kind(message, remedy, retry_after_s=refusal.retry_after_s)

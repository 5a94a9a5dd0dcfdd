"""Turns what the SDKs raise into the project's errors, in one context manager.

Refusals go to claude.errors.refusals, missing answers to claude.errors.network_errors.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from claude.client.stream import StreamDamaged
from claude.errors.endpoint import Endpoint as Endpoint
from claude.errors.endpoint import Refusal
from claude.errors.network_errors import from_connection, lost
from claude.errors.refusals import credentials_remedy, from_refusal, web_page_error
from core.aws.sign_in import chain_failure
from core.errors import (
    CredentialsRefused,
    ModelError,
    ModelUnknown,
    OrchestratorError,
    RequestRejected,
    ServerFault,
)

if TYPE_CHECKING:
    import anthropic
    import httpx2


@contextmanager
def vendor_errors(endpoint: Endpoint) -> Iterator[None]:
    """Raises a ModelError for whatever the SDK, its HTTP client or its signer raise inside. Errors
    of the project pass, also those that the SDK wrapped (Interrupted, from a clock below)."""
    try:
        yield
    except OrchestratorError:
        raise
    except Exception as exc:
        if isinstance(cause := exc.__cause__, OrchestratorError):
            raise cause from None
        if (error := _translate(exc, endpoint)) is None:
            raise
        # a vendor's text that repeats a secret must not come back in a traceback
        raise error from (exc if endpoint.masked(str(exc)) == str(exc) else None)


def refuse_web_page(headers: httpx2.Headers, endpoint: Endpoint) -> None:
    """Raises RequestRejected for a web page that came with status 200, instead of a stream."""
    if _is_web_page(headers):
        raise web_page_error(endpoint, f"a web page ({headers.get('content-type')})")


def _translate(exc: Exception, endpoint: Endpoint) -> ModelError | None:
    """The project's error for `exc`; None when it is not a failed request."""
    import httpx2

    from claude import sdk

    module = type(exc).__module__
    if (failure := chain_failure(exc)) is not None:
        return _no_credentials(*failure, endpoint)
    if isinstance(exc, ValueError) and _is_raised_in("anthropic.lib.bedrock._client", exc):
        fix = f"Correct {endpoint.model.option}."
        return ModelUnknown(f"{endpoint} cannot be asked: {endpoint.detail(str(exc))}.", fix)
    match exc:
        case sdk.APIStatusError():
            return from_refusal(_read_refusal(exc, endpoint), endpoint)
        case sdk.APIConnectionError():
            return from_connection(exc.__cause__ or exc, endpoint)
        case sdk.APIError():
            return ServerFault(
                f"{endpoint} sent an answer that cannot be read: {endpoint.detail(str(exc))}."
            )
        case sdk.AnthropicError():
            return _no_credentials(str(exc), "", endpoint)
        case httpx2.HTTPError() | httpx2.StreamError() | httpx2.InvalidURL():
            return from_connection(exc, endpoint)
        case RuntimeError() if "home directory" in str(exc):  # as pathlib says it
            return _no_credentials("the home directory is unknown", "Set HOME to one.", endpoint)
        case _ if _is_raised_in("anthropic.lib.credentials", exc):  # about one of its files
            return _no_credentials(str(exc), "", endpoint)
        case StreamDamaged() | UnicodeDecodeError():
            return lost(endpoint, str(exc))
        case UnicodeEncodeError():
            return RequestRejected(
                f"A request to {endpoint} contains text that is not valid Unicode ({exc.reason}).",
                "Remove the unpaired surrogate characters from the prompt, the files or"
                " ANTHROPIC_CUSTOM_HEADERS.",
            )
        case _ if module == "botocore.eventstream" or module.startswith("json"):
            return lost(endpoint, f"the stream is damaged ({exc})")
        case _ if module.startswith("botocore") or "Could not resolve" in str(exc):
            # the SDK's bare errors have only their text
            return _no_credentials(str(exc), "", endpoint)
    return None


def _is_raised_in(module: str, exc: BaseException) -> bool:
    frames = (frame for frame, _ in traceback.walk_tb(exc.__traceback__))
    return any(frame.f_globals.get("__name__", "").startswith(module) for frame in frames)


def _no_credentials(cause: str, remedy: str, endpoint: Endpoint) -> CredentialsRefused:
    detail = endpoint.detail(cause).strip('"')
    if any(word in detail.lower() for word in ("expired", "sso")):
        return CredentialsRefused(
            f"The session for {endpoint} is missing or has expired: {detail}.",
            "Sign in again; for a profile of IAM Identity Center run aws sso login.",
        )
    return CredentialsRefused(
        f"No usable credentials were found for {endpoint}: {detail}.",
        remedy or credentials_remedy(endpoint),
    )


def _read_refusal(exc: anthropic.APIStatusError, endpoint: Endpoint) -> Refusal:
    headers = exc.response.headers
    # the header looks like "ThrottlingException:http://internal.amazon.com/..."
    amazon = headers.get("x-amzn-errortype", "").partition(":")[0]
    name = amazon or str(exc.error_code or exc.type or "")
    body: Any = exc.body if isinstance(exc.body, dict) else {}
    text = exc.api_message or body.get("message") or body.get("Message") or exc.message
    detail = endpoint.detail(str(text))
    if found := request_id(headers):
        detail += f" (request {found})"
    after_s = _retry_after_s(headers, endpoint.now)
    web_page = _is_web_page(headers)
    return Refusal(exc.status_code, name, detail, after_s, web_page, _location(exc.response))


def _location(response: httpx2.Response) -> str:
    """Where a redirect leads, without what may be a secret; empty for what is none."""
    import httpx2

    try:
        target = response.url.join(response.headers.get("location", ""))
    except httpx2.InvalidURL:
        return ""
    if not (response.has_redirect_location and target.host):
        return ""
    return str(target.copy_with(username=None, password=None, query=None, fragment=None))


def request_id(headers: Mapping[str, str]) -> str:
    return headers.get("request-id") or headers.get("x-amzn-requestid") or ""


def _is_web_page(headers: httpx2.Headers) -> bool:
    return bool(headers.get("content-type", "").lower().startswith("text/html"))


def _retry_after_s(headers: httpx2.Headers, now: Callable[[], float]) -> float | None:
    """Seconds from a retry-after header, which holds seconds or an HTTP date."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        seconds = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now()
    return max(0.0, seconds) if seconds < float("inf") else None

"""Requests that got no answer: name, address, TLS, proxy and time-out have errors of their own."""

import socket
import ssl
from collections.abc import Iterator
from urllib.request import getproxies, proxy_bypass

from claude.errors.endpoint import Endpoint
from core.errors import ConnectionLost, ModelError, RequestRejected

_BASE_URLS = "ANTHROPIC_BASE_URL or ANTHROPIC_BEDROCK_BASE_URL"
_PROXIES = "HTTPS_PROXY, HTTP_PROXY and NO_PROXY"


def from_connection(cause: BaseException, endpoint: Endpoint) -> ModelError | None:
    """The error for a request that got no answer; None for a bug in the program, which the SDK
    would wrap as well."""
    import httpx2

    # the system's resolver raises UnicodeError for an impossible name
    address = (
        httpx2.UnsupportedProtocol | httpx2.InvalidURL | httpx2.LocalProtocolError | UnicodeError
    )
    # h11 speaks for itself where a header of the user contradicts the body
    malformed = isinstance(cause, address) or type(cause).__module__.startswith("h11.")
    if not (malformed or isinstance(cause, httpx2.HTTPError | httpx2.StreamError | OSError)):
        return None
    reason = endpoint.detail(str(cause) or type(cause).__name__)
    if malformed:
        return RequestRejected(
            f"A request to {endpoint} could not be made: {reason}.",
            "Check the base URL, the headers and the proxy in ANTHROPIC_BASE_URL, "
            "ANTHROPIC_BEDROCK_BASE_URL, ANTHROPIC_CUSTOM_HEADERS and HTTPS_PROXY.",
        )
    return ConnectionLost(*_explain(cause, reason, endpoint))


def lost(endpoint: Endpoint, reason: str) -> ConnectionLost:
    """The connection broke, or what came over it is damaged."""
    return ConnectionLost(*_explain(None, endpoint.detail(reason), endpoint))


def _explain(cause: BaseException | None, reason: str, endpoint: Endpoint) -> tuple[str, str]:
    """Message and remedy."""
    import httpx2

    roots = list(_roots(cause))

    def any_of(*kinds: type[BaseException]) -> bool:
        return any(isinstance(root, kinds) for root in roots)

    if isinstance(cause, httpx2.ProxyError):
        return f"The proxy for {endpoint} failed: {reason}.", f"Check {_PROXIES}."
    if any_of(socket.gaierror) and _has_proxy(endpoint.host):
        return f"The host name of the proxy could not be resolved for {endpoint}: {reason}.", (
            f"Check {_PROXIES}."
        )
    if any_of(socket.gaierror):
        message = f"The host name {endpoint.host} could not be resolved for {endpoint}: {reason}."
        return message, _name_remedy(endpoint)
    if any_of(ssl.SSLCertVerificationError):
        return (
            f"The certificate of {endpoint} is not trusted: {reason}.",
            "If a proxy inspects TLS, set SSL_CERT_FILE to a file with its certificate.",
        )
    if any_of(ssl.SSLError):
        return (
            f"No TLS connection to {endpoint} could be made: {reason}.",
            f"Check {_BASE_URLS} (an address without TLS begins with http://), and {_PROXIES}.",
        )
    if any_of(ConnectionRefusedError):
        message = f"The connection to {endpoint} was refused: {reason}."
        return message, f"Check {_BASE_URLS}, and {_PROXIES}."
    if isinstance(cause, httpx2.TimeoutException):
        message = f"{endpoint} did not answer in time: {reason}."
        return message, f"Check the network, the firewall, and {_PROXIES}."
    message = f"The connection to {endpoint} was lost: {reason}."
    return message, "Check the network, the proxy and the base URL."


def _has_proxy(host: str) -> bool:
    """Whether a proxy is asked for `host`, whose name is then the proxy's business."""
    return bool(getproxies().keys() & {"http", "https", "all"}) and not proxy_bypass(host)


def _name_remedy(endpoint: Endpoint) -> str:
    if not endpoint.is_bedrock:
        return "Check the network, and ANTHROPIC_BASE_URL if it is set."
    return (
        f"Check --region: {endpoint.model.region!r} may not have Bedrock. Otherwise check the "
        "network, and ANTHROPIC_BEDROCK_BASE_URL if it is set."
    )


def _roots(cause: BaseException | None) -> Iterator[BaseException]:
    """`cause` and what it came from; the HTTP client wraps the system's errors."""
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__

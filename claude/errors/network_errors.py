"""Why nothing came back: name, address, TLS, proxy and time each with its own message and fix."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from claude.errors.endpoint import Endpoint
from core.errors import ConnectionLost, ModelError, RequestRejected

_BASE_URLS = "ANTHROPIC_BASE_URL or ANTHROPIC_BEDROCK_BASE_URL"
_PROXIES = "HTTPS_PROXY, HTTP_PROXY and NO_PROXY"


def from_connection(cause: BaseException, endpoint: Endpoint) -> ModelError | None:
    """The error for a request that got no answer; None for a mistake of the program, which the
    SDK would wrap as well."""
    import httpx2

    # the system's resolver raises UnicodeError for a name that cannot be one
    address = (
        httpx2.UnsupportedProtocol | httpx2.InvalidURL | httpx2.LocalProtocolError | UnicodeError
    )
    if not isinstance(cause, httpx2.HTTPError | httpx2.StreamError | OSError | address):
        return None
    if isinstance(cause, address):
        return RequestRejected(
            f"A request to {endpoint} could not be made: {endpoint.told(str(cause))}.",
            "Check the base URL, the headers and the proxy set in the environment "
            "(ANTHROPIC_BASE_URL, ANTHROPIC_BEDROCK_BASE_URL, ANTHROPIC_CUSTOM_HEADERS, "
            "HTTPS_PROXY).",
        )
    why = endpoint.told(str(cause) or type(cause).__name__)
    if isinstance(cause, httpx2.ProxyError):
        return ConnectionLost(
            f"The proxy on the way to {endpoint} failed: {why}.", f"Check {_PROXIES}."
        )
    return _by_root(cause, why, endpoint)


def lost(endpoint: Endpoint, why: str) -> ConnectionLost:
    """The connection broke, or what came over it is damaged."""
    return ConnectionLost(
        f"The connection to {endpoint} was lost: {endpoint.told(why)}.",
        "Check the network, the proxy and the base URL.",
    )


def _by_root(cause: BaseException, why: str, endpoint: Endpoint) -> ConnectionLost:
    import httpx2

    roots = list(_roots(cause))
    if any(isinstance(root, socket.gaierror) for root in roots):
        return ConnectionLost(
            f"The name {endpoint.host} could not be resolved, asking for {endpoint}: {why}.",
            _name_remedy(endpoint),
        )
    if any(isinstance(root, ssl.SSLCertVerificationError) for root in roots):
        return ConnectionLost(
            f"The certificate of {endpoint} is not trusted: {why}.",
            "Where a proxy opens TLS, name its certificate file in SSL_CERT_FILE.",
        )
    if any(isinstance(root, ssl.SSLError) for root in roots):
        return ConnectionLost(
            f"No TLS connection to {endpoint} could be made: {why}.",
            f"Check {_BASE_URLS} (an address without TLS begins with http://), and {_PROXIES}.",
        )
    if any(isinstance(root, ConnectionRefusedError) for root in roots):
        return ConnectionLost(
            f"Nobody listens where {endpoint} should be: {why}.",
            f"Check {_BASE_URLS}, and {_PROXIES}.",
        )
    if isinstance(cause, httpx2.TimeoutException):
        return ConnectionLost(
            f"{endpoint} gave no answer in time: {why}.",
            f"Check the network and the firewall, and {_PROXIES}.",
        )
    return lost(endpoint, why)


def _name_remedy(endpoint: Endpoint) -> str:
    if endpoint.provider == "bedrock":
        return (
            f"Check --region: {endpoint.region!r} may be none that has Bedrock. "
            f"Otherwise check the network, and ANTHROPIC_BEDROCK_BASE_URL if it is set."
        )
    return "Check the network, and ANTHROPIC_BASE_URL if it is set."


def _roots(cause: BaseException) -> Iterator[BaseException]:
    """`cause` and what it came from; the HTTP client wraps the system's errors."""
    seen: BaseException | None = cause
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__

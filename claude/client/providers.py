"""Builds the SDK's client for a provider: `anthropic` or `bedrock`, real or simulated.

Credentials are passed in, never looked up here. Without any, the SDK's own chain decides
(profiles, workload identity, and boto3's for Bedrock).
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from core.bundle import ModelSettings
from core.clock import Clock
from core.credentials import Credentials
from core.errors import CredentialsRefused, SettingsError

if TYPE_CHECKING:
    import ssl

    import httpx2
    from anthropic import Anthropic, AnthropicBedrock

PROVIDERS = ("anthropic", "bedrock")
# The key of a simulated client, so that the SDK looks for no real one.
PLACEHOLDER_KEY = "simulated-key"
SIMULATED_URL = "http://simulated.invalid"

# Between two pieces of a stream; the API sends pings meanwhile.
_READ_TIMEOUT_S = 300.0
_CONNECT_TIMEOUT_S = 15.0
_OF_TLS = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")


def open_sdk(
    model: ModelSettings,
    credentials: Credentials,
    clock: Clock,
    transport: httpx2.BaseTransport | None = None,
) -> Anthropic | AnthropicBedrock:
    """A client without retries of its own; the caller closes it. `transport` is used in place of
    the network, or of the simulation that the settings ask for.

    Raises SettingsError for an unknown provider and CredentialsRefused for a secret that cannot
    be in a header, such as one with a line end.
    """
    from claude.sdk import Anthropic

    if model.provider not in PROVIDERS:
        raise SettingsError(
            f"The provider {model.provider!r} is unknown.", f"Use one of: {', '.join(PROVIDERS)}."
        )
    base_url = model.base_url or None
    if model.simulation is not None:
        from claude.simulation.transport import build_transport

        transport = transport or build_transport(model.simulation, clock)
        base_url = SIMULATED_URL
        credentials = Credentials(
            anthropic_api_key=PLACEHOLDER_KEY, aws_bearer_token_bedrock=PLACEHOLDER_KEY
        )
    check_secrets(credentials)
    options: dict[str, Any] = {
        "base_url": base_url,
        "timeout": build_timeout(),
        "max_retries": 0,
        "open_telemetry": False,
        "http_client": _open_http(transport),
    }
    if model.provider == "bedrock":
        return _open_bedrock(model, credentials, options)
    key = credentials.anthropic_api_key or None
    # the SDK takes one of the two
    token = None if key else credentials.anthropic_auth_token or None
    return Anthropic(api_key=key, auth_token=token, **options)


def _open_http(transport: httpx2.BaseTransport | None) -> httpx2.Client:
    """Unlike the SDK's own it follows no redirect, which would send key and prompt elsewhere, and
    passes over entries of NO_PROXY that it cannot read."""
    import httpx2

    if transport is not None:
        return httpx2.Client(transport=transport, trust_env=False)
    return httpx2.Client(verify=tls_context())


def tls_context() -> ssl.SSLContext:
    """The certificates to trust, read once: it takes longer than all else that a client needs.

    Raises OSError for a file of the environment that cannot be used.
    """
    return _read_certificates(*map(os.environ.get, _OF_TLS))


@functools.cache
def _read_certificates(*_: str | None) -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context()


def check_secrets(credentials: Credentials) -> None:
    """Raises CredentialsRefused for what cannot be in a header."""
    for secret in credentials.secrets():
        if not (secret.isascii() and secret.isprintable()) or " " in secret:
            raise CredentialsRefused(
                "A key or token contains a space, a line end or another invalid character.",
                "Set it again without that; a line end often comes from a file.",
            )


def _open_bedrock(
    model: ModelSettings, credentials: Credentials, options: dict[str, Any]
) -> AnthropicBedrock:
    from anthropic import AnthropicBedrock

    bearer = credentials.aws_bearer_token_bedrock
    # given a key, the SDK does not read AWS_BEARER_TOKEN_BEDROCK itself; it would refuse to have
    # both that and the explicit credentials set below
    client = AnthropicBedrock(api_key=bearer or PLACEHOLDER_KEY, aws_region=model.region, **options)
    if not bearer:
        client.api_key = None
        client.aws_access_key = credentials.aws_access_key_id or None
        client.aws_secret_key = credentials.aws_secret_access_key or None
        client.aws_session_token = credentials.aws_session_token or None
        client.aws_profile = credentials.aws_profile or None
    return client


def build_timeout(read_s: float = _READ_TIMEOUT_S) -> httpx2.Timeout:
    """What a client waits for a connection, and `read_s` seconds for each piece of an answer."""
    import httpx2

    return httpx2.Timeout(read_s, connect=min(read_s, _CONNECT_TIMEOUT_S))

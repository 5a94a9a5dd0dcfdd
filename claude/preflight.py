"""What a provider needs before the first request, and what of it is missing. Sends nothing."""

from __future__ import annotations

from core.bundle import ModelSettings
from core.clock import SystemClock
from core.credentials import Credentials
from core.errors import OrchestratorError, Problem

_SIMULATE = "or leave out --real to run a simulation."


def find_problems(model: ModelSettings, credentials: Credentials) -> list[Problem]:
    """Missing or malformed credentials for the real `model`; nothing for a simulated one.

    Raises SettingsError for a simulation whose faults cannot be read.
    """
    if model.simulation is not None:
        from claude.simulation.faults import parse_faults

        parse_faults(model.simulation.faults)
        return []
    try:
        found = (
            _has_aws(credentials) if model.provider == "bedrock" else _has_key(model, credentials)
        )
    except OrchestratorError as exc:
        return [Problem(exc.message, exc.remedy)]
    return [] if found else [_MISSING[model.provider]]


_MISSING = {
    "anthropic": Problem(
        "There is no key for the Anthropic API.", f"Set ANTHROPIC_API_KEY, {_SIMULATE}"
    ),
    "bedrock": Problem(
        "There are no AWS credentials for Bedrock.",
        f"Set AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a role, {_SIMULATE}",
    ),
}


def _has_key(model: ModelSettings, credentials: Credentials) -> bool:
    """The SDK also knows profiles and workload identity, so it is the one to ask."""
    from claude.providers import open_sdk

    with open_sdk(model, credentials, SystemClock()) as sdk:
        held = (sdk.api_key, getattr(sdk, "auth_token", None), getattr(sdk, "credentials", None))
        return any(held)


def _has_aws(credentials: Credentials) -> bool:
    if credentials.aws_bearer_token_bedrock or credentials.aws_secret_access_key:
        return True
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        session = boto3.Session(profile_name=credentials.aws_profile or None)
        return session.get_credentials() is not None
    except BotoCoreError as exc:
        raise OrchestratorError(f"AWS credentials cannot be read: {exc}.", "Mend them.") from exc

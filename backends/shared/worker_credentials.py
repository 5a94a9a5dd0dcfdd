"""What a worker elsewhere is sent of the credentials that this process has."""

from __future__ import annotations

from core.credentials import Credentials
from core.errors import BackendError
from core.settings.worker import WorkerSettings


def sent_credentials(credentials: Credentials, settings: WorkerSettings) -> Credentials:
    """What a worker elsewhere needs of `credentials`, and no more; nothing for a simulation.

    Of AWS's own ways (profiles, roles) only their keys can travel; they are looked up here, each
    time anew since they expire. Raises BackendError when that fails.
    """
    if not settings.real:
        return Credentials()
    if settings.provider != "bedrock":
        return Credentials(
            anthropic_api_key=credentials.anthropic_api_key,
            anthropic_auth_token=credentials.anthropic_auth_token,
        )
    if credentials.aws_bearer_token_bedrock:
        return Credentials(aws_bearer_token_bedrock=credentials.aws_bearer_token_bedrock)
    if credentials.aws_access_key_id and not credentials.aws_profile:
        return Credentials(
            aws_access_key_id=credentials.aws_access_key_id,
            aws_secret_access_key=credentials.aws_secret_access_key,
            aws_session_token=credentials.aws_session_token,
        )
    return look_up_aws(credentials.aws_profile)


def look_up_aws(profile: str) -> Credentials:
    """The keys that AWS's own chain finds on this machine; none where it finds none."""
    import boto3
    from botocore.exceptions import BotoCoreError

    try:
        found = boto3.Session(profile_name=profile or None).get_credentials()
        frozen = found.get_frozen_credentials() if found else None
    except BotoCoreError as exc:
        raise BackendError(
            f"The AWS credentials for the workers cannot be had: {exc}.",
            "Log in again (aws sso login), or set the keys in the environment.",
        ) from exc
    if frozen is None:
        return Credentials()
    return Credentials(
        aws_access_key_id=frozen.access_key,
        aws_secret_access_key=frozen.secret_key,
        aws_session_token=frozen.token or "",
    )

"""The credentials that a worker elsewhere is sent."""

from core.aws.session import find_keys
from core.credentials import Credentials
from core.settings.worker import WorkerSettings


def sent_credentials(credentials: Credentials, settings: WorkerSettings) -> Credentials:
    """What a worker elsewhere needs of `credentials`, and no more; nothing for a simulation.

    A profile or a role of AWS cannot be sent, so their present keys are; they are looked up anew
    each time, since they expire. Raises BackendError when that fails.
    """
    if not settings.real:
        return Credentials()
    if settings.provider != "bedrock":
        names = ["anthropic_api_key", "anthropic_auth_token"]
    elif credentials.aws_bearer_token_bedrock:
        names = ["aws_bearer_token_bedrock"]
    elif credentials.aws_access_key_id and not credentials.aws_profile:
        names = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"]
    else:
        return find_keys(credentials)
    return Credentials(**{name: getattr(credentials, name) for name in names})

"""Sessions and clients of boto3: whose credentials they sign with, and how they connect."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from core.credentials import Credentials
from core.errors import BackendError

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 60
POOL_SIZE = 16


def build_session(
    credentials: Credentials, region: str = "", *, prefer_container_role: bool = False
) -> Any:
    """A session of boto3 that signs with the profile or keys of `credentials`, else with what
    AWS's own chain finds.

    With `prefer_container_role` a container's own role comes ahead of keys in the environment,
    which may be for Claude alone; `credentials` do not count then.
    """
    import boto3

    if not prefer_container_role:
        return boto3.Session(region_name=region or None, **_identity(credentials))
    from botocore.credentials import ContainerProvider
    from botocore.session import get_session

    session = get_session()
    session.get_component("credential_provider").insert_before("env", ContainerProvider())
    return boto3.Session(region_name=region or None, botocore_session=session)


def _identity(credentials: Credentials) -> dict[str, str]:
    if credentials.aws_profile:
        return {"profile_name": credentials.aws_profile}
    if not (credentials.aws_access_key_id and credentials.aws_secret_access_key):
        return {}
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    return {name: key for name in names if (key := getattr(credentials, name))}


def find_aws_credentials(credentials: Credentials) -> Any:
    """What botocore would sign with, its `method` saying where that was found; None without any.

    Raises BackendError when a profile or its source cannot be read.
    """
    with _chain_errors(credentials):
        return build_session(credentials).get_credentials()


def find_keys(credentials: Credentials) -> Credentials:
    """As `find_aws_credentials`, as keys of this moment; empty where there are none."""
    with _chain_errors(credentials):
        found = build_session(credentials).get_credentials()
        frozen = found.get_frozen_credentials() if found else None
    if frozen is None:
        return Credentials()
    return Credentials(
        aws_access_key_id=frozen.access_key,
        aws_secret_access_key=frozen.secret_key,
        aws_session_token=frozen.token or "",
    )


@contextmanager
def _chain_errors(credentials: Credentials) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as exc:
        raise BackendError(
            f"AWS credentials cannot be read: {credentials.mask(str(exc))}.",
            "Sign in again (aws sso login), or check AWS_PROFILE, the files in ~/.aws and the"
            " variables AWS_*.",
        ) from exc


def build_client(
    service: str,
    credentials: Credentials,
    region: str,
    environ: Mapping[str, str],
    *,
    prefer_container_role: bool = False,
) -> Any:
    """A client of boto3 for a service, without retries of its own; see `build_session`.

    AWS_ENDPOINT_URL is taken from `environ`.
    """
    from botocore.config import Config

    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        max_pool_connections=POOL_SIZE,
    )
    session = build_session(credentials, region, prefer_container_role=prefer_container_role)
    endpoint = environ.get("AWS_ENDPOINT_URL") or None
    return session.client(service, endpoint_url=endpoint, config=config)

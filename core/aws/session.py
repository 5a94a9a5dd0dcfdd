"""Sessions and clients of boto3: whose credentials they sign with, and how they connect."""

import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any

from core.aws.sign_in import chain_source, failure_of, session_failure
from core.credentials import Credentials, mask_password
from core.errors import BackendError

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 60
POOL_SIZE = 16
SIGN_IN_S = 60.0
"""How long AWS's chain may look for credentials: one source is a command, which may hang."""


def build_session(
    credentials: Credentials, region: str = "", *, prefer_container_role: bool = False
) -> Any:
    """A session of boto3 that signs with the profile or keys of `credentials`, else with what
    AWS's own chain finds.

    With `prefer_container_role` a container's own role comes ahead of keys in the environment,
    which may be for Claude alone; `credentials` do not count then. Raises BackendError when there
    are credentials that cannot be had.
    """
    return _found_with(credentials, region, prefer_container_role)[0]


def _found_with(
    credentials: Credentials, region: str = "", prefer_container_role: bool = False
) -> tuple[Any, Any, Any]:
    """The session, what it signs with, and that as keys of this moment; None without any."""
    answers: list[tuple[Any, Any, Any] | Exception] = []

    def ask() -> None:
        try:
            session = _new_session(credentials, region, prefer_container_role)
            found = session.get_credentials()
            answers.append((session, found, found.get_frozen_credentials() if found else None))
        except Exception as exc:  # noqa: BLE001 - of any type, and never of ours
            answers.append(exc)

    asking = threading.Thread(target=ask, name="AWS credentials", daemon=True)
    asking.start()
    asking.join(SIGN_IN_S)
    if not answers:
        innermost = sys._current_frames().get(asking.ident or 0)
        stack = [frame for frame, _ in traceback.walk_stack(innermost)][::-1]
        source = chain_source(stack) or ""
        raise BackendError(*failure_of(source, f"there was no answer within {SIGN_IN_S:g} s"))
    if isinstance(answer := answers[0], Exception):
        message, remedy = session_failure(answer)
        raise BackendError(credentials.mask(message), remedy) from answer
    return answer


def _new_session(credentials: Credentials, region: str, prefer_container_role: bool) -> Any:
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

    Raises BackendError when there are some that cannot be had.
    """
    return _found_with(credentials)[1]


def find_keys(credentials: Credentials) -> Credentials:
    """As `find_aws_credentials`, as keys of this moment; empty where there are none."""
    if (frozen := _found_with(credentials)[2]) is None:
        return Credentials()
    return Credentials(
        aws_access_key_id=frozen.access_key,
        aws_secret_access_key=frozen.secret_key,
        aws_session_token=frozen.token or "",
    )


def open_client(session: Any, service: str, **options: Any) -> Any:
    """A client of a session of boto3. Raises BackendError for settings of AWS that are wrong."""
    try:
        return session.client(service, **options)
    except Exception as exc:
        fix = "Correct the variables AWS_* and ~/.aws/config."
        if isinstance(exc, ValueError):  # botocore's own errors are none
            fix = "Begin AWS_ENDPOINT_URL, or endpoint_url in ~/.aws/config, with http:// or https://."
        reason = mask_password(str(exc)).rstrip(".")
        raise BackendError(f"The settings for AWS cannot be used: {reason}.", fix) from exc


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
    return open_client(session, service, endpoint_url=endpoint, config=config)

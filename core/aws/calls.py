"""Calls of AWS, by this program and by its workers: tried again while that helps, errors as ours.

boto3's own retries are off: they sleep by no clock of ours, and a service that throttles one thread
has to slow down all of them.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from core.clock import Clock
from core.credentials import Credentials
from core.errors import AwsRefused, BackendError

T = TypeVar("T")

TRIES = 6
FIRST_PAUSE_S = 0.5
MOST_PAUSE_S = 20.0
LEAST_GAP_S = 0.05
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 10, 60
POOL_SIZE = 16
_SIGN_IN = "Sign in again (aws sso login), or set AWS_PROFILE or the AWS keys in the environment."

# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
_THROTTLED = frozenset(
    {"Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException"}
    | {"RequestLimitExceeded", "RequestThrottled", "SlowDown", "PriorRequestNotComplete"}
)
_TRANSIENT = _THROTTLED | frozenset(
    {"RequestTimeout", "RequestTimeoutException", "InternalError", "ServerException"}
    | {"ServiceUnavailable", "ConditionalRequestConflict", "OperationAborted"}
)
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"})
EXPIRED = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidClientTokenId"}
    | {"UnrecognizedClientException", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
)
"""Codes of errors that a new sign-in mends."""


class AwsClients:
    """Clients of boto3 by service, each made when it is first asked for. From many threads.

    Keys of `credentials` count where there are any, else AWS's own chain; with `as_container` a
    container's own role comes ahead of keys in the environment, which may be for Claude alone.
    AWS_ENDPOINT_URL is taken from `environ`.
    """

    def __init__(
        self,
        region: str,
        credentials: Credentials,
        environ: Mapping[str, str],
        *,
        as_container: bool = False,
    ) -> None:
        self._region = region
        self._credentials = credentials
        self._as_container = as_container
        self._endpoint = environ.get("AWS_ENDPOINT_URL") or None
        self._lock = threading.Lock()
        self._made: dict[str, Any] = {}

    def __call__(self, service: str) -> Any:
        with self._lock:
            if service not in self._made:
                self._made[service] = self._make(service)
            return self._made[service]

    def _make(self, service: str) -> Any:
        from botocore.config import Config

        config = Config(
            retries={"total_max_attempts": 1},
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_pool_connections=POOL_SIZE,
        )
        return self._session().client(service, endpoint_url=self._endpoint, config=config)

    def _session(self) -> Any:
        import boto3

        if not self._as_container:
            return boto3.Session(region_name=self._region, **self._identity())
        from botocore.credentials import ContainerProvider
        from botocore.session import get_session

        own = get_session()
        own.get_component("credential_provider").insert_before("env", ContainerProvider())
        return boto3.Session(region_name=self._region, botocore_session=own)

    def _identity(self) -> dict[str, str]:
        held = self._credentials
        if held.aws_profile:
            return {"profile_name": held.aws_profile}
        if not held.aws_access_key_id:
            return {}
        keys = {
            "aws_access_key_id": held.aws_access_key_id,
            "aws_secret_access_key": held.aws_secret_access_key,
            "aws_session_token": held.aws_session_token,
        }
        return {name: key for name, key in keys.items() if key}

    def close(self) -> None:
        """Let go of all connections. A later call makes new ones."""
        with self._lock:
            for client in self._made.values():
                client.close()
            self._made.clear()


class AwsCalls:
    """Makes calls. One that is throttled slows down all, until some have gone well again."""

    def __init__(
        self, clock: Clock, dice: Callable[[], float] = random.random, tries: int = TRIES
    ) -> None:
        self._clock = clock
        self._dice = dice
        self._tries = tries
        self._gap_s = 0.0

    @property
    def gap_s(self) -> float:
        """How long each call waits now, because others were throttled."""
        return self._gap_s

    def __call__(self, what: str, call: Callable[[], T]) -> T:
        """What `call` gives; `what` names it for people, such as "SubmitJob on queue q".

        Raises AwsRefused when AWS refuses it for good, and BackendError when AWS cannot be reached
        or does not recover within a few tries.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        for tried in range(1, self._tries + 1):
            if self._gap_s:
                self._clock.sleep(self._gap_s)
            try:
                answer = call()
            except (BotoCoreError, ClientError) as exc:
                self._slow_down(exc)
                if tried == self._tries or not is_transient(exc):
                    raise explain(exc, what) from exc
                most_s = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2**tried)
                self._clock.sleep(most_s * (0.5 + self._dice() / 2))
            else:
                self._gap_s = self._gap_s / 2 if self._gap_s > LEAST_GAP_S else 0.0
                return answer
        raise AssertionError("unreachable: the last try returns or raises")

    def _slow_down(self, exc: Exception) -> None:
        if code_of(exc) in _THROTTLED:
            self._gap_s = min(MOST_PAUSE_S, max(LEAST_GAP_S, self._gap_s) * 2)


def code_of(exc: Exception) -> str:
    """AWS's own name for an error; empty for one that AWS did not send."""
    answer: Mapping[str, Any] = getattr(exc, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def is_transient(exc: Exception) -> bool:
    """Whether the same call may go well a moment later."""
    from botocore.exceptions import (
        ClientError,
        ConnectionError,  # noqa: A004 - its name
        FlexibleChecksumError,
        HTTPClientError,
        IncompleteReadError,
    )

    if isinstance(exc, ClientError):
        status = int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return code_of(exc) in _TRANSIENT or status == 429 or (status >= 500 and status != 501)
    lost = ConnectionError | FlexibleChecksumError | HTTPClientError | IncompleteReadError
    return isinstance(exc, lost)


def explain(exc: Exception, what: str) -> BackendError:
    """The error as ours, with what to do."""
    code, words = code_of(exc), _words(exc)
    if is_transient(exc):
        return BackendError(f"{what} failed: {words}.", "It is tried again later.")
    if code in EXPIRED or "oken" in type(exc).__name__:
        return AwsRefused(f"{what} was refused, the AWS sign-in: {words}.", _SIGN_IN, code=code)
    if code in DENIED:
        return AwsRefused(
            f"{what} was refused: {words}.",
            "Allow that action to the identity in use; docs/aws-batch.md lists what is needed.",
            code=code,
        )
    if not code:
        return BackendError(f"{what} cannot be asked of AWS: {words}.", _SIGN_IN)
    return AwsRefused(f"{what} was refused: {words}.", "See docs/aws-batch.md.", code=code)


def _words(exc: Exception) -> str:
    answer: Mapping[str, Any] = getattr(exc, "response", None) or {}
    error = answer.get("Error", {})
    told = f"{error.get('Code')}: {error.get('Message')}" if error.get("Code") else str(exc)
    return " ".join(told.split())[:400].rstrip(".")

"""Calls of AWS: retried while that helps, and AWS's errors as ours.

boto3's own retries are off: they sleep by no clock of ours, and a service that throttles one thread
has to slow down all of them.
"""

import random
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from core.aws.region import region_failure
from core.aws.sign_in import chain_failure
from core.clock import Clock
from core.credentials import mask_password
from core.errors import AwsRefused, BackendError

T = TypeVar("T")

TRIES = 6
FIRST_PAUSE_S = 0.5
MOST_PAUSE_S = 20.0
LEAST_GAP_S = 0.05
_SIGN_IN = "Sign in again (aws sso login), or set AWS_PROFILE or the AWS keys in the environment."

_SETTINGS = "Correct the variables AWS_* and the files in ~/.aws."
_CERTIFICATES = r"\[Errno \d+\]|NO_CERTIFICATE|CERTIFICATE_VERIFY_FAILED"
# How botocore's errors about what was not sent are called, and what to do.
_UNSENT = {
    "^(NoCredentials|NoAuthToken|PartialCredentials|CredentialRetrieval)": _SIGN_IN,
    f"^SSLError.*({_CERTIFICATES})": "Set AWS_CA_BUNDLE to a file of certificates in PEM format, or"
    " unset it.",
    "^ProxyConnection": "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY, then try again.",
    "not a valid host or port": "Set HTTPS_PROXY and HTTP_PROXY to http://host:port.",
}

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
"""Codes of errors that a new sign-in resolves."""


class AwsService:
    """One service of AWS, reached by one client of boto3, which `connect` makes when it is needed.

    May be used from many threads: a call that is throttled slows down all others, until some have
    succeeded again.
    """

    def __init__(self, name: str, connect: Callable[[str], Any], clock: Clock) -> None:
        self._name = name
        self._connect = connect
        self._clock = clock
        self._lock = threading.Lock()
        self._connected: Any = None
        self._gap_s = 0.0

    def _client(self) -> Any:
        with self._lock:
            if self._connected is None:
                self._connected = self._connect(self._name)
            return self._connected

    def close(self) -> None:
        """Close the connections. A later call makes new ones."""
        with self._lock:
            if self._connected is not None:
                self._connected.close()
                self._connected = None

    def __call__(self, method: str, subject: str, **parameters: Any) -> Any:
        """The answer of a method of the client; `subject` is for messages, such as "queue q".

        Raises AwsRefused when AWS refuses it for good, and BackendError when AWS cannot be reached
        or does not recover within a few tries.
        """
        return self.retry(method, subject, lambda client: getattr(client, method)(**parameters))

    def retry(self, method: str, subject: str, call: Callable[[Any], T]) -> T:
        """As calling it, for `call`, which makes that call of the client it is given."""
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        for tried in range(1, TRIES + 1):
            if self._gap_s:
                self._clock.sleep(self._gap_s)
            try:
                answer = call(self._client())
            except Exception as exc:
                sent = isinstance(exc, BotoCoreError | ClientError | HTTPError)
                if not sent and chain_failure(exc) is None:
                    raise
                if code_of(exc) in _THROTTLED:
                    self._gap_s = min(MOST_PAUSE_S, max(LEAST_GAP_S, self._gap_s) * 2)
                if tried == TRIES or not is_transient(exc):
                    action = method.title().replace("_", "")
                    raise explain(exc, f"{action} on {subject}") from exc
                most_s = min(MOST_PAUSE_S, FIRST_PAUSE_S * 2**tried)
                self._clock.sleep(random.uniform(most_s / 2, most_s))
            else:
                self._gap_s = self._gap_s / 2 if self._gap_s > LEAST_GAP_S else 0.0
                return answer
        raise AssertionError("unreachable: the last try returns or raises")


def code_of(exc: Exception) -> str:
    """AWS's own name for an error; empty for one that AWS did not send."""
    return str(_error(exc).get("Code", ""))


def _error(exc: Exception) -> Mapping[str, Any]:
    answer: Mapping[str, Any] = getattr(exc, "response", None) or {}
    return answer.get("Error") or {}


def is_transient(exc: Exception) -> bool:
    """Whether the same call may succeed a moment later."""
    from botocore.exceptions import (
        ClientError,
        ConnectionError,  # noqa: A004 - its name
        FlexibleChecksumError,
        HTTPClientError,
        IncompleteReadError,
    )
    from urllib3.exceptions import HTTPError

    if isinstance(exc, HTTPError):
        return True  # in the middle of an object's bytes
    if isinstance(exc, ClientError):
        status = int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return code_of(exc) in _TRANSIENT or status == 429 or (status >= 500 and status != 501)
    lost = ConnectionError | FlexibleChecksumError | HTTPClientError | IncompleteReadError
    return isinstance(exc, lost) and not _is_of_settings(exc) and region_failure(exc) is None


def _is_of_settings(exc: Any) -> bool:
    """Whether a connection can never be made: of a proxy's address or a header that is none, or a
    file of certificates that cannot be read."""
    from botocore.exceptions import SSLError

    cause = exc.kwargs.get("error")
    unreadable = isinstance(exc, SSLError) and re.search(_CERTIFICATES, str(cause))
    return isinstance(cause, ValueError) or bool(unreadable)


def explain(exc: Exception, name: str) -> BackendError:
    """The error of the call `name` as ours, with its remedy."""
    code, reason = code_of(exc), reason_of(exc)
    if is_transient(exc):
        return BackendError(f"{name} failed: {reason}.", _remedy(exc, "Try again later."))
    if code in EXPIRED or "oken" in type(exc).__name__:
        return AwsRefused(f"The AWS sign-in was refused for {name}: {reason}.", _SIGN_IN, code=code)
    if (failure := region_failure(exc) or chain_failure(exc)) is not None:
        return BackendError(*failure)
    if not code:
        return BackendError(f"{name} could not be sent to AWS: {reason}.", _remedy(exc, _SETTINGS))
    remedy = "See docs/aws-batch.md."
    if code in DENIED:
        remedy = "Allow this action to the identity in use: docs/aws-batch.yaml has the policy."
    return AwsRefused(f"{name} was refused: {reason}.", remedy, code=code)


def _remedy(exc: Exception, usual: str) -> str:
    text = type(exc).__name__ + str(exc)
    return next((fix for pattern, fix in _UNSENT.items() if re.search(pattern, text)), usual)


def reason_of(exc: Exception) -> str:
    if "nvalid header value" in str(exc):  # and the value is a secret
        return "a key or token of AWS contains a line end or another invalid character"
    error = _error(exc)
    text = f"{error.get('Code')}: {error.get('Message')}" if error.get("Code") else str(exc)
    return mask_password(" ".join(text.split())[:2_000])[:400].rstrip(".")

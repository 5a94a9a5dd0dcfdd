"""Failures to have AWS credentials, as cause and remedy.

Botocore finds them in several places, and an error out of one may be of any type: whatever is
raised inside of its chain has its cause in the environment.
"""

import json
import traceback
from collections.abc import Mapping, Sequence
from types import FrameType

_CHAIN = ("botocore.credentials", "botocore.tokens")
_CHECK = "Check AWS_PROFILE, the files in ~/.aws and the variables AWS_*, or sign in again."
_SIGN_IN = "Sign in again: aws sso login."
_KINDS = {
    "ConfigParseError": "Correct that file.",
    "InvalidConfigError": "Correct ~/.aws/config.",
    "InfiniteLoopConfigError": "Correct ~/.aws/config.",
    "ProfileNotFound": "Set AWS_PROFILE to a profile that exists (aws configure list-profiles), or"
    " unset it.",
    "MissingDependencyException": "Install what it names, or sign in another way.",
    "EOFError": "Start it in a terminal, or sign in before and set the keys that you get.",
}
# by botocore's name of a source: in words, and what to do
_SOURCES: Mapping[str, tuple[str, str]] = {
    "env": (
        "environment",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY together, or neither of them.",
    ),
    "assume-role": (
        "role of the profile",
        "Check role_arn, source_profile and credential_source in ~/.aws/config, and whether this"
        " identity may assume the role.",
    ),
    "assume-role-with-web-identity": (
        "web identity",
        "Check AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN, or what stands for them in"
        " ~/.aws/config.",
    ),
    "sso": ("IAM Identity Center", _SIGN_IN),
    "login": ("console sign-in", "Sign in again: aws login."),
    "custom-process": (
        "credential_process",
        "Run its command by hand: it has to end soon, and to print JSON with Version,"
        " AccessKeyId, SecretAccessKey and, if they expire, an Expiration in the future.",
    ),
    "container-role": (
        "container's role",
        "Check the variables AWS_CONTAINER_*, or unset them outside of a container.",
    ),
    "iam-role": (
        "role of this machine",
        "Check the variables AWS_EC2_METADATA_* and AWS_METADATA_SERVICE_*; where there is no such"
        " role, set AWS_EC2_METADATA_DISABLED=true.",
    ),
}


def chain_failure(exc: BaseException) -> tuple[str, str] | None:
    """Cause and remedy of what botocore's chain of credentials raised; None for anything else."""
    source = chain_source([frame for frame, _ in traceback.walk_tb(exc.__traceback__)])
    return None if source is None else failure_of(source, _reason(exc), _own_remedy(exc))


def chain_source(frames: Sequence[FrameType]) -> str | None:
    """Botocore's name of the source that is asked in a stack, the outermost frame first; empty
    where it is not known, None outside of the chain."""
    inside = [frame for frame in frames if frame.f_globals.get("__name__") in _CHAIN]
    owners = [frame.f_locals.get("self") for frame in reversed(inside)]
    names = [getattr(owner, "METHOD", None) or getattr(owner, "method", "") for owner in owners]
    return next(filter(None, names), "") if inside else None


def failure_of(source: str, reason: str, remedy: str = "") -> tuple[str, str]:
    """Cause and remedy where a source, by botocore's name, gave no credentials."""
    words, usual = _SOURCES.get(source, ("", _CHECK))
    of_source = f" ({words})" if words else ""
    return f"The AWS credentials cannot be read{of_source}: {reason}.", remedy or usual


def session_failure(exc: BaseException) -> tuple[str, str]:
    """Cause and remedy of what was raised while a session was made or asked for credentials."""
    return chain_failure(exc) or failure_of("", _reason(exc), _own_remedy(exc))


def _own_remedy(exc: BaseException) -> str:
    """That of the kind of error, whatever its source; empty where the source tells it."""
    return _SIGN_IN if "ExpiredToken" in str(exc) else _KINDS.get(type(exc).__name__, "")


def _reason(exc: BaseException) -> str:
    text = " ".join(str(exc).split()).rstrip(".: ")
    match exc:
        case json.JSONDecodeError():
            return f"the answer is not JSON ({text})"
        case AttributeError() | KeyError() | TypeError():
            return f"the answer is not of the form that is asked for ({text})"
        case OSError() if exc.strerror:
            return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror
        case EOFError():
            return "a code of an MFA device is asked for, and there is no terminal to type it"
    if (told := getattr(exc, "kwargs", {}).get("error_msg")) is not None:
        return str(told).strip().rstrip(".") or "it failed and did not say why"
    return text

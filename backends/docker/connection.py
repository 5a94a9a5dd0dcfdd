"""The connection to a Docker Engine, and its errors as ours.

It is the engine that the docker command would use: DOCKER_HOST, else the current context.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from backends.docker.context import context_options
from core.credentials import mask_password
from core.errors import BackendError, Problem

if TYPE_CHECKING:
    from docker.api import APIClient

CALL_TIMEOUT_S = 60
POOL_SIZE = 16
"""Connections kept; docker-py's own 10 are fewer than our threads."""
_FAILED_REMEDY = (
    "Look at the engine's log, and at its free disk space (docker system df), then try again."
)
_UNREACHABLE = {
    "Permission denied|PermissionError": Problem(
        "This user may not use the Docker Engine: permission was denied on its socket.",
        "Join its group (sudo usermod -aG docker $USER, then log in again), or use a rootless"
        " engine.",
    ),
    "FileNotFoundError|No such file": Problem(
        "The Docker Engine is not running here: its socket does not exist.",
        "Start Docker, or set DOCKER_HOST to an engine elsewhere.",
    ),
    "paramiko": Problem(
        "The Docker Engine is reached over ssh://, and the package for that is not installed.",
        "Install it: pip install 'docker[ssh]'.",
    ),
    "[Cc]ertificate.* provided": Problem(
        "The certificates for the Docker Engine cannot be found.",
        "Put cert.pem, key.pem and ca.pem into DOCKER_CERT_PATH (~/.docker where it is not set), or"
        " unset it and DOCKER_TLS_VERIFY.",
    ),
    "(?i)timed out": Problem(
        "The Docker Engine did not answer in time.",
        "Check whether its machine is overloaded, then try again.",
    ),
}


def open_engine(environ: Mapping[str, str]) -> APIClient:
    """A client of the engine that `environ` and the docker configuration name.

    Raises BackendError when it does not answer.
    """
    from docker.api import APIClient
    from docker.errors import DockerException
    from docker.utils import kwargs_from_env

    with engine_errors(environ.get("DOCKER_HOST", "")):
        # an empty mapping would mean this process's own environment
        known: dict[str, Any] = {**kwargs_from_env({"": "", **environ})}
        if "base_url" not in known:
            known |= context_options(environ)
        try:
            return APIClient(
                version="auto",
                timeout=CALL_TIMEOUT_S,
                max_pool_size=POOL_SIZE,
                use_ssh_client=True,  # the user's own configuration and agent
                **known,
            )
        except ValueError as exc:  # for a port that is none
            raise DockerException(str(exc)) from exc
        except (AttributeError, LookupError, TypeError) as exc:
            raise BackendError(
                f"The docker configuration is damaged: {exc}.",
                "Correct config.json in ~/.docker, or where DOCKER_CONFIG says.",
            ) from exc


@contextmanager
def engine_errors(address: str = "") -> Iterator[None]:
    """Raises BackendError when the engine cannot be reached or fails; the message has `address`.

    Refusals of one request (4xx) pass as docker.errors.APIError.
    """
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except APIError as exc:
        if exc.status_code is not None and exc.status_code < 500:
            raise
        message = f"The Docker Engine failed: {engine_message(exc)}."
        raise BackendError(message, _FAILED_REMEDY) from exc
    except (DockerException, RequestException, HTTPError, OSError) as exc:
        problem = explain_unreachable(exc, address)
        raise BackendError(problem.what, problem.fix) from exc


def explain_unreachable(exc: BaseException, address: str = "") -> Problem:
    """Why the engine cannot be reached and the remedy, from the texts of nested errors."""
    text = str(exc)
    for pattern, problem in _UNREACHABLE.items():
        if re.search(pattern, text):
            return problem
    where = f" at {address}" if address else ""
    fix = "Start Docker, or correct DOCKER_HOST or the docker context."
    message = f"The Docker Engine{where} cannot be reached: {_innermost(text)}."
    return Problem(mask_password(message), fix)


def engine_message(exc: BaseException) -> str:
    """The engine's own message in an error of the SDK."""
    text = getattr(exc, "explanation", None) or str(exc)
    return " ".join(str(text).split()).rstrip(".")


def _innermost(text: str) -> str:
    """The innermost of nested error texts."""
    if reasons := re.findall(r"\[Errno -?\d+\] ([^'\")\]]+)", text):
        return str(reasons[-1])
    return " ".join(text.split())[-300:].rstrip(".")

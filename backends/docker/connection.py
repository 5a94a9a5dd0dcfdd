"""Reaching a Docker Engine: where it is, and its errors as ours.

The engine is the one that the docker command would use: DOCKER_HOST, else the current context.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from core.errors import BackendError, Problem

if TYPE_CHECKING:
    from docker.api import APIClient

CALL_TIMEOUT_S = 60
POOL_SIZE = 16
"""Connections kept; docker-py's own 10 are fewer than our threads."""
_UNWELL = (
    "Mend what it complains of, or look at its log. A full disk has many words: see"
    " docker system df, and df on its data directory."
)
_GROUP = "sudo usermod -aG docker $USER"


def open_engine(environ: Mapping[str, str], timeout_s: int = CALL_TIMEOUT_S) -> APIClient:
    """A client of the engine that `environ` and the docker configuration name.

    Raises BackendError when it does not answer.
    """
    from docker.api import APIClient
    from docker.context import ContextAPI
    from docker.utils import kwargs_from_env

    with engine_errors(environ.get("DOCKER_HOST", "")):
        # an empty mapping would mean this process's own environment
        known: dict[str, Any] = {**kwargs_from_env({"": "", **environ})}
        if "base_url" not in known:
            known |= ContextAPI.kwargs_from_context(environment=dict(environ))
        return APIClient(
            version="auto",
            timeout=timeout_s,
            max_pool_size=POOL_SIZE,
            use_ssh_client=True,  # the user's own configuration and agent
            **known,
        )


@contextmanager
def engine_errors(address: str = "") -> Iterator[None]:
    """What says that the engine is out of reach or unwell becomes a BackendError, which names its
    address where one is told.

    Answers about one thing only (4xx) pass as docker.errors.APIError.
    """
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except APIError as exc:
        if exc.status_code is not None and exc.status_code < 500:
            raise
        what = f"The Docker Engine failed: {said(exc)}."
        raise BackendError(what, _UNWELL) from exc
    except (DockerException, RequestException, HTTPError, OSError) as exc:
        problem = explain_unreachable(exc, address)
        raise BackendError(problem.what, problem.fix) from exc


def explain_unreachable(exc: BaseException, address: str = "") -> Problem:
    """Why the engine cannot be reached, and what to do; from the words of nested errors."""
    text = str(exc)
    if "Permission denied" in text or "PermissionError" in text:
        return Problem(
            "This user may not use the Docker Engine: permission was denied on its socket.",
            f"Join the group that may ({_GROUP}, then log in again), or use a rootless engine.",
        )
    if "FileNotFoundError" in text or "No such file" in text:
        return Problem(
            "There is no Docker Engine here: its socket does not exist.",
            "Start Docker, or point DOCKER_HOST at an engine elsewhere.",
        )
    if "paramiko" in text:
        return Problem(
            "An engine behind ssh:// needs a package that is not installed.",
            "Install it: pip install 'docker[ssh]'.",
        )
    if "timed out" in text.lower():
        return Problem(
            "The Docker Engine does not answer in time.", "See whether it is overloaded."
        )
    where = f" at {address}" if address else ""
    return Problem(
        f"The Docker Engine{where} cannot be reached: {_last_words(text)}.",
        "Start Docker, or correct DOCKER_HOST or the docker context.",
    )


def said(exc: BaseException) -> str:
    """The engine's own words in an error of the SDK."""
    words = getattr(exc, "explanation", None) or str(exc)
    return " ".join(str(words).split()).rstrip(".")


def _last_words(text: str) -> str:
    """The innermost of nested error texts."""
    if told := re.findall(r"\[Errno -?\d+\] ([^'\")\]]+)", text):
        return str(told[-1])
    return " ".join(text.split())[-300:].rstrip(".")

"""Checks a provider before a run: credentials that can be found, and one answer.

`find_credentials` and `find_problems` send nothing; `ask_once` makes one request, which is billed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import getproxies

from claude.client.client import connect
from claude.client.providers import check_secrets, tls_context
from claude.client.types import Call, Hooks
from claude.limits.governor import Governor
from core.aws.session import find_aws_credentials
from core.bundle import Limits, ModelSettings
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.errors import (
    ConnectionLost,
    ModelError,
    ModelUnavailable,
    OrchestratorError,
    Problem,
    refuse_if,
)
from core.events import AnswerProgress
from core.job import Usage
from core.waiting import announced

if TYPE_CHECKING:
    import httpx2

_SIMULATE = "or leave out --real to run a simulation."
_STALL_S = 30.0
_IDENTITY = tuple(f"ANTHROPIC_{x}" for x in ("PROFILE", "CONFIG_DIR", "FEDERATION", "IDENTITY"))
"""How the variables begin by which the SDK finds who one is."""
_LAST_PORT = 65_535
_PROXY_FIX = "Set HTTPS_PROXY, HTTP_PROXY and ALL_PROXY to http://host:port, or unset them."
_GREETING = Call(
    system=({"type": "text", "text": "Answer with one word."},),
    messages=({"role": "user", "content": [{"type": "text", "text": "Hello"}]},),
    max_tokens=1,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one request: `problem` when the provider cannot be used as it is, `warning`
    when it only cannot answer right now. `spent` is what was billed."""

    problem: Problem | None = None
    warning: str = ""
    spent: tuple[Usage, ...] = ()


def find_problems(
    model: ModelSettings, credentials: Credentials, say: Callable[[str], None] = lambda _: None
) -> list[Problem]:
    """Missing or malformed credentials for the real `model`; nothing for a simulated one. Raises
    SettingsError for a simulation whose faults cannot be read. A long wait is told to `say`."""
    if model.simulation is not None:
        from claude.simulation.faults import parse_faults

        parse_faults(model.simulation.faults)
        return []
    if (problem := find_network_problem()) is not None:
        return [problem]
    try:
        found = find_credentials(model, credentials, say)
    except OrchestratorError as exc:
        return [Problem(exc.message, exc.remedy)]
    return [] if found else [_MISSING[model.provider]]


def find_network_problem() -> Problem | None:
    """Proxy and certificate variables with which the SDK would fail without naming the cause."""
    import httpx2

    for scheme in ("http", "https", "all"):
        try:
            _check_proxy(getproxies().get(scheme, ""))
        except (ValueError, httpx2.InvalidURL):  # their text may repeat a password
            message = f"The proxy in {scheme.upper()}_PROXY cannot be used: it is not an address."
            return Problem(message, _PROXY_FIX)
    try:
        httpx2.Client(verify=tls_context()).close()
    except ImportError:
        return Problem("The proxy settings cannot be used: SOCKS is not supported.", _PROXY_FIX)
    except OSError as exc:
        if exc.filename:
            return Problem(
                f"The file {exc.filename} in SSLKEYLOGFILE cannot be written: {exc.strerror}.",
                "Set it to a file that can be, or unset it.",
            )
        return Problem(
            f"The certificates in SSL_CERT_FILE cannot be read: {exc.strerror or exc}.",
            "Set it to a file of certificates in PEM format, or unset it.",
        )
    return None


def _check_proxy(text: str) -> None:
    """Raises ValueError or InvalidURL for what is no address of a proxy."""
    import httpx2

    if not text:
        return
    url = httpx2.Proxy(text if "://" in text else f"http://{text}").url
    if not re.fullmatch(r"[\w.:-]+", url.host) or (url.port or 0) > _LAST_PORT:
        raise ValueError


def find_credentials(
    model: ModelSettings, credentials: Credentials, say: Callable[[str], None] = lambda _: None
) -> str:
    """Where the credentials for `model` come from, for people; empty when there are none. Raises
    OrchestratorError when there are some that cannot be used."""
    if model.provider != "bedrock":
        return _source(model, credentials)
    with announced("AWS credentials", say):
        return _aws_source(credentials)


def try_models(
    models: Iterable[ModelSettings],
    credentials: Credentials,
    problems: Sequence[Problem] = (),
    *,
    clock: Clock,
    governor: Governor,
    warn: Callable[[str], None],
) -> tuple[Usage, ...]:
    """One request of one token to each real one of `models`, and what they used.

    Raises PreflightFailed when one cannot be used, with the `problems` known before, in which case
    nothing is sent; warns when it is only busy.
    """
    models = tuple(models)
    found = [problem for model in models for problem in find_problems(model, credentials, warn)]
    refuse_if([*dict.fromkeys(found), *problems])
    answers: list[Answer] = []
    for model in models:
        if model.simulation is None:
            answers.append(ask_once(model, credentials, clock=clock, governor=governor, tell=warn))
            if answers[-1].problem:
                governor = Governor()  # one that met a refusal lets nothing through any more
    refuse_if([answer.problem for answer in answers if answer.problem])
    for warning in dict.fromkeys(answer.warning for answer in answers if answer.warning):
        warn(warning)
    return tuple(usage for answer in answers for usage in answer.spent)


def ask_once(
    model: ModelSettings,
    credentials: Credentials,
    *,
    clock: Clock,
    governor: Governor | None = None,
    transport: httpx2.BaseTransport | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Make the smallest possible request. A shared `governor` learns of a rate limit; `tell` gets a
    line for people while nothing comes."""
    spent: list[Usage] = []

    def answering(progress: AnswerProgress) -> None:
        if progress.silent_s:
            tell(f"No answer from {model.model} for {progress.silent_s:.0f} s.")

    problem, warning = None, ""
    for is_last in (False, True):  # a single lost connection may be chance
        try:
            with connect(
                model,
                credentials,
                clock=clock,
                governor=governor or Governor(),
                limits=Limits(request_retries=0, stall_s=_STALL_S),
                hooks=Hooks(on_usage=spent.append, on_answering=answering),
                transport=transport,
            ) as claude:
                claude.send(_GREETING)
        except ModelError as exc:
            lost = isinstance(exc, ConnectionLost)
            if lost and not is_last:
                continue
            if isinstance(exc, ModelUnavailable) and not lost:
                warning = f"{exc.message} A run waits and tries again."
            else:
                problem = Problem(exc.message, exc.remedy)
        break
    return Answer(problem, warning, tuple(spent))


_MISSING = {
    "anthropic": Problem(
        "No key for the Anthropic API was found.",
        f"Set ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN), {_SIMULATE}",
    ),
    "bedrock": Problem(
        "No AWS credentials for Bedrock were found.",
        "Set AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK,"
        f" or use a role, {_SIMULATE}",
    ),
}


def _source(model: ModelSettings, credentials: Credentials) -> str:
    """As the SDK sees it, which also knows profiles and workload identity; it is loaded, for
    seconds, only where it may find one."""
    check_secrets(credentials)
    if credentials.anthropic_api_key:
        token = credentials.anthropic_auth_token
        return "ANTHROPIC_API_KEY" + (" (ANTHROPIC_AUTH_TOKEN is not used)" if token else "")
    if credentials.anthropic_auth_token:
        return "ANTHROPIC_AUTH_TOKEN"
    if not _may_have_identity():
        return ""
    from claude.client.providers import open_sdk
    from claude.errors.vendor_errors import Endpoint, vendor_errors

    clock = SystemClock()
    unconnected = Endpoint(model, "not connected", credentials.mask, clock.time)
    with vendor_errors(unconnected), open_sdk(model, credentials, clock) as sdk:
        found = getattr(sdk, "credentials", None)
        return "a profile or identity that the SDK found" if found else ""


def _may_have_identity() -> bool:
    """Whether anything is there that the SDK looks for."""
    if any(name.startswith(_IDENTITY) and os.environ[name] for name in os.environ):
        return True
    try:
        return (Path.home() / ".config" / "anthropic").exists()
    except (OSError, RuntimeError):
        return True  # the SDK says what is wrong there


def _aws_source(credentials: Credentials) -> str:
    if credentials.aws_bearer_token_bedrock:
        return "AWS_BEARER_TOKEN_BEDROCK"
    if credentials.aws_access_key_id and credentials.aws_secret_access_key:
        token = " with a session token" if credentials.aws_session_token else ""
        return f"an AWS access key{token}"
    if (found := find_aws_credentials(credentials)) is None:
        return ""
    profile = f"profile {credentials.aws_profile}, " if credentials.aws_profile else ""
    return f"{profile}{found.method}"

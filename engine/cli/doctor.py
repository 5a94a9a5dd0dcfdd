"""`doctor`: looks at this machine, each backend and each provider, and says what to do.

Every look gives Checks; `render_check` shows one and `exit_code` judges those that matter for the
backend and provider chosen. Only the chosen provider is asked, by one request of one token.
"""

from __future__ import annotations

import json
import secrets
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from backends import BACKENDS, backend_class
from backends.base import Backend, BackendContext
from config import Settings
from core.bundle import AttemptDir, ModelSettings
from core.clock import Clock
from core.credentials import Credentials
from core.errors import OrchestratorError, Problem
from core.settings.worker import DEFAULT_MODELS
from core.workspace.confined import remove_tree
from engine.cli.options import DoctorOptions
from engine.views.format import clean

OLDEST_PYTHON = (3, 11)
PACKAGES = ("anthropic", "boto3", "click", "docker", "genai-prices", "httpx2", "pydantic", "rich")
_WIDTH = 80
_LONGEST_CHARS = 1_000


class CheckState(StrEnum):
    OK = "ok"
    NOTE = "note"  # nothing to judge, or not looked at
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """One look at one thing. A PROBLEM that is not `needed` is of something not chosen."""

    subject: str
    verdict: CheckState
    said: str
    fix: str = ""
    needed: bool = True


def report(
    settings: Settings,
    environ: Mapping[str, str],
    clock: Clock,
    say: Callable[[str], None],
    wishes: DoctorOptions = DoctorOptions(),  # noqa: B008 - a frozen value
) -> int:
    """Say each check as soon as it is made; gives the exit code."""
    checks: list[Check] = []
    for check in examine(settings, environ, clock, wishes):
        say(render_check(check, as_json=settings.json_lines))
        checks.append(check)
    return exit_code(checks)


def examine(
    settings: Settings, environ: Mapping[str, str], clock: Clock, wishes: DoctorOptions
) -> Iterator[Check]:
    """All checks, each as soon as it is made."""
    credentials = settings.credentials(environ)
    if wishes.register_job_definition:
        check, settings = register_job_definition(settings, credentials, clock, environ)
        yield check
    yield check_python(sys.version_info[:3])
    yield from check_packages(PACKAGES)
    yield check_work_dir(settings.work_dir)
    for name in dict.fromkeys((settings.backend, *BACKENDS)):
        asked = wishes if name == settings.backend else DoctorOptions()
        yield from check_backend(name, settings, credentials, clock, environ, asked)
    yield from check_engine(settings, environ)
    for provider in dict.fromkeys((settings.provider, *DEFAULT_MODELS)):
        yield from check_provider(provider, settings, credentials, clock)


def register_job_definition(
    settings: Settings, credentials: Credentials, clock: Clock, environ: Mapping[str, str]
) -> tuple[Check, Settings]:
    """Make a job definition for AWS Batch; gives the settings with that one and that backend.

    Raises UsageError for what cannot be one, BackendError where AWS refuses.
    """
    from backends.batch.register import register

    run_dir = settings.work_dir / "runs" / "doctor"
    context = BackendContext(run_dir, credentials, clock, _NoWork(), settings.options(), environ)
    made = register(context)
    word = "registered" if made.is_new else "is registered already"
    said = f"{made.name} {word}; use it with --batch-job-definition {made.name}"
    changed = replace(settings, backend="batch", batch_job_definition=made.name)
    return Check("job definition", CheckState.OK, said), changed


def exit_code(checks: Sequence[Check]) -> int:
    """0 all well; 3 when the chosen provider or backend, or this machine, is not usable."""
    return 3 if any(c.verdict is CheckState.PROBLEM and c.needed for c in checks) else 0


def check_python(version: tuple[int, ...]) -> Check:
    said, wanted = (".".join(map(str, v)) for v in (version, OLDEST_PYTHON))
    if version < OLDEST_PYTHON:
        return Check(
            "Python", CheckState.PROBLEM, f"{said} is too old", f"Use Python {wanted} or newer."
        )
    return Check("Python", CheckState.OK, said)


def check_packages(names: Sequence[str]) -> Iterator[Check]:
    found: list[str] = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield Check(
                "packages",
                CheckState.PROBLEM,
                f"{name} is not installed",
                "Install this program again (make setup, or pip install .).",
            )
    yield Check("packages", CheckState.OK, ", ".join(found))


def check_work_dir(work_dir: Path) -> Check:
    """Whether runs can be kept there; leaves nothing behind, not the directory either."""
    there = next(p for p in (work_dir, *work_dir.parents) if p.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".doctor-"):
            pass
    except OSError as exc:
        return Check(
            "work directory",
            CheckState.PROBLEM,
            f"{work_dir} cannot be written: {exc.strerror}",
            "Give another place with --work-dir.",
        )
    made = "" if there == work_dir else ", made by the first run"
    return Check("work directory", CheckState.OK, f"{work_dir}{made}")


def check_backend(
    name: str,
    settings: Settings,
    credentials: Credentials,
    clock: Clock,
    environ: Mapping[str, str],
    wishes: DoctorOptions,
) -> Iterator[Check]:
    """What the backend's own preflight says, and its probe where that is wished. Raises UsageError
    for a backend there is not."""
    subject, chosen = f"backend {name}", name == settings.backend
    run_dir = settings.work_dir / "runs" / f"doctor-{secrets.token_hex(4)}"
    options = settings.options()
    context = BackendContext(run_dir, credentials, clock, _NoWork(), options, environ)
    with closing(backend_class(name).build(context)) as backend:
        problems, said = backend.preflight(), "usable"
        if wishes.probe and not problems:
            found = _probe(backend, run_dir)
            problems = found or []
            said = (
                "usable; a small job ran well" if found is not None else "usable; it has no probe"
            )
    for problem in problems:
        yield Check(subject, CheckState.PROBLEM, problem.what, problem.fix, chosen)
    if not problems:
        yield Check(subject, CheckState.OK, said, needed=chosen)


def _probe(backend: Backend, run_dir: Path) -> list[Problem] | None:
    """In a place that is nobody's run; what was made for it goes again."""
    try:
        return backend.probe()
    finally:
        remove_tree(run_dir)
        for empty in (run_dir.parent, run_dir.parent.parent):  # by who never ran anything here
            with suppress(OSError):
                empty.rmdir()


def check_engine(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """What the Claude Code CLI needs, where it is the engine; the other one needs nothing."""
    from claude.engines.cli_preflight import find_cli_problems

    subject, model = f"engine {settings.engine}", real_model(settings.provider, settings)
    in_process = backend_class(settings.backend).in_process
    problems = find_cli_problems(model, environ, in_process)
    for problem in problems:
        yield Check(subject, CheckState.PROBLEM, problem.what, problem.fix)
    if not problems:
        yield Check(subject, CheckState.OK, "usable")


def check_provider(
    provider: str, settings: Settings, credentials: Credentials, clock: Clock
) -> Iterator[Check]:
    """Which credentials there are; of the chosen provider, also what one request came to."""
    from claude.preflight import find_credentials, find_problems

    subject, chosen = f"provider {provider}", provider == settings.provider
    model = real_model(provider, settings)
    if problems := find_problems(model, credentials):
        verdict = CheckState.PROBLEM if chosen else CheckState.NOTE
        for problem in problems:
            yield Check(subject, verdict, problem.what, problem.fix, chosen)
        return
    source = find_credentials(model, credentials)
    said = f"credentials: {source}"
    if not chosen:
        yield Check(subject, CheckState.NOTE, f"{said}; not asked (--provider {provider} asks)")
        return
    yield Check(subject, CheckState.OK, said)
    yield from _ask(subject, model, credentials, clock)


def _ask(
    subject: str, model: ModelSettings, credentials: Credentials, clock: Clock
) -> Iterator[Check]:
    from claude.preflight import ask_once

    answer = ask_once(model, credentials, clock=clock)
    if answer.problem is not None:
        yield Check(subject, CheckState.PROBLEM, answer.problem.what, answer.problem.fix)
    elif answer.warning:
        yield Check(subject, CheckState.WARNING, answer.warning)
    else:
        tokens = sum(usage.total_tokens for usage in answer.spent)
        took_s = sum(usage.duration_s for usage in answer.spent)
        cost = f"that took {tokens} tokens, which is next to nothing"
        yield Check(subject, CheckState.OK, f"{model.model} answered in {took_s:.1f} s; {cost}")


def real_model(provider: str, settings: Settings) -> ModelSettings:
    """What a real run with this provider would ask."""
    model = settings.model if provider == settings.provider else DEFAULT_MODELS[provider]
    changed: dict[str, Any] = {"real": True, "provider": provider, "model": model}
    return replace(settings, **changed).model_settings()


class _NoWork:
    """In the place of a worker: a backend that is only looked at runs nothing."""

    def __call__(self, attempt: AttemptDir, claimant: str, clock: Clock) -> object:
        raise OrchestratorError("doctor runs no jobs.")


def render_check(check: Check, *, as_json: bool) -> str:
    """Lines of 80 columns, or one JSON line."""
    if as_json:
        return json.dumps(asdict(check)) + "\n"
    indent = max(len(v) for v in CheckState) + 2
    said = f"{clean(check.subject)}: {clean(check.said, _LONGEST_CHARS)}"
    lines = _wrapped(said, f"{check.verdict:{indent}}", indent)
    if check.fix:
        lines += _wrapped(f"fix: {clean(check.fix, _LONGEST_CHARS)}", " " * indent, indent + 5)
    return "\n".join(lines) + "\n"


def _wrapped(text: str, first: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )

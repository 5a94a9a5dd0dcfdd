"""`doctor`: checks this machine, each backend and each provider, and says what to do. Only the
chosen provider is asked, with one request of one token."""

import json
import platform
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any

from backends import BACKENDS, backend_class, installed_backends
from backends.base import Backend, BackendContext
from config import SETTINGS, LoadedSettings, Settings
from core.bundle import Models, ModelSettings
from core.checks.toolchain import render_tools
from core.clock import Clock
from core.credentials import Credentials
from core.errors import BackendError, OrchestratorError, Problem
from core.settings.options import Group
from core.settings.worker import DEFAULT_MODELS
from core.waiting import announced
from core.workspace.confined import remove_tree
from engine.views.console import print_line
from engine.views.format import clean, wrapped

PACKAGES = ("anthropic", "boto3", "click", "docker", "genai-prices", "httpx2", "pydantic", "rich")
_LONGEST_CHARS = 1_000
_MACHINE = ("Python", "packages", "work directory")
_TITLES = {"batch": "AWS Batch", "parallelcluster": "ParallelCluster"}
_TITLES |= {name: name.capitalize() for name in ("docker", "slurm")}
_ABSENT = "not set up"
_OWN = "threading"
"""The backend that needs nothing."""


class CheckState(StrEnum):
    OK = "ok"
    NOTE = "note"  # of what was not asked about
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Check:
    """What was found of one thing. What is not `needed` was not asked about: never a PROBLEM."""

    subject: str
    state: CheckState
    message: str
    fix: str = ""
    needed: bool = True


def report(checks: Iterable[Check], write: Callable[[str], None], *, as_json: bool) -> int:
    """Write the verdict, then each check; gives the exit code."""
    done = list(checks)
    text = find_verdict(done)
    if as_json:
        done.insert(0, Check("verdict", CheckState.NOTE, text))
    else:
        write("\n".join([*wrapped(text, "", 0), "", ""]))
    write("".join(render_check(check, as_json=as_json) for check in done))
    return exit_code(done)


def examine(
    settings: Settings,
    environ: Mapping[str, str],
    clock: Clock,
    *,
    asks_real: bool,
    probe: bool,
    register: bool,
) -> Iterator[Check]:
    """All checks, each as soon as it is made. `asks_real`: real runs are asked about, and not only
    simulations. `probe` runs a small job on the backend, `register` first makes a job definition
    for AWS Batch, if there is no such one.

    Raises UsageError for an unknown backend and for what cannot be a job definition.
    """
    credentials = settings.credentials(environ)

    def context(name: str) -> BackendContext:
        run_dir = settings.work_dir / "runs" / name
        options = settings.options()
        return BackendContext(run_dir, credentials, clock, _refuse_work, options, environ)

    if register:
        from backends.batch.definition import register as register_definition

        try:
            made = register_definition(context("doctor"))
        except BackendError as exc:
            yield Check("job definition", CheckState.PROBLEM, exc.message, exc.remedy)
            return
        settings = replace(settings, backend="batch", batch_job_definition=made.name)
        word = "registered" if made.is_new else "was registered before"
        message = f"{made.name} {word}; use it with --batch-job-definition {made.name}"
        yield Check("job definition", CheckState.OK, message)
    yield Check("Python", CheckState.OK, platform.python_version())
    yield from check_packages(PACKAGES)
    yield check_work_dir(settings.work_dir)
    for backend in dict.fromkeys((settings.backend, *BACKENDS)):
        chosen = backend == settings.backend
        place = context(f"doctor-{secrets.token_hex(4)}")
        yield from check_backend(backend, place, chosen, with_probe=chosen and probe)
    yield from check_installed_backends()
    yield from check_engine(settings, environ)
    for provider in dict.fromkeys((settings.provider, *DEFAULT_MODELS)):
        yield from check_provider(provider, settings, credentials, clock, asks_real=asks_real)


def asks_real(loaded: LoadedSettings) -> bool:
    """Whether the command is about a provider or a model; otherwise a simulation is enough."""
    of_claude = {s.key for s in SETTINGS if s.group in (Group.MODEL, Group.BEDROCK)}
    return loaded.settings.real or not of_claude.isdisjoint(loaded.given)


def find_verdict(checks: Sequence[Check]) -> str:
    """What can be run here, in a line."""
    of: dict[str, list[Check]] = {}
    for check in checks:
        of.setdefault(check.subject, []).append(check)
    machine = [found for subject in _MACHINE for found in of.get(subject, ())]
    parts = {"Simulation": _readiness(machine)} if machine else {}
    asked = next((found for subject, found in of.items() if subject.startswith("provider ")), None)
    if asked is not None:
        has_key = asked[0].state is CheckState.OK
        parts["Real runs"] = _readiness(asked) if has_key else "need a key"
    for subject, found in of.items():
        kind, _, name = subject.partition(" ")
        if kind == "backend" and name != _OWN:
            parts[_TITLES.get(name, clean(name))] = _readiness(found)
    absent = [name for name, state in parts.items() if state == _ABSENT]
    told = [f"{name}: {state}." for name, state in parts.items() if state != _ABSENT]
    return " ".join([*told, *([f"{', '.join(absent)}: {_ABSENT}."] if absent else [])])


def _readiness(checks: Sequence[Check]) -> str:
    states = {check.state for check in checks}
    if CheckState.PROBLEM in states:
        return "not ready"
    return _ABSENT if states == {CheckState.NOTE} else "ready"


def exit_code(checks: Sequence[Check]) -> int:
    """0 all well; 3 when this machine, or what was asked about, is not usable."""
    return 3 if any(c.state is CheckState.PROBLEM and c.needed for c in checks) else 0


def check_packages(names: Sequence[str]) -> Iterator[Check]:
    found: list[str] = []
    for name in names:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            fix = "Install this program again: make setup, or pip install ."
            yield Check("packages", CheckState.PROBLEM, f"{name} is not installed", fix)
    yield Check("packages", CheckState.OK, ", ".join(found))


def check_work_dir(work_dir: Path) -> Check:
    """Whether runs can be kept there; leaves nothing behind, not the directory either."""
    try:
        there = next(p for p in (work_dir, *work_dir.parents) if p.exists())
        tempfile.NamedTemporaryFile(dir=there, prefix=".doctor-").close()
    except OSError as exc:
        message = f"{work_dir} cannot be written: {exc.strerror}"
        fix = "Give another directory with --work-dir."
        return Check("work directory", CheckState.PROBLEM, message, fix)
    later = "" if there == work_dir else ", which the first run creates"
    return Check("work directory", CheckState.OK, f"{work_dir}{later}")


def check_backend(
    name: str, context: BackendContext, chosen: bool, *, with_probe: bool
) -> Iterator[Check]:
    """What the backend's own preflight finds, and its probe. Raises UsageError for an unknown
    backend."""
    subject, message = f"backend {name}", "usable"
    with closing(backend_class(name).build(context)) as backend:
        with announced(f"the {subject}", print_line):
            problems: list[Problem] | None = backend.preflight()
        if with_probe and not problems:
            with announced(f"the test job of the {subject}", print_line):
                problems = _probe(backend, context.run_dir)
            message = "usable; it has no probe" if problems is None else "usable; a test job ran"
    if problems and not chosen:
        more = f" ({len(problems) - 1} more: ask with --backend {name})" if problems[1:] else ""
        yield Check(subject, CheckState.NOTE, problems[0].what + more, problems[0].fix, chosen)
        return
    for problem in problems or ():
        yield Check(subject, CheckState.PROBLEM, problem.what, problem.fix, chosen)
    if not problems:
        image = f"; the image has {render_tools(backend.programs)}" if backend.programs else ""
        yield Check(subject, CheckState.OK, message + image, needed=chosen)


def check_installed_backends() -> Iterator[Check]:
    """Those of other packages, without importing any."""
    found = installed_backends()
    if names := [f"{each.name} ({each.package})" for each in found if each.name not in BACKENDS]:
        message = f"{', '.join(names)}; not looked at (look at one with --backend)"
        yield Check("backends of others", CheckState.NOTE, message, needed=False)
    for each in found:
        if each.name in BACKENDS:
            message = f"{each.name} of {each.package} is not used: the program's own has its name"
            fix = f"Name it by its class: --backend {each.path}"
            yield Check("backends of others", CheckState.WARNING, message, fix)


def _probe(backend: Backend, run_dir: Path) -> list[Problem] | None:
    """In a directory that belongs to no run; what was made for it is removed again."""
    try:
        return backend.probe()
    finally:
        remove_tree(run_dir)
        for empty in (run_dir.parent, run_dir.parent.parent):  # where nothing was ever run
            with suppress(OSError):
                empty.rmdir()


def check_engine(settings: Settings, environ: Mapping[str, str]) -> Iterator[Check]:
    """What the Claude Code CLI needs, where it is the engine; the API needs nothing."""
    from claude.engines.cli_setup import find_cli_problems

    subject, model = f"engine {settings.engine}", real_models(settings.provider, settings).executor
    problems = find_cli_problems(model, environ, backend_class(settings.backend).in_process)
    for problem in problems:
        yield Check(subject, CheckState.PROBLEM, problem.what, problem.fix)
    if not problems:
        yield Check(subject, CheckState.OK, "usable")


def check_provider(
    provider: str,
    settings: Settings,
    credentials: Credentials,
    clock: Clock,
    *,
    asks_real: bool,
) -> Iterator[Check]:
    """Which credentials there are; of the chosen provider, also how each model answered once. That
    there are none is a problem only where real runs are asked about."""
    from claude.preflight import find_credentials, find_problems

    subject, chosen = f"provider {provider}", provider == settings.provider
    models = real_models(provider, settings)
    model = models.executor
    if problems := find_problems(model, credentials, print_line):
        needed = chosen and asks_real
        state = CheckState.PROBLEM if needed else CheckState.NOTE
        for problem in problems:
            yield Check(subject, state, problem.what, problem.fix, needed)
        return
    message = f"credentials: {find_credentials(model, credentials)}"
    if not chosen:
        message += f"; not asked (ask it with --provider {provider})"
        yield Check(subject, CheckState.NOTE, message)
        return
    yield Check(subject, CheckState.OK, message)
    for each in models.each:
        yield _ask(subject, each, credentials, clock)


def _ask(subject: str, model: ModelSettings, credentials: Credentials, clock: Clock) -> Check:
    from claude.preflight import ask_once

    answer = ask_once(model, credentials, clock=clock, tell=print_line)
    if answer.problem is not None:
        return Check(subject, CheckState.PROBLEM, answer.problem.what, answer.problem.fix)
    if answer.warning:
        return Check(subject, CheckState.WARNING, answer.warning)
    tokens = sum(usage.total_tokens for usage in answer.spent)
    took_s = sum(usage.duration_s for usage in answer.spent)
    message = f"{model.model} answered in {took_s:.1f} s, for {tokens} tokens"
    return Check(subject, CheckState.OK, message)


def real_models(provider: str, settings: Settings) -> Models:
    """The models that a real run with this provider would ask."""
    changed: dict[str, Any] = {"real": True}
    if provider != settings.provider:
        efforts = dict.fromkeys(("planner_effort", "executor_effort"))
        ids = dict.fromkeys(("model", "planner_model", "executor_model"), DEFAULT_MODELS[provider])
        changed |= {"provider": provider, **ids, **efforts}
    return replace(settings, **changed).models()


def _refuse_work(*_: object, **__: object) -> object:
    raise OrchestratorError("doctor runs no jobs.")


def render_check(check: Check, *, as_json: bool) -> str:
    """Lines of at most 80 columns, or one JSON line."""
    if as_json:
        return json.dumps(asdict(check)) + "\n"
    indent = max(len(state) for state in CheckState) + 2
    found = f"{clean(check.subject)}: {clean(check.message, _LONGEST_CHARS)}"
    lines = wrapped(found, f"{check.state:{indent}}", indent)
    if check.fix:
        lines += wrapped(f"fix: {clean(check.fix, _LONGEST_CHARS)}", " " * indent, indent + 5)
    return "\n".join(lines) + "\n"

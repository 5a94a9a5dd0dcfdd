"""Everything that can be known to be wrong is found here, before anything is written."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from backends import backend_class
from backends.base import Backend, BackendContext
from claude.engines.cli_setup import find_cli_problems
from claude.limits.governor import Governor
from claude.preflight import try_provider
from claude.prices import check_priced
from config import LoadedSettings, Settings
from core.clock import Clock
from core.credentials import Credentials
from core.errors import refuse_if
from core.job import Usage
from engine.delivery.target import check_target
from engine.pipeline import last_delivery
from engine.run.rundir import RunDir, RunFacts
from engine.views.approval import check_can_ask
from engine.views.console import tell, tell_warnings
from executor_agent import ThreadWorker
from planner_agent import AskForPlan, ask_for_plan


@dataclass(frozen=True)
class Work:
    """One run as this process will carry it out."""

    settings: Settings
    facts: RunFacts
    directory: RunDir
    credentials: Credentials
    governor: Governor
    """One for the planner and all executors of this process."""
    backend: Backend
    ask: AskForPlan
    spent: tuple[Usage, ...] = ()  # by the preflight

    def close(self) -> None:
        """Let go of the backend's connections."""
        self.backend.close()


def prepare(
    loaded: LoadedSettings,
    facts: RunFacts,
    directory: RunDir,
    environ: Mapping[str, str],
    clock: Clock,
) -> Work:
    """What it gives is to be closed. Raises UsageError, and PreflightFailed with all that backend
    and provider lack."""
    settings, credentials = loaded.settings, loaded.settings.credentials(environ)
    tell_warnings(loaded.warnings)
    if settings.approve:
        check_can_ask(sys.stdin)
    check_priced(settings.model_settings(), settings.max_cost)
    check_target(Path(facts.target), last_delivery(directory, facts), settings.work_dir)
    governor = Governor()
    worker = ThreadWorker(credentials, governor)
    context = BackendContext(
        directory.root, credentials, clock, worker, settings.options(), environ
    )
    with ExitStack() as stack:
        backend = stack.enter_context(closing(backend_class(settings.backend).build(context)))
        ask = choose_planner(settings, context)
        model, problems = settings.model_settings(), backend.preflight()
        problems += find_cli_problems(model, environ, backend.in_process)
        spent = try_provider(
            model, credentials, problems, clock=clock, governor=governor, warn=tell
        )
        stack.pop_all()
    return Work(settings, facts, directory, credentials, governor, backend, ask, spent)


def choose_planner(settings: Settings, context: BackendContext) -> AskForPlan:
    """Who is asked for plans. Raises PreflightFailed when that one cannot work here."""
    if not settings.planner_in_docker:
        return ask_for_plan
    from backends.docker.planner import ContainedPlanner

    contained = ContainedPlanner(context)
    if settings.backend != "docker":  # whose own preflight looks at the same
        refuse_if(contained.problems())
    return contained

"""Finds everything that can be known to be wrong before anything is written or paid for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from backends import backend_class
from backends.base import Backend, BackendContext
from claude.client.types import Hooks
from claude.engines.cli_setup import find_cli_problems
from claude.limits.governor import Governor
from claude.preflight import try_models
from claude.prices import check_priced, kept_pricing, pricing, settle_prices
from claude.prompts import render_surroundings
from config import Settings
from core.bundle import Allowance, Models, ModelSettings
from core.clock import Clock
from core.context import NO_CONTEXT, Context
from core.errors import TargetRefused, refuse_if
from core.events import AnswerProgress, Part
from core.job import Amount, Manifest, Usage
from core.plan import Plan
from core.waiting import announced
from core.worker.planning import NO_FAILURE, Failure, Parallel, PlanningRequest, Revision
from engine.delivery.deliver import last_delivery
from engine.delivery.target_check import absolute, check_target
from engine.money.usage import Price
from engine.planning.expectations import Expectations
from engine.planning.forecast import most_of_planning
from engine.planning.history import read_history
from engine.repository.base import BaseRecord, check_there, read_base
from engine.repository.file_log import log_of
from engine.repository.find import find_base
from engine.repository.git import git_program
from engine.repository.map.repo_map import render_map
from engine.repository.part import SendLimit
from engine.run.context_files import (
    ContextFile,
    build_context,
    read_context_files,
    stored_context,
)
from engine.run.rundir import RunDir, RunFacts, held_alone, reserved
from engine.run.session import storing
from executor_agent import ThreadWorker
from planner_agent import AskForPlan, ask_for_plan


@dataclass(frozen=True, slots=True)
class SeenCode:
    """Existing code as a planner is shown it: the map, where it may look, what is not there to be
    written, how much of it executors get if that is not the whole, how the command ended that the
    prompt reports as failing, and what tells of a path's commits."""

    map: str = ""
    root: str = ""
    left_out: tuple[str, ...] = ()
    part_limit: str = ""
    failure: Failure = NO_FAILURE
    manifest: Manifest = Manifest(())  # noqa: RUF009 - a frozen value
    log: Callable[[str], str] | None = None

    @classmethod
    def of(cls, base: BaseRecord, run: RunDir) -> Self:
        left_out = tuple(left.path for left in base.left_out)
        seen = render_map(base, run.base)
        limit, log = SendLimit().told_for(base.manifest), log_of(base)
        return cls(seen, str(run.base), left_out, limit, manifest=base.manifest, log=log)


@dataclass(frozen=True)
class PreparedRun:
    """One run as this process will carry it out. Close it: it holds the backend's connections, and
    the target."""

    settings: Settings
    models: Models
    facts: RunFacts
    directory: RunDir
    context: BackendContext
    governor: Governor
    """One for the planner and all executors of this process."""
    backend: Backend
    ask: AskForPlan
    expectations: Expectations
    preflight_usage: tuple[Usage, ...] = ()
    context_files: tuple[ContextFile, ...] = ()
    code: SeenCode = SeenCode()
    held: ExitStack = field(default_factory=ExitStack)

    @property
    def price(self) -> Price:
        return pricing(*self.models.each)

    @property
    def can_start_early(self) -> bool:
        """Whether tasks may begin before the whole plan is written. On existing code they wait, as
        a contract may replace a file that each of them is given."""
        settings = self.settings
        waits = settings.approve or settings.no_early_start or settings.planner_in_docker
        return not (waits or settings.into) and settings.parallel != "never"

    def expected_planning(self) -> Part | None:
        """What making a plan will take; None where there is one."""
        if not _asks_planner(self.settings, self.directory):
            return None
        return self.expectations.planning(self.facts.prompt)

    def most_of_planning(self) -> Amount:
        """What to set aside for it."""
        model, given = self.models.planner, self.expectations.given
        return most_of_planning(self.facts.prompt, self.price, model, given)

    def ask_for_plan(
        self,
        allowance: Allowance,
        on_usage: Callable[[Usage], None],
        report: Callable[[str | AnswerProgress], None],
        revisions: tuple[Revision, ...] = (),
    ) -> Plan:
        """Raises what the planner raises."""
        hooks = Hooks(on_usage, report, on_answering=report)
        return self.ask_beside(allowance, self.context.clock, hooks, revisions)

    def ask_beside(
        self,
        allowance: Allowance,
        clock: Clock,
        hooks: Hooks,
        revisions: tuple[Revision, ...] = (),
    ) -> Plan:
        """The same for another thread, whose clock may end it."""
        prompt, model = self.facts.prompt, self.models.planner
        given = build_context(self.context_files)
        request = planning_request(self.settings, model, prompt, allowance, given, self.code)
        request = replace(request, revisions=revisions)
        hooks = replace(hooks, file_log=self.code.log)
        return self.ask(request, self.context.credentials, self.governor, clock, hooks)

    def seeing(self, code: SeenCode) -> "PreparedRun":
        """With a planner that is shown the existing code."""
        return replace(self, code=code, expectations=self.expectations.of_code(code.manifest))

    def close(self) -> None:
        self.backend.close()
        self.held.close()


def planning_request(
    settings: Settings,
    model: ModelSettings,
    prompt: str,
    allowance: Allowance,
    given: Context = NO_CONTEXT,
    code: SeenCode = SeenCode(),
) -> PlanningRequest:
    """What a planner is asked under these settings."""
    tools = backend_class(settings.backend).worker_tools
    commands = settings.allow_commands or bool(tools)
    return PlanningRequest(
        prompt,
        model,
        settings.limits(),
        allowance,
        parallel=Parallel(settings.parallel),
        executors=settings.max_executors,
        surroundings=render_surroundings(settings.max_executors, commands=commands, tools=tools),
        repository=code.map,
        root=code.root,
        left_out=code.left_out,
        part_limit=code.part_limit,
        failure=code.failure,
        context=given,
    )


def prepare_run(
    settings: Settings,
    facts: RunFacts,
    directory: RunDir,
    environ: Mapping[str, str],
    clock: Clock,
    warn: Callable[[str], None],
) -> PreparedRun:
    """Check the settings, the target, the backend and the provider, and open the backend.

    Raises UsageError, also for what --context names, and PreflightFailed with all that backend and
    provider lack.
    """
    models = settle_prices(settings.models())
    used = models.each if _asks_planner(settings, directory) else (models.executor,)
    check_priced(used, settings.max_cost)
    governor = Governor()
    context = backend_context(settings, directory.root, governor, environ, clock)
    with storing():
        files = read_context_files(settings.context, context.credentials.mask)
        files = files or stored_context(directory)
    with ExitStack() as stack:
        if settings.git:
            git_program()
        stack.enter_context(_holding_target(settings, facts, directory))
        backend = stack.enter_context(closing(backend_class(settings.backend).build(context)))
        with announced(f"the backend {settings.backend}", warn):
            lacks = backend.preflight()
        with announced("the planner's Docker Engine", warn):
            ask = choose_planner(settings, context)
        cli = find_cli_problems(models.executor, environ, backend.in_process)
        usage = try_models(
            used,
            context.credentials,
            lacks + cli,
            clock=clock,
            governor=governor,
            warn=warn,
        )
        return PreparedRun(
            settings,
            models,
            facts,
            directory,
            context,
            governor,
            backend,
            ask,
            read_expectations(settings, models).given_more(
                build_context(files), existing=settings.into is not None
            ),
            usage,
            files,
            held=stack.pop_all(),
        )


@contextmanager
def _holding_target(settings: Settings, facts: RunFacts, run: RunDir) -> Iterator[None]:
    """Checked, and kept from other runs. Raises as `check_target` or `_existing_code` does."""
    target = Path(facts.target)
    with ExitStack() as stack:
        if settings.into is not None:
            with storing():
                stack.enter_context(_existing_code(settings.into, settings.base, run))
        else:
            check_target(target, last_delivery(run, facts), settings.work_dir)
            try:
                stack.enter_context(reserved(absolute(target), facts.run))
            except OSError as exc:
                raise TargetRefused(
                    f"The output directory {target} cannot be used: nothing can be written beside"
                    f" it: {exc.strerror or exc}.",
                    "Free space or correct the permissions there, or choose another --output-dir.",
                ) from exc
            # again: another run may have ended meanwhile
            check_target(target, last_delivery(run, facts), settings.work_dir)
        yield


def _existing_code(into: Path, ref: str, run: RunDir) -> AbstractContextManager[None]:
    """Looked at, and held where it is changed in place. Raises as `find_base`, `check_there` and
    `held_alone` do."""
    if (base := read_base(run)) is not None:
        check_there(base)
    is_plain = base.is_plain if base else find_base(into, ref).top is None
    return held_alone(into) if is_plain else nullcontext()


def _asks_planner(settings: Settings, directory: RunDir) -> bool:
    """Not where there is a plan, or none is wanted."""
    has_plan = settings.plan is not None or directory.plan.exists()
    return not has_plan and settings.parallel != "never"


def read_expectations(settings: Settings, models: Models) -> Expectations:
    """Also out of what earlier runs of the work directory met."""
    history = read_history(settings.work_dir, kept_pricing)
    return Expectations(models, settings.max_executors, pricing(*models.each), history)


def backend_context(
    settings: Settings, run_dir: Path, governor: Governor, environ: Mapping[str, str], clock: Clock
) -> BackendContext:
    credentials = settings.credentials(environ)
    worker = ThreadWorker(credentials, governor)
    return BackendContext(run_dir, credentials, clock, worker, settings.options(), environ)


def choose_planner(settings: Settings, context: BackendContext) -> AskForPlan:
    """The planner of this process, or one in a container. Raises PreflightFailed when that one
    cannot work here."""
    if not settings.planner_in_docker:
        return ask_for_plan
    from backends.docker.planner import ContainedPlanner

    contained = ContainedPlanner(context)
    if settings.backend != "docker":  # whose own preflight looks at the same
        refuse_if(contained.problems())
    return contained

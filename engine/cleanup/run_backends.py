"""Building the backends of runs again, as they were, to stop or remove what they still hold, and
waiting for their answers no longer than a limit."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from backends import backend_class
from backends.base import Backend, BackendContext
from config import LoadedSettings, Settings, load_settings
from core.clock import Clock
from core.errors import BackendError, OrchestratorError, UsageError
from core.settings.options import dashed
from engine.money.budget import Budget, earlier_budget
from engine.money.usage import Price
from engine.run.jobs_view import JobsView
from engine.run.run_view import RunView, read_run_view
from engine.run.rundir import RunDir, RunFacts
from engine.scheduling.calls import ThreadedCalls
from engine.views.format import clean, plural

T = TypeVar("T")


def kept_settings(
    loaded: LoadedSettings, environ: Mapping[str, str], cwd: Path, facts: RunFacts
) -> LoadedSettings:
    """What the run kept, under what was given on the command line."""
    return load_settings(loaded.given, environ, cwd, saved=facts.settings, saved_by=facts.run)


def check_place(run: RunDir, facts: RunFacts, settings: Settings) -> None:
    """That a run is not taken up in another place of a backend while it may have jobs in the one
    that it kept in `facts`: those would not be seen, and done twice. Raises UsageError."""
    run_view = read_run_view(run)
    if not (left := len(run_view.jobs.open)):
        return
    for name in used_backends(facts, run_view):
        if moved := moved_from(name, facts, settings):
            raise UsageError(
                f"{plural(left, 'job')} of run {run.run_id} may still run on {name} where it was"
                f" started ({moved}), and would be done once more elsewhere.",
                f"Resume it there, or stop them first with `{run.command('cancel')}`. If that place"
                " is gone for good, add the options of the new one to it.",
            )


def check_unmoved(run: RunDir, facts: RunFacts) -> None:
    """That a run whose directory was moved does not build where it was. Raises UsageError."""
    was = Path(read_run_view(run).header.run_dir or run.root)
    if was == run.root or (was.exists() and was.samefile(run.root)):
        return
    before, now, target = was.parents[2], run.root.parents[2], Path(facts.target)
    if target.is_relative_to(before):
        there = run.command("resume", "--output-dir", str(now / target.relative_to(before)))
        raise UsageError(
            f"Run {run.run_id} was moved from {before} to {now}, and its target is {target}.",
            f"Tell it where to build: `{there}`.",
        )


def check_plan_kept(run: RunDir) -> None:
    """That a plan which was approved, or whose tasks were delivered, is not made anew unasked.
    Raises UsageError."""
    run_view = read_run_view(run)
    if (run_view.approved or run_view.delivered) and not run.plan.exists():
        raise UsageError(
            f"The plan of the run {run.run_id} is gone: {run.plan} does not exist.",
            "Put it back from a copy, or start a new run.",
        )


def moved_from(name: str, facts: RunFacts, settings: Settings) -> str:
    """The place of the backend `name` that a run kept, as options, where `settings` mean another;
    empty where they mean the same."""
    location, now = backend_class(name).location_settings, settings.options()
    was, wanted = location({**now, **facts.settings}), location(now)
    moved = {key: value for key, value in was.items() if wanted.get(key) != value}
    return " ".join(f"--{dashed(key)} {clean(moved[key]) or repr('')}" for key in moved)


@dataclass(frozen=True, slots=True)
class TimedBackend:
    """A backend whose calls come to an end: one that hangs, or breaks, is a BackendError."""

    backend: Backend
    clock: Clock
    answer_s: float = 60.0
    cleanup_s: float = 300.0

    @property
    def name(self) -> str:
        return self.backend.name

    def call(self, method: str, call: Callable[[Backend], T], limit_s: float | None = None) -> T:
        answers: list[T | Exception] = []
        calls, limit_s = ThreadedCalls(self.clock), limit_s or self.answer_s
        until = self.clock.monotonic() + limit_s
        calls.start(method, lambda: call(self.backend), answers.append)
        try:
            while not answers and (left_s := until - self.clock.monotonic()) > 0:
                calls.wait(left_s)
        finally:
            calls.close()
        if not answers:
            raise BackendError(
                f"{self.name} gave no answer to {method} within {limit_s:g} s.", "Try again later."
            )
        if not isinstance(found := answers[0], Exception):
            return found
        if isinstance(found, OrchestratorError):
            raise found
        # against the contract; but other runs and backends have nothing to do with it
        raise BackendError(f"{method} failed: {type(found).__name__}: {found}.") from found

    def cleanup(self, run_id: str) -> None:
        self.call("cleanup", lambda backend: backend.cleanup(run_id), self.cleanup_s)


class RunBackends:
    """Reads a run's settings and opens its backends. `loaded` is what this command was given,
    `pricing` gives the price that holds for a run with these settings."""

    def __init__(
        self,
        loaded: LoadedSettings,
        environ: Mapping[str, str],
        cwd: Path,
        clock: Clock,
        pricing: Callable[[Mapping[str, Any]], Price] = lambda _: lambda _: None,
    ) -> None:
        # a backend named here is one more to look at, and not the one a run has
        given = {key: value for key, value in loaded.given.items() if key != "backend"}
        self._loaded = LoadedSettings(loaded.settings, loaded.origin, given)
        self._environ = environ
        self._cwd = cwd
        self._pricing = pricing
        self.clock = clock
        self.work_dir = loaded.settings.work_dir
        self.as_json = loaded.settings.json_lines
        self.chosen = loaded.settings.backend
        """The backend that a new run would have here."""

    def settings(self, facts: RunFacts) -> Settings:
        """Raises SettingsError when they are not what this version knows."""
        return kept_settings(self._loaded, self._environ, self._cwd, facts).settings

    def budget(self, facts: RunFacts, jobs: JobsView) -> Budget:
        """What the run's jobs have reserved, under the caps in force."""
        settings = self.settings(facts)
        price = self._pricing(facts.settings)
        return earlier_budget(settings.max_tokens, settings.max_cost, jobs, price)

    @contextmanager
    def open(self, run: RunDir, name: str, facts: RunFacts | None = None) -> Iterator[TimedBackend]:
        """A backend that is asked about `run` and starts nothing; `facts` None: of a run unknown
        here."""
        settings = self.settings(facts) if facts else self._loaded.settings
        options, environ = replace(settings, backend=name).options(), self._environ
        credentials = settings.credentials(environ)
        context = BackendContext(run.root, credentials, self.clock, _refuse_work, options, environ)
        with closing(backend_class(name).build(context)) as backend:
            yield TimedBackend(backend, self.clock)


def used_backends(facts: RunFacts, run_view: RunView) -> tuple[str, ...]:
    """Names of all that a run was carried out on: a resumed one may have gone elsewhere."""
    names = [facts.settings.get("backend"), *run_view.backends]
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def _refuse_work(*_: object, **__: object) -> object:
    raise OrchestratorError("This command runs no jobs.")

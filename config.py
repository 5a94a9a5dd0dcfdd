"""Settings: defaults < file < environment < options, and where each value came from.

Each setting is declared once, as a field of Settings; core.settings.options makes its spellings.
Only the standard library is imported, so that --help is quick.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from backends import BACKENDS, backend_class, installed_backends
from backends.batch.settings import BatchSettings
from backends.docker.settings import DockerSettings
from backends.parallelcluster.settings import ParallelClusterSettings
from core.credentials import Credentials, resolve_credentials
from core.errors import OrchestratorError, PreflightFailed, Problem, SettingsError
from core.settings import agreement, layers
from core.settings.layers import DEFAULT_ORIGIN, Errors
from core.settings.options import (
    ALL_COMMANDS,
    ENV_PREFIX,
    PLANNING_COMMANDS,
    PROVIDER_COMMANDS,
    RUN_COMMANDS,
    Group,
    Setting,
    declared_settings,
    setting,
)
from core.settings.types import (
    Count,
    Name,
    Positive,
    Region,
    Secret,
    Speed,
    whole_number,
)
from core.settings.worker import ROLE_MODELS, ROLES, WITH_BEDROCK

if TYPE_CHECKING:
    from core.bundle import Limits, Models, ModelSettings

MOST_SIMULATED_TASKS = 10_000
MOST_REPAIR_ROUNDS = 100

# Settings of one group, with what they have in common.
_core = partial(setting, Group.CORE)
_existing = partial(setting, Group.EXISTING, commands=frozenset({"run", "plan"}))
_place = partial(_core, commands=ALL_COMMANDS, kept=False)
_plan = partial(setting, Group.PLAN, commands=RUN_COMMANDS)
_planning = partial(setting, Group.PLAN)
_price = partial(setting, Group.MODEL, None, metavar="USD")
_proof = partial(setting, Group.PROOF, commands=RUN_COMMANDS)
_cap = partial(setting, Group.LIMITS)
_limits = partial(setting, Group.LIMITS, commands=RUN_COMMANDS)
_simulated = partial(setting, Group.SIMULATION, commands=PLANNING_COMMANDS | {"simulated-api"})
_simulation = partial(_simulated, only_with=("real", False))
_provider = partial(setting, Group.BEDROCK, commands=PROVIDER_COMMANDS)
_bedrock = partial(_provider, only_with=WITH_BEDROCK)
_beating = partial(_bedrock, None, beats=True)
_secret = partial(_bedrock, metavar="VALUE", secret=True, kept=False)
_output = partial(setting, Group.OUTPUT, commands=ALL_COMMANDS, kept=False)
_short_output = partial(_output, commands=ALL_COMMANDS - {"show", "logs"})


@dataclass(frozen=True, kw_only=True)
class Settings(ParallelClusterSettings, BatchSettings, DockerSettings):
    """Every setting, with its declaration. Paths are absolute once loaded."""

    backend: Name = _core(
        "threading",
        "threading, docker, batch, slurm, parallelcluster, or package.module:Class",
        "NAME",
        commands=RUN_COMMANDS | {"doctor", "clean"},
    )
    max_executors: Count = _core(5, "how many executors run at once", "N")
    output_dir: Path | None = _core(
        None,
        "where the project is delivered; must be new or empty",
        "DIR",
        commands=RUN_COMMANDS,
        default_text="outputs/<slug>-<run id>",
    )
    git: bool = _core(
        False, "deliver it as a git repository, with one commit a task", commands=RUN_COMMANDS
    )
    context: tuple[Path, ...] = _core(
        (),
        "give this text, PDF or image beside the prompt; repeatable",
        "FILE",
        commands=frozenset({"run", "plan"}),
        kept=False,  # but its content is
    )
    into: Path | None = _existing(
        None, "change the code in this directory: a git repository, or any other", "DIR"
    )
    base: str = _existing("", "start from this commit of it", "REF", default_text="HEAD")
    apply: bool = _existing(
        False, "fast-forward the branch that is checked out to the result", commands=RUN_COMMANDS
    )
    work_dir: Path = _place(Path(".orchestrator"), "where runs are kept", "DIR")
    config: Path = _place(Path("orchestrator.toml"), "the settings file", "FILE", in_file=False)

    plan: Path | None = _plan(
        None,
        "skip planning and use this plan",
        "FILE",
        commands=frozenset({"run"}),
        kept=False,
    )
    approve: bool = _plan(False, "show the plan and the forecast, and ask before it is carried out")
    parallel: Literal["auto", "always", "never"] = _planning(
        "auto", "split the work: auto (where that is faster), always or never", "WHEN"
    )
    no_early_start: bool = _planning(False, "start no task before the whole plan is written")
    planner_in_docker: bool = _plan(
        False, "same as --docker-planner-in-docker", commands=PLANNING_COMMANDS, kept=True
    )

    price_input: Positive | None = _price("price of a million input tokens, if it is not known")
    price_output: Positive | None = _price("price of a million output tokens, if it is not known")

    verify: bool = _proof(True, "run the checks of the delivered project")
    verify_on_host: bool = _proof(False, "where there is no sandbox, run the checks unprotected")
    no_acceptance: bool = _proof(
        False, "do not have Claude write checks of criteria that no command of the plan shows"
    )
    repair_rounds: Annotated[int, whole_number(0, MOST_REPAIR_ROUNDS)] = _proof(
        2, "how often failed checks may lead to a repair; 0: never", "N"
    )

    max_cost: Positive | None = _cap(
        None, "stop before the run costs more than this, planning included", "USD"
    )
    max_tokens: Count | None = _cap(
        None, "stop before the run uses more tokens than this, of all kinds", "N"
    )
    max_retries: Count = _limits(3, "attempts of a task, the first included; 1: no retry", "N")
    queue_timeout: Positive = _limits(
        86_400.0, "how long a job may wait in a queue before it starts", "SECONDS"
    )

    sim_seed: int = _simulation(0, "same seed, same faults and same random plan", "N")
    sim_speed: Speed = _simulation(20.0, "simulated seconds per second; 0: no waiting", "X")
    sim_faults: str = _simulation(
        "", "faults and how likely each is: rate_limit=0.1,refusal=0.05", "SPEC"
    )
    sim_tasks: Annotated[int, whole_number(1, MOST_SIMULATED_TASKS)] | None = _simulation(
        None, "plan N small tasks at random in place of a sample project", "N"
    )

    docker_use_bedrock: bool = _provider(
        False, "same as --provider bedrock, on any backend", sets="provider", sets_to="bedrock"
    )
    docker_bedrock_region: Region | None = _beating("beats --region", "REGION", sets="region")
    docker_bedrock_model: Name | None = _beating("beats --model", "ID", sets="model")
    docker_aws_access_key_id: Secret | None = _secret(None, "AWS key id; better: AWS_ACCESS_KEY_ID")
    docker_aws_secret_access_key: Secret | None = _secret(
        None, "AWS secret key; better: AWS_SECRET_ACCESS_KEY"
    )
    docker_aws_session_token: Secret | None = _secret(
        None, "AWS session token; better: AWS_SESSION_TOKEN"
    )

    watch: bool = _output(
        False,
        "serve the run as a page on this machine; prints its address",
        commands=RUN_COMMANDS,
    )
    json_lines: bool = _short_output(
        False, "one event a line on standard output, in JSON", key="json"
    )
    quiet: bool = _short_output(False, "show only the outcome")
    verbose: bool = _output(False, "show more about each task, in plain lines")
    debug: bool = _output(False, "show the tracebacks of errors")
    notify: str = _output(
        "", "a shell command that is run when the run has ended", "CMD", commands=RUN_COMMANDS
    )
    no_color: bool = _output(False, "use no colours", standard_env={"NO_COLOR": True})

    def options(self) -> dict[str, Any]:
        """By name and without secrets, for `BackendContext.options`."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, Secret)}

    def models(self) -> Models:
        """Which Claude to ask for the plan, and which for the tasks."""
        from core.bundle import Models, ModelSettings, SimulationSettings

        base_url = self.base_url if self.provider == "anthropic" else self.bedrock_base_url
        tasks = self.sim_tasks or 0
        simulation = SimulationSettings(self.sim_seed, self.sim_speed, self.sim_faults, tasks)
        shared = ModelSettings(
            provider=self.provider,
            region=self.region,
            base_url=base_url if self.real else "",
            engine=self.engine,
            allow_commands=self.allow_commands,
            simulation=None if self.real else simulation,
            price_input_usd=self.price_input,
            price_output_usd=self.price_output,
        )
        return Models(*(self._model_of(role, shared) for role in ROLES))

    def _model_of(self, role: str, shared: ModelSettings) -> ModelSettings:
        model, effort = getattr(self, f"{role}_model"), getattr(self, f"{role}_effort")
        option = shared.option if model == self.model else f"--{role}-model"
        return replace(shared, model=model, effort=effort or "", option=option)

    def limits(self) -> Limits:
        """What one attempt may use."""
        from core.bundle import Limits

        return Limits(timeout_s=self.task_timeout)

    def credentials(self, environ: Mapping[str, str]) -> Credentials:
        """The credentials of `environ`; AWS keys given as options replace all of AWS's there."""
        found = resolve_credentials(environ)
        if not self.docker_aws_access_key_id:
            return found
        return replace(
            found,
            aws_access_key_id=_revealed(self.docker_aws_access_key_id),
            aws_secret_access_key=_revealed(self.docker_aws_secret_access_key),
            # a token, profile or bearer token of the environment belongs to another identity
            aws_session_token=_revealed(self.docker_aws_session_token),
            aws_bearer_token_bedrock="",
            aws_profile="",
        )


SETTINGS = declared_settings(Settings)


def _with_own(backend: str) -> type[Settings]:
    """Settings and those that a backend of others declares; of two of one name, the program's.

    Raises PreflightFailed when they cannot be read. That a backend cannot be loaded is told where
    it is used.
    """
    try:
        own = None if backend in BACKENDS else backend_class(backend).settings
    except OrchestratorError:
        return Settings
    if own is None:
        return Settings
    try:
        model = make_dataclass("Settings", (), bases=(Settings, own), frozen=True, kw_only=True)
        declared_settings(model)
    except Exception as exc:  # whatever a class of others leads to
        what = f"The settings of the backend {backend!r} cannot be read: {exc}."
        fix = "Make each a field of a frozen dataclass, by core.settings.options.setting."
        raise PreflightFailed([Problem(what, fix)]) from exc
    return model


def _declared_by(model: type[Settings]) -> tuple[Setting, ...]:
    """SETTINGS, and those of a backend of others, which have no options: these are known before the
    command line is read."""
    known = {s.key for s in SETTINGS}
    more = (s for s in declared_settings(model) if s.key not in known)
    return (*SETTINGS, *(replace(s, on_command_line=False) for s in more))


def _is_of_others(key: str) -> bool:
    """Whether a key of the file belongs to a backend that another command may choose."""
    names = (each.name.replace("-", "_") for each in installed_backends())
    return key.startswith(tuple(f"{name}_" for name in names))


def _revealed(secret: Secret | None) -> str:
    return secret.value if secret else ""


@dataclass(frozen=True)
class LoadedSettings:
    """Settings, and for each key where its value came from.

    `given` is what stood on the command line; `warnings` are sentences for a person. What `errors`
    name could not be used, and `settings` has the default in its place.
    """

    settings: Settings
    origin: Mapping[str, str]
    given: Mapping[str, object]
    warnings: tuple[str, ...] = ()
    errors: tuple[SettingsError, ...] = ()

    @property
    def declared(self) -> tuple[Setting, ...]:
        return _declared_by(type(self.settings))

    def kept(self) -> dict[str, Any]:
        """What a run stores, plain JSON without secrets, for `load_settings(saved=...)`."""
        stored = [s for s in self.declared if s.kept and not s.sets]
        values = {s.key: getattr(self.settings, s.name) for s in stored}
        for key in ("model", *ROLE_MODELS):
            if self.origin[key] == DEFAULT_ORIGIN:
                del values[key]  # follows the provider, or the model
        return {key: layers.plain(value) for key, value in values.items()}


def load_settings(
    options: Mapping[str, object],
    environ: Mapping[str, str],
    cwd: Path,
    *,
    saved: Mapping[str, object] | None = None,
    saved_by: str = "",
    lenient: bool = False,
) -> LoadedSettings:
    """Settings from what was really given on the command line, the environment and the file.

    `saved` is what the run `saved_by` kept; it beats environment and file, so that a resumed run
    stays what it was. Raises SettingsError, naming the option, variable or key at fault; `lenient`
    leaves all such errors in the answer instead.
    """
    load = partial(_load, options, environ, cwd, saved, saved_by)
    loaded = load(Settings)
    if (model := _with_own(loaded.settings.backend)) is not Settings:
        loaded = load(model)
    if loaded.errors and not lenient:
        raise loaded.errors[0]
    return loaded


def _load(
    options: Mapping[str, object],
    environ: Mapping[str, str],
    cwd: Path,
    saved: Mapping[str, object] | None,
    saved_by: str,
    model: type[Settings],
) -> LoadedSettings:
    """As load_settings, lenient; `model` declares the settings."""
    errors: Errors = []
    declared, path = _declared_by(model), _settings_file(options, environ, cwd)
    found = layers.merge_layers(
        declared,
        [
            layers.standard_layer(declared, environ),
            layers.file_layer(declared, path, errors, _is_of_others),
            layers.environment_layer(declared, environ),
            layers.saved_layer(declared, saved or {}, saved_by),
            layers.option_layer(declared, options, errors),
        ],
    )
    layers.parse_values(declared, found, errors)
    for target in dict.fromkeys(s.sets for s in declared if s.sets):
        layers.apply_other_spellings(declared, found, target, errors)
    agreement.forget_other_models(found, saved or {}, f"run {saved_by}")
    layers.make_absolute(found, cwd, environ, errors)
    agreement.check_pairs(found, errors)
    values: dict[str, Any] = {s.name: found[s.key].value for s in declared}
    settings = model(**values)
    errors += agreement.effort_errors(settings, found)
    warnings = tuple(agreement.warnings(declared, settings, found, environ))
    origin = {key: given.origin for key, given in found.items()}
    return LoadedSettings(settings, origin, dict(options), warnings, tuple(errors))


def _settings_file(
    options: Mapping[str, object], environ: Mapping[str, str], cwd: Path
) -> Path | None:
    """The file asked for, or the default one where it exists."""
    if asked := options.get("config") or environ.get(f"{ENV_PREFIX}CONFIG"):
        return layers.absolute_path(Path(str(asked)), cwd, environ)
    default = cwd / Settings.config
    return default if os.path.lexists(default) else None  # tells nothing of what cannot be seen

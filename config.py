"""Settings: defaults < file < environment < options, and where each value came from.

Each setting is declared once, as a field of Settings; core.settings.options makes its spellings.
`load_settings` gathers the layers, lets the strongest win, and checks what came of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SecretStr

from backends.batch.settings import BatchSettings
from backends.parallelcluster.settings import ParallelClusterSettings
from backends.slurm.settings import SlurmSettings
from core.bundle import Limits, ModelSettings, SimulationSettings
from core.credentials import MASK, Credentials, resolve_credentials
from core.errors import SettingsError
from core.models import find_ending
from core.settings.layers import (
    DEFAULT_ORIGIN,
    Merged,
    absolute_path,
    environment_layer,
    file_layer,
    has_effect,
    let_stand_in,
    make_absolute,
    merge_layers,
    misspelt_variables,
    option_layer,
    saved_layer,
    standard_layer,
    validate,
)
from core.settings.options import (
    ALL_COMMANDS,
    ENV_PREFIX,
    PLANNING_COMMANDS,
    PROVIDER_COMMANDS,
    RUN_COMMANDS,
    Declared,
    Group,
    Option,
    declared_options,
)
from core.settings.types import (
    Count,
    Cpus,
    Dollars,
    Name,
    PlanSize,
    Region,
    Seconds,
    Size,
    Speed,
    Url,
)

DEFAULT_MODELS = {
    "anthropic": "claude-sonnet-5-5",
    "bedrock": "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
}

_BEDROCK = ("provider", "bedrock")

# Options of one group, with what they have in common.
_core = partial(Option, Group.CORE)
_plan = partial(Option, Group.PLAN, commands=frozenset({"run"}), kept=False)
_model = partial(Option, Group.MODEL, commands=PROVIDER_COMMANDS)
_price = partial(Option, Group.MODEL)
_cap = partial(Option, Group.LIMITS)
_limits = partial(Option, Group.LIMITS, commands=RUN_COMMANDS)
_simulation = partial(
    Option,
    Group.SIMULATION,
    commands=PLANNING_COMMANDS | {"simulated-api"},
    only_with=("real", False),
)
_docker = partial(Option, Group.DOCKER, commands=PLANNING_COMMANDS | {"doctor"})
_bedrock = partial(Option, Group.BEDROCK, commands=PROVIDER_COMMANDS, only_with=_BEDROCK)
_secret = partial(_bedrock, metavar="VALUE", secret=True, kept=False)
_output = partial(Option, Group.OUTPUT, commands=ALL_COMMANDS, kept=False)


class Settings(SlurmSettings, ParallelClusterSettings, BatchSettings):
    """Every setting, with its declaration. Paths are absolute once loaded."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        str_strip_whitespace=True,
        validate_by_name=True,
        validate_by_alias=True,
    )

    max_executors: Annotated[Count, _core("how many executors run at once", "N")] = 5
    real: Annotated[bool, _core("ask the real Claude; without it, a simulation")] = False
    output_dir: Annotated[
        Path | None,
        _core(
            "where the project is delivered; must be new or empty",
            "DIR",
            commands=RUN_COMMANDS,
            default_text="outputs/<slug>-<run id>",
        ),
    ] = None
    backend: Annotated[
        Name, _core("where executors run", "NAME", commands=RUN_COMMANDS | {"doctor", "clean"})
    ] = "threading"
    work_dir: Annotated[
        Path, _core("where runs are kept", "DIR", commands=ALL_COMMANDS, kept=False)
    ] = Path(".orchestrator")
    config: Annotated[
        Path, _core("the settings file", "FILE", commands=ALL_COMMANDS, kept=False, in_file=False)
    ] = Path("orchestrator.toml")

    plan: Annotated[Path | None, _plan("skip planning and use this plan", "FILE")] = None
    approve: Annotated[bool, _plan("show the plan and the forecast, and ask")] = False
    planner_in_docker: Annotated[
        bool,
        _plan("same as --docker-planner-in-docker", commands=PLANNING_COMMANDS, kept=True),
    ] = False

    provider: Annotated[Literal["anthropic", "bedrock"], _model("who serves Claude")] = "anthropic"
    model: Annotated[
        Name,
        _model(
            "model id", "ID", default_text=f"{DEFAULT_MODELS['anthropic']}; bedrock has its own"
        ),
    ] = Field(default_factory=lambda known: DEFAULT_MODELS[known["provider"]])
    engine: Annotated[Literal["api", "claude-code"], _model("how executors reach Claude")] = "api"
    allow_commands: Annotated[bool, _model("a shell for the model on this host")] = False
    region: Annotated[
        Region,
        _model(
            "AWS region of Bedrock",
            "REGION",
            standard_env={"AWS_REGION": None, "AWS_DEFAULT_REGION": None},
            only_with=_BEDROCK,
        ),
    ] = "eu-central-1"
    base_url: Annotated[
        Url,
        _model(
            "address of the API",
            flags=(),
            standard_env={"ANTHROPIC_BASE_URL": None},
            kept=False,
        ),
    ] = ""
    bedrock_base_url: Annotated[
        Url,
        _model(
            "address of Bedrock",
            flags=(),
            standard_env={"ANTHROPIC_BEDROCK_BASE_URL": None},
            kept=False,
        ),
    ] = ""

    price_input: Annotated[
        Dollars | None, _price("price of a million input tokens, if unknown", "USD")
    ] = None
    price_output: Annotated[
        Dollars | None, _price("price of a million output tokens, if unknown", "USD")
    ] = None

    max_cost: Annotated[
        Dollars | None, _cap("the most that the run may cost, planning too", "USD")
    ] = None
    max_tokens: Annotated[
        Count | None, _cap("the most tokens that the run may use, of all kinds", "N")
    ] = None
    max_retries: Annotated[Count, _limits("how many attempts a task has", "N")] = 3
    task_timeout: Annotated[Seconds, _limits("how long an attempt may run", "SECONDS")] = 1800.0
    queue_timeout: Annotated[
        Seconds, _limits("how long it may wait in a queue before that", "SECONDS")
    ] = 86_400.0

    sim_seed: Annotated[int, _simulation("same seed, same faults and same random plan", "N")] = 0
    sim_speed: Annotated[Speed, _simulation("simulated seconds per second; 0: no waiting", "X")] = (
        20.0
    )
    sim_faults: Annotated[
        str, _simulation("faults and how likely each is: rate_limit=0.1,refusal=0.05", "SPEC")
    ] = ""
    sim_tasks: Annotated[
        PlanSize | None,
        _simulation("plan N small tasks at random instead of a sample project", "N"),
    ] = None

    docker: Annotated[
        bool,
        _docker(
            "same as --backend docker",
            commands=RUN_COMMANDS | {"doctor"},
            sets="backend",
            sets_to="docker",
        ),
    ] = False
    docker_planner_in_docker: Annotated[
        bool,
        _docker(
            "make the plan in a container too",
            commands=PLANNING_COMMANDS,
            sets="planner_in_docker",
            sets_to=True,
        ),
    ] = False
    docker_image: Annotated[Name, _docker("the workers' image", "IMAGE")] = (
        "parallel-orchestrator:latest"
    )
    docker_network: Annotated[
        str, _docker("their network", "NETWORK", default_text="the engine's own choice")
    ] = ""
    docker_cpus: Annotated[Cpus, _docker("CPUs of each container", "N")] = 1.0
    docker_memory: Annotated[Size, _docker("memory of each container", "SIZE")] = "2g"

    docker_use_bedrock: Annotated[
        bool,
        Option(
            Group.BEDROCK,
            "same as --provider bedrock, on any backend",
            commands=PROVIDER_COMMANDS,
            sets="provider",
            sets_to="bedrock",
        ),
    ] = False
    docker_bedrock_region: Annotated[
        Region | None, _bedrock("beats --region", "REGION", sets="region", beats=True)
    ] = None
    docker_bedrock_model: Annotated[
        Name | None, _bedrock("beats --model", "ID", sets="model", beats=True)
    ] = None
    docker_aws_access_key_id: Annotated[
        SecretStr | None, _secret("AWS key id; better: environment")
    ] = None
    docker_aws_secret_access_key: Annotated[
        SecretStr | None, _secret("AWS secret key; better: environment")
    ] = None
    docker_aws_session_token: Annotated[
        SecretStr | None, _secret("AWS session token; better: environment")
    ] = None

    json_lines: Annotated[
        bool, _output("one event a line on standard output"), Field(validation_alias="json")
    ] = False
    quiet: Annotated[bool, _output("only the outcome")] = False
    verbose: Annotated[bool, _output("more lines about each task")] = False
    debug: Annotated[bool, _output("tracebacks of errors")] = False
    no_color: Annotated[bool, _output("no colours", standard_env={"NO_COLOR": True})] = False

    def model_settings(self) -> ModelSettings:
        """Which Claude to ask."""
        base_url = self.base_url if self.provider == "anthropic" else self.bedrock_base_url
        simulation = SimulationSettings(
            self.sim_seed, self.sim_speed, self.sim_faults, self.sim_tasks or 0
        )
        return ModelSettings(
            provider=self.provider,
            model=self.model,
            region=self.region,
            base_url=base_url if self.real else "",
            engine=self.engine,
            allow_commands=self.allow_commands,
            simulation=None if self.real else simulation,
            price_input_usd=self.price_input,
            price_output_usd=self.price_output,
        )

    def limits(self) -> Limits:
        """What one attempt may use."""
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


def _revealed(secret: SecretStr | None) -> str:
    return secret.get_secret_value().strip() if secret else ""


@dataclass(frozen=True)
class LoadedSettings:
    """Settings, and for each key where its value came from.

    `given` is what was said on the command line; `warnings` are sentences for a person.
    """

    settings: Settings
    origin: Mapping[str, str]
    given: Mapping[str, object]
    warnings: tuple[str, ...] = ()

    def kept(self) -> dict[str, Any]:
        """What a run stores, plain JSON without secrets, for `load_settings(saved=...)`."""
        values = self.settings.model_dump(mode="json")
        return {
            d.key: values[d.name]
            for d in declared_options(type(self.settings))
            if d.option.kept and not d.option.sets and not self._derived(d)
        }

    def _derived(self, declared: Declared) -> bool:
        """Whether the value is a default made from other settings, to be made again."""
        info = type(self.settings).model_fields[declared.name]
        return info.default_factory is not None and self.origin[declared.key] == DEFAULT_ORIGIN


def load_settings(
    options: Mapping[str, object],
    environ: Mapping[str, str],
    cwd: Path,
    *,
    saved: Mapping[str, object] | None = None,
    saved_by: str = "",
    model: type[Settings] = Settings,
) -> LoadedSettings:
    """Settings from what was really given on the command line, the environment and the file.

    `saved` is what the run `saved_by` kept; it beats environment and file, so that a resumed run
    stays what it was. Raises SettingsError, naming the option, variable or key at fault.
    """
    declared = declared_options(model)
    layers = [
        standard_layer(declared, environ),
        file_layer(model, declared, _settings_file(options, environ, cwd)),
        environment_layer(model, declared, environ),
        saved_layer(declared, saved or {}, f"run {saved_by}"),
        option_layer(declared, options),
    ]
    merged = merge_layers(declared, layers)
    make_absolute(declared, merged, cwd, environ)
    found = validate(model, declared, merged)
    for target in dict.fromkeys(d.option.sets for d in declared if d.option.sets):
        if let_stand_in(declared, merged, found, target):
            found = validate(model, declared, merged)
    if saved and _forget_other_model(merged, found, saved, f"run {saved_by}"):
        found = validate(model, declared, merged)
    _check_aws_keys(found)
    if (found.price_input is None) != (found.price_output is None):
        fix = "Give both, in US dollars per million tokens, or none."
        raise SettingsError("Only one of price_input and price_output was given.", fix)
    warnings = tuple(_warnings(declared, found, merged, environ))
    return LoadedSettings(found, merged.origin, dict(options), warnings)


def _forget_other_model(
    merged: Merged, found: Settings, saved: Mapping[str, object], origin: str
) -> bool:
    """Drop what a run has kept of a model that is not asked any more; whether there was any."""
    before, provider = set(merged.values), str(saved.get("provider", found.provider))
    if merged.origin["model"] == origin and found.provider != provider:
        merged.drop("model")  # an id of the other provider
    known = saved.get("model") or DEFAULT_MODELS[provider]
    if (merged.values.get("model") or DEFAULT_MODELS[found.provider]) != known:
        for price in ("price_input", "price_output"):
            if merged.origin[price] == origin:
                merged.drop(price)
    return set(merged.values) != before


def render_settings(loaded: LoadedSettings, *, as_json: bool = False) -> str:
    """For --show-config: every setting with its value and origin, secrets masked."""
    values = loaded.settings.model_dump(mode="json")
    declared = declared_options(type(loaded.settings))
    shown = {
        d.key: MASK if d.option.secret and values[d.name] else values[d.name] for d in declared
    }
    if as_json:
        both = {k: {"value": v, "origin": loaded.origin[k]} for k, v in shown.items()}
        return json.dumps(both, indent=2)
    rows = [(k, _in_words(v), loaded.origin[k]) for k, v in shown.items()]
    width, value_width = (max(len(row[n]) for row in rows) for n in (0, 1))
    return "\n".join(f"{k:{width}}  {v:{value_width}}  {o}" for k, v, o in rows)


def _settings_file(
    options: Mapping[str, object], environ: Mapping[str, str], cwd: Path
) -> Path | None:
    """The file asked for, or the default one where it exists."""
    if asked := options.get("config") or environ.get(f"{ENV_PREFIX}CONFIG"):
        return absolute_path(str(asked), cwd, environ)
    default = cwd / str(Settings.model_fields["config"].default)
    return default if default.exists() else None


def _check_aws_keys(found: Settings) -> None:
    key, secret = found.docker_aws_access_key_id, found.docker_aws_secret_access_key
    if bool(key) != bool(secret) or (found.docker_aws_session_token and not key):
        raise SettingsError(
            "Only a part of the AWS credentials was given.",
            "Give docker_aws_access_key_id and docker_aws_secret_access_key together"
            " (and the session token if they have one), or none and use the environment.",
        )


def _warnings(
    declared: Sequence[Declared], found: Settings, merged: Merged, environ: Mapping[str, str]
) -> Iterator[str]:
    for setting in declared:
        origin = merged.origin[setting.key]
        if setting.option.secret and origin.endswith(".toml"):
            yield f"{setting.key} is a secret in {origin}; prefer the environment."
        if not origin.startswith("option "):
            continue
        if setting.option.secret:
            yield f"{setting.flags[0]} puts a secret on the command line, which others can see."
        if not has_effect(setting, found) and setting.option.only_with:
            name, value = setting.option.only_with
            yield f"{setting.flags[0]} has no effect here: it is for {name} = {_in_words(value)}."
    yield from misspelt_variables(declared, environ)
    if found.provider == "anthropic" and (ending := find_ending(found.model)) is not None:
        yield f"The model {found.model} ends on {ending.day}; use {ending.successor} instead."


def _in_words(value: object) -> str:
    if value is None or value == "":
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))

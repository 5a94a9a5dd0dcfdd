"""The settings that concern every worker; each backend's own settings add to these."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal, Self

from core.settings.options import PROVIDER_COMMANDS, RUN_COMMANDS, Group, setting
from core.settings.types import Effort, Name, Positive, Region, Url

ROLES = ("planner", "executor")
ROLE_MODELS = tuple(f"{role}_model" for role in ROLES)
DEFAULT_REGION = "eu-central-1"
DEFAULT_MODELS = {
    "anthropic": "claude-sonnet-5-5",
    "bedrock": "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
}
WITH_BEDROCK = ("provider", "bedrock")
AWS_REGION_ENV: Mapping[str, object] = {"AWS_REGION": None, "AWS_DEFAULT_REGION": None}

_model = partial(setting, Group.MODEL, commands=PROVIDER_COMMANDS)
_effort = partial(_model, None, metavar="LEVEL", default_text="that of the model")
_address = partial(_model, on_command_line=False, kept=False)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Where they are empty, `model` is the provider's default, and a role's model is `model`."""

    real: bool = setting(
        Group.CORE,
        False,
        "ask the real Claude; without it, a simulated one answers",
        commands=PROVIDER_COMMANDS,
    )
    provider: Literal["anthropic", "bedrock"] = _model(
        "anthropic", "who serves Claude: anthropic or bedrock", "NAME"
    )
    model: Name = _model(
        "", "model id", "ID", default_text=f"{DEFAULT_MODELS['anthropic']}; bedrock: its own"
    )
    planner_model: Name = _model("", "model id for planning", "ID", default_text="that of --model")
    executor_model: Name = _model(
        "", "model id for the tasks", "ID", default_text="that of --model"
    )
    planner_effort: Effort | None = _effort(
        "how thoroughly it plans: low, medium, high, xhigh or max"
    )
    executor_effort: Effort | None = _effort("the same for the tasks")
    engine: Literal["api", "claude-code"] = _model(
        "api", "how executors reach Claude: api or claude-code", "NAME"
    )
    allow_commands: bool = _model(False, "let the model run shell commands on this machine")
    region: Region = _model(
        DEFAULT_REGION,
        "AWS region of Bedrock",
        "REGION",
        standard_env=AWS_REGION_ENV,
        only_with=WITH_BEDROCK,
    )
    base_url: Url = _address("", "address of the API", standard_env={"ANTHROPIC_BASE_URL": None})
    bedrock_base_url: Url = _address(
        "", "address of Bedrock", standard_env={"ANTHROPIC_BEDROCK_BASE_URL": None}
    )
    task_timeout: Positive = setting(
        Group.LIMITS,
        1800.0,
        "time limit of one attempt of a task",
        "SECONDS",
        commands=RUN_COMMANDS,
    )

    def __post_init__(self) -> None:
        if not self.model:
            object.__setattr__(self, "model", DEFAULT_MODELS[self.provider])
        for name in ("planner_model", "executor_model"):
            if not getattr(self, name):
                object.__setattr__(self, name, self.model)

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """Out of settings by name, such as `BackendContext.options`; those that are absent or None
        have their default."""
        known = {f.name for f in fields(cls)}
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
            if name in known and value is not None
        }
        return cls(**given)

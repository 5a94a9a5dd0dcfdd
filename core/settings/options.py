"""Declared options: one declaration a setting, from which all its spellings follow.

A setting is a field of a pydantic model whose annotation carries an Option. Its command-line
flag, environment variable, key in the settings file and line of --show-config are all made here.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ENV_PREFIX = "ORCHESTRATOR_"
RUN_COMMANDS = frozenset({"run", "resume"})
PLANNING_COMMANDS = frozenset({"run", "plan", "resume"})
PROVIDER_COMMANDS = PLANNING_COMMANDS | {"doctor"}
ALL_COMMANDS = PROVIDER_COMMANDS | {"runs", "simulated-api", "cancel", "clean"}


class Group:
    """Headings of --help, in their order."""

    CORE = "Core"
    PLAN = "Plan"
    MODEL = "Model"
    LIMITS = "Limits"
    CHECKS = "Checks"
    SIMULATION = "Simulation"
    BACKENDS = "Backends"
    DOCKER = "Docker"
    BEDROCK = "Bedrock"
    BATCH = "AWS Batch"
    SLURM = "Slurm"
    PARALLELCLUSTER = "AWS ParallelCluster"
    OUTPUT = "Output"
    ORDER = (
        *(CORE, PLAN, MODEL, LIMITS, CHECKS, SIMULATION, BACKENDS),
        *(DOCKER, BEDROCK, BATCH, SLURM, PARALLELCLUSTER, OUTPUT),
    )


@dataclass(frozen=True, slots=True)
class Option:
    """What a field's type and default do not tell about a setting.

    `sets` makes it another spelling of that setting: a flag gives it `sets_to`, any other option
    its own value. `only_with` names a setting and the value without which this one does nothing.
    """

    group: str
    help: str
    metavar: str = ""
    flags: tuple[str, ...] | None = None
    """None: made from the key. Empty: no command-line spelling."""
    commands: frozenset[str] = PLANNING_COMMANDS
    secret: bool = False
    default_text: str = ""
    """Shown in --help instead of the default."""
    standard_env: Mapping[str, object] = field(default_factory=dict)
    """Variables of others that are honoured, weaker than our own file. What they are mapped to is
    the value they stand for, or None for their own content."""
    in_file: bool = True
    kept: bool = True
    """Whether a run keeps this value for `resume`."""
    sets: str = ""
    sets_to: object = None
    beats: bool = False
    """Wins over what it sets when both come from the same place; otherwise that is an error."""
    only_with: tuple[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Declared:
    """One setting as all sources see it. `key` is its name everywhere outside the code."""

    name: str
    key: str
    option: Option
    kind: Literal["flag", "list", "path", "value"]
    choices: tuple[str, ...]
    default: object
    """None also where the default depends on other settings."""

    @property
    def flags(self) -> tuple[str, ...]:
        return self.option.flags if self.option.flags is not None else (f"--{dashed(self.key)}",)

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.key.upper()

    @property
    def metavar(self) -> str:
        return self.option.metavar or "|".join(self.choices) or "TEXT"

    @property
    def help(self) -> str:
        """The help text with its default, where there is one worth a word."""
        shown = self.option.default_text
        if not shown and self.kind != "flag" and self.default not in (None, "", ()):
            shown = f"{self.default:g}" if isinstance(self.default, float) else str(self.default)
        return f"{self.option.help} ({shown})" if shown else self.option.help


def declared_options(model: type[BaseModel]) -> tuple[Declared, ...]:
    """Every setting of `model`, by headings. Raises TypeError for a field without an Option."""
    found = (_declare(name, info) for name, info in model.model_fields.items())
    return tuple(sorted(found, key=lambda d: Group.ORDER.index(d.option.group)))


def options_of(declared: Sequence[Declared], command: str) -> tuple[Declared, ...]:
    """Those that may be given on the command line of `command`."""
    return tuple(d for d in declared if d.flags and command in d.option.commands)


def dashed(name: str) -> str:
    return name.replace("_", "-")


def _declare(name: str, info: FieldInfo) -> Declared:
    option = next((m for m in info.metadata if isinstance(m, Option)), None)
    if option is None:
        raise TypeError(f"setting {name!r} is not declared: its annotation has no Option")
    kind, choices = _kind(info.annotation)
    key = info.validation_alias if isinstance(info.validation_alias, str) else name
    default = None if info.default_factory else info.default
    return Declared(name, key, option, kind, choices, default)


def _kind(
    annotation: Any,
) -> tuple[Literal["flag", "list", "path", "value"], tuple[str, ...]]:
    """What sort of value an annotation takes, and its choices if they are fixed."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _kind(next(a for a in arguments if a is not types.NoneType))
    if origin is Literal:
        return "value", tuple(map(str, arguments))
    if annotation is bool:
        return "flag", ()
    if origin is tuple:
        return "list", ()
    return ("path" if getattr(annotation, "__name__", "") == "Path" else "value"), ()

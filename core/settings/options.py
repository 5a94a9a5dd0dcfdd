"""Declared settings: one declaration each, from which all spellings of a setting follow.

A setting is a field of a frozen dataclass, made by `setting`; its annotation carries a Kind where
the type alone does not tell which values are allowed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, get_type_hints

from core.settings.types import TEXT, Kind, kind_of

_KEY = "setting"
ENV_PREFIX = "ORCHESTRATOR_"
RUN_COMMANDS = frozenset({"run", "resume"})
PLANNING_COMMANDS = frozenset({"run", "plan", "resume"})
PROVIDER_COMMANDS = PLANNING_COMMANDS | {"doctor"}
LOOKING_COMMANDS = frozenset({"runs", "show", "logs", "report", "watch"})
ALL_COMMANDS = PROVIDER_COMMANDS | LOOKING_COMMANDS | {"simulated-api", "cancel", "undo", "clean"}


class Group(StrEnum):
    """Headings of --help-all, in their order."""

    CORE = "Core"
    EXISTING = "Existing code"
    PLAN = "Plan"
    MODEL = "Model"
    PROOF = "Proof"
    LIMITS = "Limits"
    SIMULATION = "Simulation"
    DOCKER = "Docker"
    BEDROCK = "Bedrock"
    BATCH = "AWS Batch"
    SLURM = "Slurm"
    PARALLELCLUSTER = "AWS ParallelCluster"
    OUTPUT = "Output"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `declared_settings` adds the `name`, `kind` and `default` of its field.

    `sets` makes it another spelling of that setting: a flag gives it `sets_to`, any other its own
    value. `only_with` names a setting and the value without which this one has no effect.
    """

    group: Group
    text: str
    metavar: str = ""
    key: str = ""
    """Its name outside the code; made from the field's name where it is empty."""
    on_command_line: bool = True
    commands: frozenset[str] = PLANNING_COMMANDS
    default_text: str = ""
    """Shown instead of the default."""
    standard_env: Mapping[str, object] = field(default_factory=dict)
    """Variables of other programs that are honoured, weaker than the settings file. Each is mapped
    to the value it stands for, or to None for its own content."""
    in_file: bool = True
    kept: bool = True
    """Whether a run keeps the value for `resume`."""
    sets: str = ""
    sets_to: object = None
    beats: bool = False
    """Wins over what it sets when both come from the same place; otherwise that is an error."""
    only_with: tuple[str, object] | None = None
    secret: bool = False
    masked_in_errors: bool = False
    """A wrong value may be a secret that belongs elsewhere."""
    name: str = ""
    kind: Kind = TEXT
    default: object = None

    @property
    def flag(self) -> str:
        """Its option; empty where it has none."""
        return f"--{dashed(self.key)}" if self.on_command_line else ""

    @property
    def spelling(self) -> str:
        """Its option, and for what is on by default also the one that switches it off."""
        return f"{self.flag}/{self.off}" if self.default is True else self.flag

    @property
    def off(self) -> str:
        return f"--no-{dashed(self.key)}"

    @property
    def env(self) -> str:
        return ENV_PREFIX + self.key.upper()

    @property
    def placeholder(self) -> str:
        """What stands for its value in the help; empty for a flag."""
        return "" if self.kind.is_flag else self.metavar or "|".join(self.kind.choices) or "TEXT"

    @property
    def shown_default(self) -> str:
        """The default where there is one worth a word."""
        if self.default_text or self.kind.is_flag or self.default in (None, "", ()):
            return self.default_text
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)


def setting(group: Group, default: object, text: str, metavar: str = "", **more: Any) -> Any:
    """A field of a dataclass with its default; `more` are fields of Setting."""
    return field(default=default, metadata={_KEY: Setting(group, text, metavar, **more)})


def declared_settings(model: type) -> tuple[Setting, ...]:
    """Every setting of a dataclass, by headings. Raises TypeError for a field made otherwise."""
    hints = get_type_hints(model, include_extras=True)
    found = []
    for f in fields(model):
        if (declared := f.metadata.get(_KEY)) is None:
            raise TypeError(f"The setting {f.name!r} is not declared with setting().")
        key, kind = declared.key or f.name, kind_of(hints[f.name])
        found.append(replace(declared, name=f.name, key=key, kind=kind, default=f.default))
    return tuple(sorted(found, key=lambda s: list(Group).index(s.group)))


def settings_of(settings: Sequence[Setting], command: str) -> tuple[Setting, ...]:
    """Those that may be given on the command line of `command`."""
    return tuple(s for s in settings if s.on_command_line and command in s.commands)


def dashed(name: str) -> str:
    return name.replace("_", "-")

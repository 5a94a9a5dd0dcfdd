"""The sources of settings, weakest first, as layers of values by key; the strongest wins.

Every value remembers its origin in words, so that an error can name the option, the variable or
the key it came from. Reading through pydantic-settings is imported only when something is loaded.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from pydantic import BaseModel, ValidationError

from core.credentials import MASK
from core.errors import SettingsError
from core.settings.options import ENV_PREFIX, Declared

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

DEFAULT_ORIGIN = "default"
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Layer:
    """Values of one source by key, and the origin of each."""

    values: Mapping[str, object]
    origin: Mapping[str, str]


@dataclass
class Merged:
    """The strongest value of each key, where it came from, and the number of its layer."""

    values: dict[str, object] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    rank: dict[str, int] = field(default_factory=dict)

    def put(self, key: str, value: object, origin: str, rank: int) -> None:
        self.values[key] = value
        self.origin[key] = origin
        self.rank[key] = rank

    def drop(self, key: str) -> None:
        """Back to the default."""
        self.values.pop(key, None)
        self.origin[key] = DEFAULT_ORIGIN
        self.rank[key] = -1


def merge_layers(declared: Iterable[Declared], layers: Sequence[Layer]) -> Merged:
    merged = Merged()
    for setting in declared:
        merged.drop(setting.key)
    for rank, layer in enumerate(layers):
        for key, value in layer.values.items():
            merged.put(key, value, layer.origin[key], rank)
    return merged


def option_layer(declared: Iterable[Declared], options: Mapping[str, object]) -> Layer:
    by_key = {d.key: d for d in declared}
    _refuse_unknown(options, by_key, "The command line")
    return Layer(options, {key: f"option {_spelling(by_key[key])}" for key in options})


def saved_layer(declared: Iterable[Declared], saved: Mapping[str, object], owner: str) -> Layer:
    """What a run kept. A key that is no setting any more is passed over."""
    known = {d.key for d in declared}
    values = {key: value for key, value in saved.items() if key in known}
    return Layer(values, dict.fromkeys(values, owner))


def standard_layer(declared: Iterable[Declared], environ: Mapping[str, str]) -> Layer:
    """Variables of others; the first that is set and not empty counts."""
    values: dict[str, object] = {}
    origin: dict[str, str] = {}
    for setting in declared:
        for variable, meaning in setting.option.standard_env.items():
            if environ.get(variable) and setting.key not in values:
                values[setting.key] = environ[variable] if meaning is None else meaning
                origin[setting.key] = f"environment {variable}"
    return Layer(values, origin)


def environment_layer(
    model: type[BaseModel], declared: Sequence[Declared], environ: Mapping[str, str]
) -> Layer:
    """Our own variables; an empty one counts as absent, lists are written in JSON."""
    from pydantic_settings import EnvSettingsSource
    from pydantic_settings import SettingsError as Unreadable

    source = EnvSettingsSource(_source_model(model))
    source.env_vars = {d.key: environ[d.env] for d in declared if environ.get(d.env)}
    try:
        values = source()
    except Unreadable as exc:
        raise SettingsError(
            f"A variable {ENV_PREFIX}... cannot be read: {exc}.", 'Write a list as ["a", "b"].'
        ) from exc
    return Layer(values, {d.key: f"environment {d.env}" for d in declared})


def file_layer(model: type[BaseModel], declared: Sequence[Declared], path: Path | None) -> Layer:
    """The settings file; no layer without one. Raises SettingsError for what it may not hold."""
    if path is None:
        return Layer({}, {})
    from tomllib import TOMLDecodeError

    from pydantic_settings import TomlConfigSettingsSource

    try:
        path.open("rb").close()  # the source passes over what it cannot find
        values = TomlConfigSettingsSource(_source_model(model), toml_file=path).toml_data
    except FileNotFoundError:
        raise SettingsError(f"The settings file {path} does not exist.") from None
    except (OSError, TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SettingsError(f"The settings file {path} cannot be read: {exc}.") from exc
    allowed = {d.key: d for d in declared if d.option.in_file}
    _refuse_unknown(values, allowed, str(path))
    return Layer(values, dict.fromkeys(values, path.name))


def absolute_path(text: str, cwd: Path, environ: Mapping[str, str]) -> Path:
    """No shell has expanded ~ in a file or in --option=~/x; a directory named ~ is never meant."""
    if (text == "~" or text.startswith("~/")) and environ.get("HOME"):
        text = environ["HOME"] + text[1:]
    return cwd / text


def make_absolute(
    declared: Iterable[Declared], merged: Merged, cwd: Path, environ: Mapping[str, str]
) -> None:
    for setting in declared:
        value = merged.values.get(setting.key, setting.default)
        if setting.kind != "path" or not isinstance(value, str | Path):
            continue
        if not str(value).strip() or not _is_path(str(value)):
            raise bad_value(setting, merged.origin[setting.key], value, "it must be a path")
        merged.values[setting.key] = absolute_path(str(value), cwd, environ)


def _is_path(text: str) -> bool:
    """Without NUL, and with a name that can be written down in JSON."""
    return "\0" not in text and text == text.encode(errors="replace").decode()


def validate(model: type[M], declared: Sequence[Declared], merged: Merged) -> M:
    for setting in declared:
        value = merged.values.get(setting.key)
        if isinstance(value, bool) and setting.kind != "flag":  # pydantic would read true as 1
            raise bad_value(setting, merged.origin[setting.key], value, "it takes a value")
    try:
        return model.model_validate(merged.values)
    except ValidationError as exc:
        # a default made from other settings fails only because one of those did
        errors = [e for e in exc.errors() if e["type"] != "default_factory_not_called"]
        by_key = {d.key: d for d in declared}
        key = str(errors[0]["loc"][0])
        why = re.sub(r"^(Input|String|Value) should", "it must", errors[0]["msg"])
        why = why.removeprefix("Value error, ").partition(", unable to")[0]
        value = merged.values.get(key)
        raise bad_value(by_key[key], merged.origin[key], value, why) from None


def let_stand_in(
    declared: Sequence[Declared], merged: Merged, found: BaseModel, target: str
) -> bool:
    """Apply the options that are other spellings of `target`; whether one did.

    The strongest source decides. Within one, an option that beats wins, and two that differ are
    refused.
    """
    by_key = {d.key: d for d in declared}
    asked = [d for d in declared if d.option.sets == target and _says_something(d, found)]
    if not asked:
        return False
    strongest = max(merged.rank[d.key] for d in asked)
    asked = [d for d in asked if merged.rank[d.key] == strongest]
    told = {d.key: d.option.sets_to if d.kind == "flag" else getattr(found, d.name) for d in asked}
    if merged.rank[target] > strongest:
        return False
    if merged.rank[target] == strongest and not asked[0].option.beats:
        told[target] = getattr(found, by_key[target].name)
    keys = list(told)
    if len(set(told.values())) > 1:
        both = " and ".join(f"{told[k]!r} ({merged.origin[k]})" for k in keys)
        raise SettingsError(f"{target} is asked for twice: {both}.", "Choose one of them.")
    merged.put(target, told[keys[0]], merged.origin[keys[0]], strongest)
    return True


def _says_something(setting: Declared, found: BaseModel) -> bool:
    return bool(getattr(found, setting.name)) and has_effect(setting, found)


def has_effect(setting: Declared, found: BaseModel) -> bool:
    if setting.option.only_with is None:
        return True
    name, value = setting.option.only_with
    return bool(getattr(found, name) == value)


def misspelt_variables(declared: Iterable[Declared], environ: Mapping[str, str]) -> list[str]:
    """A sentence for each of our variables that nobody reads but that looks like one that is."""
    known = [d.env for d in declared]
    return [
        f"The variable {name} is not read; did you mean {near[0]}?"
        for name in sorted(environ)
        if name.startswith(ENV_PREFIX) and name not in known
        if (near := difflib.get_close_matches(name, known, 1, 0.9))
    ]


def bad_value(setting: Declared, origin: str, value: object, why: str) -> SettingsError:
    shown = MASK if setting.option.secret else _without_secrets(repr(value))
    default = "" if setting.default in (None, "", ()) else f": the default is {setting.default}"
    return SettingsError(
        f"{setting.key} is {shown} ({origin}), but {why}.", f"Correct it or leave it out{default}."
    )


def _without_secrets(text: str) -> str:
    """`text` without what may be a password or a token in a URL."""
    if "//" not in text:
        return text
    named = re.sub("//.*@", f"//{MASK}@", text)  # a password may hold a slash
    return re.sub(r"[?#].*", f"?{MASK}'", named)


def _refuse_unknown(given: Iterable[str], known: Mapping[str, object], where: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key.replace("-", "_").lower(), known, 1, 0.5)
            remedy = f"Did you mean {near[0]!r}?" if near else "--show-config lists all keys."
            raise SettingsError(f"{where} has an unknown key {key!r}.", remedy)


def _spelling(setting: Declared) -> str:
    return setting.flags[0] if setting.flags else setting.key


def _source_model(model: type[BaseModel]) -> type[BaseSettings]:
    """The sources want a BaseSettings to look up names and types in."""
    from pydantic import create_model
    from pydantic_settings import BaseSettings

    return cast("type[BaseSettings]", create_model("Sources", __base__=(model, BaseSettings)))

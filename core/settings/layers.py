"""The sources of settings, weakest first, as layers of values by key; the strongest wins.

Every value remembers its origin in words, for errors. What cannot be used is added to a list of
errors, and does not count.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.credentials import MASK
from core.errors import SettingsError
from core.settings.options import ENV_PREFIX, Setting
from core.settings.types import Secret, is_utf8
from core.text_file import read_text

DEFAULT_ORIGIN = "default"
_MOST_SHOWN = 200
REFUSED = f"{DEFAULT_ORIGIN}; "
"""How an origin begins where the default took the place of a value that cannot be used."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value, where it came from, and the number of its layer."""

    value: object
    origin: str = DEFAULT_ORIGIN
    rank: int = -1


Layer = Mapping[str, tuple[object, str]]
"""Values of one source by key, each with its origin."""
Values = dict[str, Found]
Errors = list[SettingsError]


def standard_layer(settings: Iterable[Setting], environ: Mapping[str, str]) -> Layer:
    """Variables of other programs; the first that is set and not empty counts."""
    layer: dict[str, tuple[object, str]] = {}
    for setting in settings:
        for variable, meaning in setting.standard_env.items():
            if text := environ.get(variable):
                value = text if meaning is None else meaning
                layer.setdefault(setting.key, (value, f"environment {variable}"))
    return layer


def environment_layer(settings: Iterable[Setting], environ: Mapping[str, str]) -> Layer:
    """Our own variables; an empty one counts as absent."""
    return {s.key: (environ[s.env], f"environment {s.env}") for s in settings if environ.get(s.env)}


def file_layer(
    settings: Iterable[Setting],
    path: Path | None,
    errors: Errors,
    is_of_others: Callable[[str], bool],
) -> Layer:
    """The settings file; no values without one. A key that `is_of_others` is no error."""
    if path is None:
        return {}
    import tomllib

    try:
        values = tomllib.loads(read_text(path))
    except FileNotFoundError:
        reason = "does not exist"
    except OSError as exc:
        reason = f"cannot be read: {exc.strerror}"
    except (ValueError, RecursionError) as exc:
        reason = f"cannot be read: {exc}"
    else:
        known = [s.key for s in settings if s.in_file]
        unknown = [key for key in values if key not in known and not is_of_others(key)]
        errors += [_unknown(key, known, str(path)) for key in unknown]
        return {key: (value, path.name) for key, value in values.items() if key in known}
    fix = "Correct it, or name another with --config."
    errors.append(SettingsError(f"The settings file {path} {reason}.", fix))
    return {}


def saved_layer(settings: Iterable[Setting], saved: Mapping[str, object], run: str) -> Layer:
    """What a run kept. A key that is no setting any more is skipped."""
    return {s.key: (saved[s.key], f"run {run}") for s in settings if s.key in saved}


def option_layer(
    settings: Iterable[Setting], options: Mapping[str, object], errors: Errors
) -> Layer:
    flags = {s.key: s.flag or s.key for s in settings}
    errors += [_unknown(key, flags, "The command line") for key in options if key not in flags]
    flags |= {s.key: s.off for s in settings if options.get(s.key) is False}
    return {k: (value, f"option {flags[k]}") for k, value in options.items() if k in flags}


def merge_layers(settings: Iterable[Setting], layers: Sequence[Layer]) -> Values:
    """The strongest value of each key, as it was given."""
    found = {s.key: Found(s.default) for s in settings}
    for rank, layer in enumerate(layers):
        found |= {key: Found(value, origin, rank) for key, (value, origin) in layer.items()}
    return found


def parse_values(settings: Iterable[Setting], found: Values, errors: Errors) -> None:
    """Give each value its type; the default takes the place of one that cannot be used."""
    for setting in settings:
        given = found[setting.key]
        if given.origin == DEFAULT_ORIGIN or (given.value is None and setting.default is None):
            continue
        try:
            found[setting.key] = replace(given, value=setting.kind.parse(given.value))
        except ValueError as exc:
            errors.append(bad_value(setting, given, str(exc)))
            found[setting.key] = Found(setting.default, f"{REFUSED}{given.origin} is not valid")


def absolute_path(path: Path, cwd: Path, environ: Mapping[str, str]) -> Path:
    """No shell has expanded ~ in a file or in --option=~/x; a directory named ~ is never meant."""
    if path.parts[:1] == ("~",) and environ.get("HOME"):
        path = Path(environ["HOME"], *path.parts[1:])
    return cwd / path


def make_absolute(found: Values, cwd: Path, environ: Mapping[str, str], errors: Errors) -> None:
    """Each Path, alone or in a tuple."""

    def made(value: object) -> object:
        return absolute_path(value, cwd, environ) if isinstance(value, Path) else value

    for key, given in found.items():
        if isinstance(given.value, tuple):
            found[key] = replace(given, value=tuple(map(made, given.value)))
        if isinstance(given.value, Path):
            path = made(given.value)
            found[key] = replace(given, value=path)
            if key != "config" and not is_utf8(str(path)):  # which is kept nowhere
                fix = "Work in a directory whose name is, or give an absolute path."
                errors.append(SettingsError(f"The path {path} of {key} is not in UTF-8.", fix))


def apply_other_spellings(
    settings: Sequence[Setting], found: Values, target: str, errors: Errors
) -> None:
    """Let the settings that are other spellings of `target` set it.

    The strongest source decides. Within one, a spelling that beats wins, and two that differ are
    an error.
    """
    given = [
        s for s in settings if s.sets == target and found[s.key].value and has_effect(s, found)
    ]
    rank = max((found[s.key].rank for s in given), default=-1)
    given = [s for s in given if found[s.key].rank == rank]
    if not given or found[target].rank > rank:
        return
    values = {s.key: s.sets_to if s.kind.is_flag else found[s.key].value for s in given}
    if found[target].rank == rank and not given[0].beats:
        values[target] = found[target].value
    if len(set(values.values())) > 1:
        both = " and ".join(f"{v!r} ({found[k].origin})" for k, v in values.items())
        errors.append(SettingsError(f"{target} is given twice: {both}.", "Give only one of them."))
    found[target] = replace(found[given[0].key], value=values[given[0].key])


def has_effect(setting: Setting, found: Values) -> bool:
    if setting.only_with is None:
        return True
    key, value = setting.only_with
    return found[key].value == value


def misspelt_variables(settings: Iterable[Setting], environ: Mapping[str, str]) -> list[str]:
    """A sentence for each of our variables that is not read but looks like one that is."""
    known = [s.env for s in settings]
    return [
        f"The variable {name} is not read. Did you mean {near[0]}?"
        for name in sorted(environ)
        if name.startswith(ENV_PREFIX) and name not in known
        if (near := difflib.get_close_matches(name, known, 1, 0.9))
    ]


def bad_value(setting: Setting, given: Found, why: str) -> SettingsError:
    masked = setting.secret or setting.masked_in_errors
    shown = MASK if masked else _without_secrets(repr(given.value))
    shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."
    otherwise = "" if setting.default in (None, "", ()) else f": the default is {setting.default}"
    return SettingsError(
        f"Invalid value {shown} for {setting.key} ({given.origin}): {why}.",
        f"Correct it, or leave it out{otherwise}.",
    )


def plain(value: object) -> object:
    """A typed value as JSON holds it, secrets masked."""
    if isinstance(value, Path | Secret):
        return str(value)
    return list(map(plain, value)) if isinstance(value, tuple) else value


def in_words(value: object) -> str:
    if value in (None, ""):
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value))


def _without_secrets(text: str) -> str:
    """`text` without what may be a password or a token in a URL."""
    if "//" not in text:
        return text
    named = re.sub("//.*@", f"//{MASK}@", text)  # a password may hold a slash
    return re.sub(r"[?#].*", f"?{MASK}'", named)


def _unknown(key: str, known: Iterable[str], where: str) -> SettingsError:
    near = difflib.get_close_matches(key.replace("-", "_").lower(), known, 1, 0.5)
    remedy = f"Did you mean {near[0]!r}?" if near else "List all keys with --show-config."
    return SettingsError(f"{where} has an unknown key {key!r}.", remedy)

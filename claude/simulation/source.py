"""Pieces of Python source: imports as isort orders them, literals, and records' sample values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from claude.simulation.blueprint import Blueprint, Entity
from claude.simulation.sections import fill
from claude.simulation.vocabulary import Field

_MAX_COLUMNS = 100
_SAMPLES: Mapping[str, str | int] = {
    "text": "A few words",
    "note": "A short note",
    "email": "ada@example.org",
    "number": 1250,
    "count": 2,
    "reference": 1,
    "computed": 2500,
}


def literal(value: object) -> str:
    """A Python literal in double quotes."""
    return json.dumps(value)


def listed(values: Iterable[str]) -> str:
    """The literals of strings, separated by commas."""
    return ", ".join(map(literal, values))


def and_list(parts: list[str]) -> str:
    """a, b and c."""
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]


def tuple_of(values: Sequence[str]) -> str:
    """What stands between the brackets of a tuple."""
    return listed(values) + ("," if len(values) == 1 else "")


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def import_names(names: Iterable[str]) -> str:
    """Constants, classes, functions, each in alphabetical order."""
    return ", ".join(sorted(set(names), key=_import_order))


def _import_order(name: str) -> tuple[int, str]:
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return kind, name.lower()


def import_block(modules: Mapping[str, Iterable[str]]) -> str:
    """`from module import names` for each module; no names means `import module`."""
    plain = [f"import {m}\n" for m in sorted(modules) if not modules[m]]
    return "".join(plain) + "".join(
        _import_from(m, modules[m]) for m in sorted(modules) if modules[m]
    )


def _import_from(module: str, names: Iterable[str]) -> str:
    ordered = import_names(names)
    line = f"from {module} import {ordered}\n"
    if len(line) <= _MAX_COLUMNS + 1:
        return line
    body = "".join(f"    {name},\n" for name in ordered.split(", "))
    return f"from {module} import (\n{body})\n"


# A call, or brackets without a trailing comma, over several lines: `name(`, arguments, `)`.
_SPREAD = re.compile(
    r"^(?P<indent> *)(?P<head>.*[(])\n"
    r"(?P<body>(?:(?P=indent)    \S.*\n)+?)"
    r"(?P=indent)(?P<tail>[)].*)\n",
    re.MULTILINE,
)


def join_short(code: str) -> str:
    """Calls that templates spread over lines, on one line wherever they fit, innermost first."""
    while (joined := _SPREAD.sub(_join, code)) != code:
        code = joined
    return code


def _join(match: re.Match[str]) -> str:
    parts = [line.strip() for line in match["body"].splitlines()]
    inner = " ".join(parts)
    is_call = match["head"][-2:-1].isidentifier()
    line = (
        f"{match['indent']}{match['head']}{inner.rstrip(',') if is_call else inner}{match['tail']}"
    )
    opens = any(part.endswith(("(", "[", "{")) for part in parts)
    is_tuple = not is_call and inner.endswith(",")
    if opens or is_tuple or "#" in inner or len(line) > _MAX_COLUMNS:
        return match[0]
    return line + "\n"


def first_field(entity: Entity) -> Field:
    return entity.fields[0]


def sample(entity: Entity, field: Field) -> str | int:
    """A value for tests and examples; the first text of a record is its entity's own example."""
    if field.kind == "text" and field == first_field(entity):
        return entity.example
    return _SAMPLES[field.kind]


def samples(entity: Entity) -> dict[str, str | int]:
    """What a person would give for a new record."""
    return {f.name: sample(entity, f) for f in entity.inputs}


def shown(entity: Entity) -> str:
    """What a sample record is called on page and terminal."""
    field = first_field(entity)
    return f"{field.label} 1" if field.kind == "reference" else str(sample(entity, field))


def name_of(entity: Entity, record: str = "record") -> str:
    """The expression for what a record is called."""
    field = first_field(entity)
    if field.kind == "reference":
        return f'f"{field.label} {{{record}.{field.name}}}"'
    return f"{record}.{field.name}"


def page_path(blueprint: Blueprint, entity: Entity) -> str:
    return "/" if blueprint.is_single else f"/{entity.slug}"


def after_create(blueprint: Blueprint, entity: Entity) -> str:
    """Where a browser goes once its form was taken."""
    return page_path(blueprint, entity) + ("?sent=1" if entity.is_private else "")


def cli_words(blueprint: Blueprint, entity: Entity, verb: str) -> tuple[str, ...]:
    return (verb,) if blueprint.is_single else (entity.command, verb)


def create_words(blueprint: Blueprint, entity: Entity) -> tuple[str, ...]:
    """The command line that makes a sample record."""
    first, *others = entity.inputs
    words = [*cli_words(blueprint, entity, entity.create.verb), str(sample(entity, first))]
    for field in others:
        words += [option(field), str(sample(entity, field))]
    return tuple(words)


def option(field: Field) -> str:
    return "--" + field.name.replace("_", "-")


def flag_label(flag: str) -> str:
    return flag.replace("_", " ")


def verb_label(verb: str) -> str:
    return sentence(verb.replace("-", " "))


def new_constant(entity: Entity) -> str:
    return f"NEW_{entity.key.upper()}"


def new_constants(entities: Iterable[Entity]) -> str:
    """Samples as constants of a test module, with an empty line before each."""
    return "".join("\n" + _new(entity) for entity in entities)


def _new(entity: Entity) -> str:
    values = "".join(f"    {literal(k)}: {literal(v)},\n" for k, v in samples(entity).items())
    return fill("tests", "new", KEY=entity.key.upper(), values=values)


def lineage(blueprint: Blueprint, entity: Entity) -> tuple[Entity, ...]:
    """What must exist before a record of this entity, each after what it needs itself."""
    found: list[Entity] = []
    for parent in blueprint.parents(entity):
        found += [*lineage(blueprint, parent), parent]
    return tuple(dict.fromkeys(found))

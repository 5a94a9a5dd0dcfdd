"""Which files are merged by what they say, and how that is read."""

import configparser
import json
import re
import tomllib
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import PurePosixPath

from engine.merging.python_values import read_python
from engine.merging.script_values import read_script
from engine.merging.values import Item, Value, plain_value, put, requirement_name
from engine.merging.yaml_values import read_yaml

Reader = Callable[[str], Value]
MOST_CHARS = 100_000
"""Parsers, and what tries several ways of merging, take seconds above it."""
_MOST_DOTS = 100
"""In a line of TOML: tomllib's time grows with their square."""
_JSON_EXTRAS = re.compile(r'("(?:\\.|[^"\\\n])*")|//[^\n]*|/\*[\s\S]*?\*/')
_TRAILING_COMMA = re.compile(r'("(?:\\.|[^"\\\n])*")|,(?=\s*[}\]])')
_BULLET = re.compile(r"[-*+] |\s+\S")
_ENTRY = re.compile(r"""(?:(?:gem|require|replace) +)?['"]?([^\s=:'"]+)""")


def read_versions(path: str, texts: Sequence[str]) -> tuple[Reader, list[Value]] | None:
    """What each text says, by the first reader that understands them all; None without any."""
    if max(map(len, texts)) > MOST_CHARS:
        return None
    for reader in readers(path):
        values = [read_value(reader, text) for text in texts]
        found = [value for value in values if value is not None]
        if len(found) == len(texts):
            return reader, found
    return None


def read_value(reader: Reader, text: str) -> Value | None:
    """None where it is not valid, or nested too deeply for its parser."""
    try:
        return reader(text)
    except (ValueError, SyntaxError, ArithmeticError, RecursionError, MemoryError):
        return None


def readers(path: str) -> tuple[Reader, ...]:
    """Strict ones first."""
    name = PurePosixPath(path).name
    if is_list(path):
        is_keyed = _KEYED.fullmatch(name) is not None
        return (partial(_read_list, name),) if is_keyed else (_read_ignored,)
    return _BY_SUFFIX.get(PurePosixPath(path).suffix, ())


def is_list(path: str) -> bool:
    """Of lines whose order hardly matters."""
    return _LISTS.fullmatch(PurePosixPath(path).name) is not None


_KEYED = re.compile(
    r"(?:.*[-_.])?(?:requirements|constraints)(?:[-_.].*)?\.(?:txt|in)|CODEOWNERS|go\.mod|Gemfile"
    r"|\.env\.\w+|\.gitattributes"
)
_LISTS = re.compile(rf"{_KEYED.pattern}|\.\w+ignore|MANIFEST\.in|AUTHORS|CONTRIBUTORS")


def _read_json(text: str) -> Value:
    return plain_value(json.loads(text, object_pairs_hook=_mapping, parse_float=Decimal))


def _mapping(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _read_lenient_json(text: str) -> Value:
    """With comments and trailing commas, as those who read some files take them."""
    bare = _JSON_EXTRAS.sub(lambda found: found[1] or " ", text)
    return _read_json(_TRAILING_COMMA.sub(lambda found: found[1] or "", bare))


def _read_toml(text: str) -> Value:
    if any(line.count(".") > _MOST_DOTS for line in text.split("\n")):
        raise ValueError("too many dots")
    return plain_value(tomllib.loads(text, parse_float=Decimal))


def _read_ini(text: str) -> Value:
    parser = configparser.RawConfigParser(default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # as its documentation says
    try:
        parser.read_string(text)
    except configparser.Error as exc:
        raise ValueError(str(exc)) from exc
    sections = {name: dict(parser.items(name)) for name in parser.sections()}
    return plain_value({name: _split_all(found) for name, found in sections.items()})


def _split_all(section: dict[str, str]) -> dict[str, object]:
    return {k: v.split("\n")[1:] if v.startswith("\n") else v for k, v in section.items()}


def _read_ignored(text: str) -> Value:
    """What is taken back (`!name`) depends on what stands before it."""
    lines = [line.rstrip() for line in text.split("\n")]
    return {"": tuple(_ignored(line) for line in lines if line and line[0] != "#")}


def _ignored(line: str) -> Item:
    return Item(line, "" if line.startswith("!") else "pattern")


def _read_list(name: str, text: str) -> Value:
    """By the name that each line begins with."""
    found: dict[str, Value] = {}
    is_requirements = name.endswith((".txt", ".in"))
    for line in (line.strip() for line in text.split("\n")):
        if line and not line.startswith("#"):
            entry = _ENTRY.match(line)
            key = requirement_name(line) if is_requirements else entry[1] if entry else ""
            put(found, key or line, line)
    return found


def _read_markdown(text: str) -> Value:
    lines = [line for line in text.split("\n") if line.strip()]
    return {"": tuple(Item(line, _markdown_group(line)) for line in lines)}


def _markdown_group(line: str) -> str:
    if line.startswith("|"):
        return "row"
    return "bullet" if _BULLET.match(line) else ""


_BY_SUFFIX: dict[str, tuple[Reader, ...]] = {
    **dict.fromkeys((".json", ".jsonc", ".webmanifest"), (_read_json, _read_lenient_json)),
    **dict.fromkeys((".yaml", ".yml"), (read_yaml,)),
    **dict.fromkeys((".ini", ".cfg"), (_read_ini,)),
    **dict.fromkeys((".py", ".pyi"), (read_python,)),
    **dict.fromkeys((".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts"), (read_script,)),
    ".toml": (_read_toml,),
    ".md": (_read_markdown,),
}

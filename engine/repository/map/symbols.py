"""What source files define at their top level, and how many others name it: by the tokens of each
language, which is enough for a map and needs no parser of it."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from engine.repository.map.tree_view import is_aside

_SUFFIXES = {
    "Python": "py pyi",
    "JavaScript": "js jsx mjs cjs",
    "TypeScript": "ts tsx mts cts",
    "C": "c h",
    "C++": "cc cpp cxx hpp hh",
    "C#": "cs",
    "Dart": "dart",
    "Elixir": "ex exs",
    "Go": "go",
    "Java": "java",
    "Kotlin": "kt kts",
    "Lua": "lua",
    "PHP": "php",
    "Ruby": "rb",
    "Rust": "rs",
    "SQL": "sql",
    "Scala": "scala",
    "Shell": "sh bash",
    "Svelte": "svelte",
    "Swift": "swift",
    "Vue": "vue",
}
LANGUAGES = {f".{suffix}": name for name, all_ in _SUFFIXES.items() for suffix in all_.split()}
"""By suffix, the language of a file with code."""

_TYPES = r"class|struct|enum|interface|trait|protocol|record|object|module|defmodule|namespace"
_OTHERS = r"def|fn|func|fun|function|type|const|macro_rules!"
_WORDS = r"(?:[a-z]+(?:\([a-z]+\))?[ ]+){0,4}?"
_IDENTIFIER = r"([A-Za-z_$][\w$]{2,80})[^\n]*"
_DEFINITION = re.compile(
    rf"^(?:(?:[ ]{{0,4}}|\t){_WORDS}(?:{_TYPES})[ ]+"
    rf"|{_WORDS}(?:{_OTHERS})[ *]+(?:\([^()\n]{{0,80}}\)[ ]*)?){_IDENTIFIER}",
    re.MULTILINE,
)
_OF_LANGUAGE = {
    "Python": re.compile(rf"^(?:class|def|async def)[ ]+{_IDENTIFIER}", re.MULTILINE),
    **dict.fromkeys(
        ("C", "C++"),
        re.compile(
            r"^(?!static)[A-Za-z_][\w \t*]{0,80}?\b(\w{3,80})\([^;{}]{0,400}\)\s*\{", re.MULTILINE
        ),
    ),
}
_NAME = re.compile(r"[A-Za-z_$][\w$]{2,80}")
MOST_DEFINITIONS = 3
"""A name that more files define, such as main, tells nothing by being named."""
_LIGHTER = 30
_LONGEST_LINE = 110


def names_in(text: str) -> set[str]:
    return set(_NAME.findall(text))


def definitions(suffix: str, text: str) -> dict[str, str]:
    """How each definition begins, the first of a name."""
    found: dict[str, str] = {}
    for match in _OF_LANGUAGE.get(LANGUAGES[suffix], _DEFINITION).finditer(text):
        line = match[0].partition("\n")[0].strip().rstrip("{(: ")
        found.setdefault(match[1], line[:_LONGEST_LINE])
    return found


@dataclass(frozen=True, slots=True)
class Symbol:
    """`line` is how the definition begins; `users` are so many other files that name it."""

    path: str
    name: str
    line: str
    users: int


@dataclass
class SymbolIndex:
    """Fed with one file after the other. What tests and examples define is left out."""

    _defined: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """By name and path, the line."""
    _named_in: Counter[str] = field(default_factory=Counter)

    def add(self, path: str, suffix: str, text: str) -> None:
        self._named_in.update(names_in(text))
        if not is_aside(path):
            for name, line in definitions(suffix, text).items():
                self._defined[name][path] = line

    def ranked(self) -> list[Symbol]:
        """Those that other files name, the most named first."""
        found = [
            Symbol(path, name, line, users)
            for name, places in self._defined.items()
            if len(places) <= MOST_DEFINITIONS and (users := self._named_in[name] - len(places)) > 0
            for path, line in places.items()
        ]
        return sorted(found, key=lambda s: (-s.users * weight_of(s.name), s.path, s.name))


def weight_of(name: str) -> float:
    """A plain word is mostly named for another reason."""
    return 1 / _LIGHTER if name.isalpha() and name.islower() else 1.0

"""What the files that describe a project say of it: name, dependencies, scripts, entry points, and
how it is tested."""

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_MOST_VALUE_CHARS = 700
_MOST_RAW_CHARS = 700
_LESS = ("#", "//", ";", "--hash")
_TARGET = re.compile(r"^([A-Za-z][\w.-]*)\s*:(?!=)", re.MULTILINE)

_Keys = Sequence[str]
_PYPROJECT: _Keys = (
    "project.name",
    "project.requires-python",
    "project.dependencies",
    "project.optional-dependencies",
    "project.scripts",
    "project.entry-points",
    "dependency-groups",
    "build-system.build-backend",
    "tool.poetry.name",
    "tool.poetry.dependencies",
    "tool.poetry.scripts",
    "tool.pytest",
    "tool.ruff.line-length",
    "tool.mypy.strict",
)
_PACKAGE_JSON: _Keys = (
    *("name", "type", "main", "module", "types", "exports", "bin", "files", "engines"),
    *("packageManager", "workspaces", "scripts", "dependencies", "peerDependencies"),
    *("devDependencies", "jest", "vitest", "mocha", "ava"),
)
_CARGO: _Keys = (
    *("package.name", "package.edition", "workspace.members", "bin", "features"),
    *("dependencies", "dev-dependencies"),
)
_COMPOSER: _Keys = ("name", "require", "require-dev", "autoload", "scripts", "bin")


def describes(name: str) -> bool:
    """Whether a file of that name describes a project."""
    return name in _READERS


def describe(name: str, text: str) -> str:
    """What matters of a file of that name; "" where it is none that describes a project."""
    if (read := _READERS.get(name)) is None:
        return ""
    try:
        return read(text)
    except (ValueError, RecursionError, AttributeError):
        return _raw(text)


def _chosen(load: Callable[[str], Any], keys: _Keys) -> Callable[[str], str]:
    def read(text: str) -> str:
        document = load(text)
        if not isinstance(document, Mapping):
            raise ValueError("no object")
        lines = ((key, _value_at(document, key)) for key in keys)
        return "\n".join(f"{key}: {_compact(value)}" for key, value in lines if value is not None)

    return read


def _value_at(document: Any, key: str) -> Any:
    for part in key.split("."):
        document = document.get(part) if isinstance(document, Mapping) else None
    return document


def _compact(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(", ", ": "), default=str)
    return text if len(text) <= _MOST_VALUE_CHARS else f"{text[:_MOST_VALUE_CHARS]}..."


def _targets(text: str) -> str:
    return f"targets: {', '.join(dict.fromkeys(_TARGET.findall(text)))}"[:_MOST_VALUE_CHARS]


def _raw(text: str) -> str:
    """Its beginning, without comments and empty lines."""
    lines = (line.rstrip() for line in text.splitlines())
    kept = [line for line in lines if line and not line.lstrip().startswith(_LESS)]
    shown = "\n".join(kept)
    return shown if len(shown) <= _MOST_RAW_CHARS else f"{shown[:_MOST_RAW_CHARS]}..."


_READERS: Mapping[str, Callable[[str], str]] = {
    "pyproject.toml": _chosen(tomllib.loads, _PYPROJECT),
    "package.json": _chosen(json.loads, _PACKAGE_JSON),
    "Cargo.toml": _chosen(tomllib.loads, _CARGO),
    "composer.json": _chosen(json.loads, _COMPOSER),
    "Makefile": _targets,
    "justfile": _targets,
    **dict.fromkeys(
        (
            *("setup.cfg", "setup.py", "pytest.ini", "tox.ini", "noxfile.py", "requirements.txt"),
            *("requirements-dev.txt", "Pipfile", "go.mod", "pom.xml", "build.gradle"),
            *("build.gradle.kts", "Gemfile", "Rakefile", "mix.exs", "Package.swift", "build.sbt"),
            *("CMakeLists.txt", "meson.build", "deno.json", "pubspec.yaml"),
        ),
        _raw,
    ),
}

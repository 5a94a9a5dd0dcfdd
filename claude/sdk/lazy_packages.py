"""Imports the vendor's SDK in a quarter of its time: most of that goes into thousands of types,
which its packages import only to give them out, and which nothing here uses.

A package whose __init__ only gives out what its modules define is given out name by name instead,
each when it is first asked for. A module of LATE is imported when its function is first called. Any
other is imported as it stands.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

SDK = "anthropic"
LATE = {
    "anthropic._error_classes": "make_status_error",
    "anthropic.lib._tracing._api_call": "finish_api_call_span",
}
"""By module, its function that a client imports. They import all types of errors and of messages,
for refused requests and for traces, which are never asked of the SDK here."""


class LazyPackages(MetaPathFinder):
    """Finds the packages of `root`, to be imported lazily."""

    def __init__(self, root: str) -> None:
        self._root = root

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] != self._root:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.submodule_search_locations and type(spec.loader) is SourceFileLoader:
            spec.loader = _LazyLoader(name, spec.loader.path, whole=name == self._root)
        if spec and name in LATE and type(spec.loader) is SourceFileLoader:
            spec.loader = _LateLoader(name, spec.loader.path)
        return spec


class _LazyLoader(SourceFileLoader):
    """`whole` says that what a package does besides giving out names may be left out."""

    def __init__(self, name: str, path: str, *, whole: bool) -> None:
        super().__init__(name, path)
        self._whole = whole

    def exec_module(self, module: ModuleType) -> None:
        body = ast.parse(self.get_data(self.path)).body
        given = list(_given_out(body))
        if not given or not (self._whole or all(map(_only_gives_out, body))):
            super().exec_module(module)
            return
        names = {name: (source, own) for name, source, own in given if name != "*"}
        stars = [source for name, source, _ in given if name == "*"]
        package = module.__name__

        def find(name: str) -> Any:
            if name in names:
                source, own = names[name]
                inner = import_module(f"{package}.{source or own}")
                value = getattr(inner, own) if source else inner
            else:
                value = _from_stars(name, [f"{package}.{star}" for star in stars])
            setattr(module, name, value)
            return value

        vars(module).update(__getattr__=find, __all__=[*names])


class _LateLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        names, function = vars(module), LATE[module.__name__]

        def find(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            names.pop("__getattr__", None)
            SourceFileLoader.exec_module(self, module)
            return names[name]

        def call(*args: Any, **named: Any) -> Any:
            found = names[function]
            return (find(function) if found is call else found)(*args, **named)

        names.update({"__getattr__": find, function: call})


def _given_out(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str | None, str]]:
    """Each name that is imported from within the package, its module and its name there."""
    for line in body:
        if isinstance(line, ast.ImportFrom) and line.level == 1:
            for alias in line.names:
                yield alias.asname or alias.name, line.module, alias.name


def _only_gives_out(line: ast.stmt) -> bool:
    if isinstance(line, ast.ImportFrom):
        return line.level == 1 or line.module == "__future__"
    if isinstance(line, ast.Assign):
        return [ast.unparse(target) for target in line.targets] == ["__all__"]
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def _from_stars(name: str, sources: Sequence[str]) -> Any:
    for source in () if name.startswith("_") else sources:
        if name in vars(inner := import_module(source)).get("__all__", vars(inner)):
            return getattr(inner, name)
    raise AttributeError(name)


if not any(isinstance(finder, LazyPackages) for finder in sys.meta_path):
    sys.meta_path.insert(0, LazyPackages(SDK))

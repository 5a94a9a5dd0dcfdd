"""The delivered files as those that name them see them."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

_MADE = re.compile(
    r"(^|/)(\.next|_?build|bin|coverage|dist|lib|node_modules|out|target|venv|\.venv)(/|$)"
    r"|lock(\.\w+)?$|(^|/)(\.env[^/]*|go\.sum)$"
)


class Tree:
    """`texts` by path; the others of `paths` are too large or no text."""

    def __init__(self, texts: Mapping[str, str], paths: frozenset[str]) -> None:
        self.texts = texts
        self.paths = paths
        self._directories = {"", *(d for path in paths for d in _above(path))}

    def has(self, path: str, base: str = "") -> bool:
        """Whether there is such a file or directory, or may be once the project is installed and
        built. `path` is relative to the directory `base`, and may hold wildcards."""
        full = posixpath.normpath(posixpath.join(base, path)).removeprefix("./")
        full = "" if full == "." else full
        if full.startswith(("/", "..")) or _MADE.search(full):
            return True  # outside of the project, or made
        if full in self.paths or full in self._directories:
            return True
        return any(c in full for c in "*?[") and any(
            fnmatchcase(known, full) for known in (*self.paths, *self._directories)
        )


def _above(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path

"""The files of a code base, by what a plan may call them."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import accumulate

from core.paths import EVERYTHING

_WORD = re.compile(r"[\w@+./-]+")
_MOST_OF_A_NAME = 3
"""A name without a directory that more files bear tells of none of them."""


class FileIndex:
    """`paths` are ordered."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = tuple(paths)
        self._files = frozenset(self.paths)

    def expand(self, entries: Iterable[str]) -> Iterator[str]:
        """Of each entry the file, or all files below the directory, in order."""
        for entry in entries:
            place = entry.rstrip("/")
            if entry == EVERYTHING:
                yield from self.paths
            elif place in self._files:
                yield place
            else:
                yield from self._below(place)

    def beside(self, directory: str) -> list[str]:
        """The files directly in a directory, "" for the root."""
        return self._children[directory]

    def named_in(self, text: str, *, command: bool = False) -> Iterator[str]:
        """The files that a text names: by path, by a path of a directory, as a module, or by a name
        that few bear. In a `command` any word may be a directory."""
        for word in _WORD.findall(text):
            name = word.removeprefix("./").rstrip("./")
            if name in self._files:
                yield name
                continue
            if "/" in name or command:
                yield from self._below(name)
            if "/" not in name and "." in name:
                found = self._children_by_name[name]
                yield from found if len(found) <= _MOST_OF_A_NAME else ()
                yield from self._module(name)

    def modules_in(self, text: str) -> Iterator[str]:
        """The files of modules that a text names with dots."""
        for word in _WORD.findall(text):
            if "." in word and "/" not in word:
                yield from self._module(word)

    def _below(self, place: str) -> Iterator[str]:
        first = bisect_left(self.paths, f"{place}/")
        yield from self.paths[first : bisect_left(self.paths, f"{place}0")]  # what follows "/"

    def _module(self, name: str) -> Iterator[str]:
        for place in reversed(list(accumulate(name.split("."), "{}/{}".format))):
            found = [p for p in (f"{place}.py", f"{place}/__init__.py") if p in self._files]
            if found:
                yield from found
                return

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        return _grouped((path.rpartition("/")[0], path) for path in self.paths)

    @cached_property
    def _children_by_name(self) -> dict[str, list[str]]:
        return _grouped((path.rpartition("/")[2], path) for path in self.paths)


def directories(path: str) -> list[str]:
    """Those above a path, the topmost first, without the root."""
    return list(accumulate(path.split("/")[:-1], "{}/{}".format))


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups

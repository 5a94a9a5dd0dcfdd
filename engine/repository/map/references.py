"""Which files refer to some, or are referred to by them, as far as the names tell that they define
and use."""

from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

from core.job import Manifest
from engine.repository.map.file_index import FileIndex, directories
from engine.repository.map.reading import code_files, read_in_order, suffix_of
from engine.repository.map.symbols import MOST_DEFINITIONS, definitions, names_in, weight_of
from engine.repository.map.tree_view import is_aside

_ENOUGH = 1.0
"""Of names in common, by weight; less comes about by chance."""


def find_references(manifest: Manifest, root: Path, owned: Collection[str]) -> list[str]:
    """The files that `owned` ones build upon, modules that they name first, then those that build
    upon them; each with most names in common first. As many files are read as for the map, the
    nearest first."""
    code, index = code_files(manifest), FileIndex(manifest.paths)
    named, defined, modules = set[str](), set[str](), list[str]()
    for path, text in read_in_order(root, (e for e in code if e.path in owned)):
        modules += index.modules_in(text)
        named |= names_in(text)
        defined |= definitions(suffix_of(path), text).keys()
    places, uses = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    nearness = _nearness(owned)
    others = sorted((e for e in code if e.path not in owned), key=lambda e: nearness(e.path))
    for path, text in read_in_order(root, others):
        found = definitions(suffix_of(path), text).keys()
        for name in found & (named | defined):
            places[name].append(path)
        for name in (names_in(text) & defined) - found:
            uses[name].append(path)
    telling = {n for n in named | defined if len(places[n]) + (n in defined) <= MOST_DEFINITIONS}
    below = _ranked({name: places[name] for name in telling & (named - defined)})
    below = [*(path for path in dict.fromkeys((*modules, *below)) if path not in owned)]
    return [*below, *_ranked({name: uses[name] for name in telling & defined})]


def _ranked(files: dict[str, list[str]]) -> list[str]:
    """By the names that each has."""
    shares: dict[str, float] = defaultdict(float)
    for name, paths in sorted(files.items()):  # the same sums in each process
        for path in paths:
            shares[path] += weight_of(name)
    enough = (path for path, share in shares.items() if share >= _ENOUGH)
    return sorted(enough, key=lambda path: (-shares[path], path))


def _nearness(owned: Collection[str]) -> Callable[[str], tuple[int, bool, int, str]]:
    """The order in which files are read: those with most directories in common first."""
    known = {place for path in owned for place in directories(path)}

    def key(path: str) -> tuple[int, bool, int, str]:
        common = sum(place in known for place in directories(path))
        return -common, is_aside(path), path.count("/"), path

    return key

"""Each file that describes how the project runs, as a check of its own.

They are read and not run, so that this needs no sandbox and none of their tools.
"""

import posixpath
import re
import time
from collections.abc import Callable, Iterator

from core.events import CONTRACTS, CheckEnded, Proof
from core.workspace.confined import read_regular
from engine.delivery.merge import MergedFile, MergePlan
from engine.verification.config_files import compose, dockerfile, manifests
from engine.verification.config_files.tree import Tree
from engine.verification.config_files.values import find_env_faults
from engine.verification.conventions import is_test

PHASE = "config"
_ENV = re.compile(r"\.env(\.[\w-]+)*|[\w-]+\.env(\.[\w-]+)*")
_DATA = re.compile(r".+\.(json|toml|ya?ml)")
_MOST_BYTES = 256 * 1024
_MOST_SHOWN = 5

_Find = Callable[[str, str, Tree], Iterator[str]]


def check_config_files(merged: MergePlan) -> Iterator[CheckEnded]:
    """What only holds data is told of where it cannot be read, and passes untold."""
    texts = dict(_texts(merged))
    tree = Tree(texts, frozenset(file.path for file in merged.files))
    for file in merged.files:
        if file.path not in texts or is_test(file.path):
            continue
        find, is_told = _choose(file.path)
        if find is None:
            continue
        began = time.process_time()
        faults = _find_faults(find, file.path, tree)
        if faults or is_told:
            yield _end(file, faults, round(time.process_time() - began, 3))


def _texts(merged: MergePlan) -> Iterator[tuple[str, str]]:
    """Of all that is text, also source files, which others name."""
    for file in merged.files:
        if file.entry.size <= _MOST_BYTES:
            try:
                yield file.path, read_regular(file.source, file.entry.size).decode()
            except (OSError, UnicodeDecodeError):
                continue


def _choose(path: str) -> tuple[_Find | None, bool]:
    """How to judge this file, and whether it is told of when nothing is wrong."""
    name = posixpath.basename(path)
    if compose.NAMES.fullmatch(name):
        return compose.find_faults, True
    if dockerfile.NAMES.fullmatch(name):
        return dockerfile.find_faults, True
    if name == "package.json":
        return manifests.find_package_faults, True
    if name == "pyproject.toml":
        return manifests.find_pyproject_faults, True
    if manifests.WORKFLOW.fullmatch(path):
        return manifests.find_workflow_faults, True
    if _ENV.fullmatch(name):
        return find_env_faults, True
    return (manifests.find_syntax_faults, False) if _DATA.fullmatch(name) else (None, False)


def _find_faults(find: _Find, path: str, tree: Tree) -> list[str]:
    try:
        return list(find(path, tree.texts[path], tree))
    except ValueError as exc:
        return [str(exc)]


def _end(file: MergedFile, faults: list[str], seconds: float) -> CheckEnded:
    tasks = () if file.owner == CONTRACTS else (file.owner,)
    if not faults:
        return CheckEnded(PHASE, file.path, tasks, Proof.PASSED, "", seconds)
    first, *rest = faults[:_MOST_SHOWN]
    return CheckEnded(PHASE, file.path, tasks, Proof.FAILED, first, seconds, "\n".join(rest))

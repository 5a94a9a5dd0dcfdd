"""Each file that describes how the project runs, as a check of its own.

They are read and not run, so that this needs no sandbox and none of their tools; what only its own
program can read is a command for the sandbox.
"""

import posixpath
import re
import time
from collections.abc import Callable, Iterable, Iterator

from core.check_request import Check
from core.checks import nginx
from core.events import CONTRACTS, EXISTING, CheckEnded, Proof
from core.plan import Plan
from core.workspace.confined import read_regular
from engine.delivery.merge import MergedFile, MergePlan
from engine.verification.config_files import compose, dockerfile, manifests, systemd
from engine.verification.config_files.tree import Tree
from engine.verification.config_files.values import find_env_faults
from engine.verification.conventions import is_test
from engine.verification.repairs.trace import owner_of

PHASE = "config"
DATA = "other JSON, TOML and YAML"
_ENV = re.compile(r"\.env(\.[\w-]+)*|[\w-]+\.env(\.[\w-]+)*")
_DATA = re.compile(r".+\.(json|toml|ya?ml)")
_MOST_BYTES = 256 * 1024
_MOST_SHOWN = 5

_Find = Callable[[str, str, Tree], Iterator[str]]


def check_config_files(merged: MergePlan, plan: Plan) -> Iterator[CheckEnded]:
    """One check for each that was written, and one for all files that only hold data."""
    texts = dict(_texts(merged))
    tree = Tree(texts, frozenset(file.path for file in merged.files))
    files = [f for f in merged.files if f.path in texts and not is_test(f.path)]
    files = [file for file in files if file.owner != EXISTING]
    data = [file for file in files if _DATA.fullmatch(file.path) and not _choose(file.path)]
    for file in files:
        if (find := _choose(file.path)) is not None:
            began = time.process_time()
            faults = _find_faults(find, file.path, tree)
            yield _end(file.path, _owners([file], plan), faults, began)
    if data:
        began = time.process_time()
        found = [(f, _find_faults(manifests.find_syntax_faults, f.path, tree)) for f in data]
        faults = [f"{file.path}: {fault}" for file, faults in found for fault in faults]
        faults = [f"{len(faults)} of {len(data)} cannot be read", *faults] if faults else []
        yield _end(DATA, _owners([f for f, faults in found if faults], plan), faults, began)


def checks_of_config_files(merged: MergePlan, plan: Plan) -> Iterator[Check]:
    """Those that their own programs make."""
    texts = dict(_texts(merged))
    for file in (file for file in merged.files if file.owner != EXISTING):
        if command := nginx.command_for(file.path, texts.get(file.path, "")):
            yield Check(command, _owners([file], plan))


def _texts(merged: MergePlan) -> Iterator[tuple[str, str]]:
    """Of all that is text, also source files, which others name."""
    for file in merged.files:
        if file.entry.size <= _MOST_BYTES:
            try:
                yield file.path, read_regular(file.source, file.entry.size).decode()
            except (OSError, UnicodeDecodeError):
                continue


def _choose(path: str) -> _Find | None:
    """How to judge this file; None for data and all that is not read."""
    name = posixpath.basename(path)
    if compose.NAMES.fullmatch(name):
        return compose.find_faults
    if dockerfile.NAMES.fullmatch(name):
        return dockerfile.find_faults
    if name == "package.json":
        return manifests.find_package_faults
    if name == "pyproject.toml":
        return manifests.find_pyproject_faults
    if systemd.NAMES.fullmatch(name):
        return systemd.find_faults
    if manifests.WORKFLOW.fullmatch(path):
        return manifests.find_workflow_faults
    return find_env_faults if _ENV.fullmatch(name) else None


def _find_faults(find: _Find, path: str, tree: Tree) -> list[str]:
    try:
        return list(find(path, tree.texts[path], tree))
    except ValueError as exc:
        return [str(exc)]


def _owners(files: Iterable[MergedFile], plan: Plan) -> tuple[str, ...]:
    return tuple(dict.fromkeys(o for f in files if (o := owner_of(f, plan)) != CONTRACTS))


def _end(name: str, tasks: tuple[str, ...], faults: list[str], began: float) -> CheckEnded:
    seconds = round(time.process_time() - began, 3)
    if not faults:
        return CheckEnded(PHASE, name, tasks, Proof.PASSED, "", seconds)
    first, *rest = faults[:_MOST_SHOWN]
    return CheckEnded(PHASE, name, tasks, Proof.FAILED, first, seconds, "\n".join(rest))

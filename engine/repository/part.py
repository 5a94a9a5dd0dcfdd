"""The part of a large base that executors get: what a plan needs of it, in order of need."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.job import Manifest, ManifestEntry
from core.paths import EVERYTHING
from core.plan import Plan
from engine.repository.map.file_index import FileIndex, directories
from engine.repository.map.project_files import describes
from engine.repository.map.references import find_references
from engine.repository.map.tree_view import is_aside

_CONFIGURATION = re.compile(
    r"\..+|.+\.(toml|cfg|ini|lock|mod|sum|work|gradle|kts|props|targets|cmake|bazel|bzl|csproj|sln)"
    r"|package(-lock)?\.json|tsconfig.*\.json|.+\.config\.\w+|conftest\.py|__init__\.py|BUILD"
    r"|Dockerfile|WORKSPACE|(AGENTS|CLAUDE|README).*"
)


@dataclass(frozen=True, slots=True)
class SendLimit:
    """How much of a base goes with every job: a larger one costs each job seconds, and disk."""

    files: int = 10_000
    size: int = 64 * 1024 * 1024
    """Bytes, unpacked."""

    def holds(self, manifest: Manifest) -> bool:
        return len(manifest.entries) <= self.files and manifest.size <= self.size

    def told_for(self, manifest: Manifest) -> str:
        """In words; empty where the whole may be sent."""
        return "" if self.holds(manifest) else str(self)

    def __str__(self) -> str:
        return f"{self.files:,} files and {self.size / 1024**2:,.0f} MiB"


@dataclass(frozen=True, slots=True)
class BasePart:
    """What is `sent` and what is not; `dropped` was asked for by the plan, and is over `limit`."""

    sent: Manifest
    unsent: Manifest
    dropped: tuple[str, ...]
    limit: SendLimit


def choose_part(
    manifest: Manifest, root: Path, plan: Plan, prompt: str, limit: SendLimit
) -> BasePart:
    """Exact files that tasks own, in any case, and of the rest as much as the limit holds: what is
    below directories that they own, what plan and prompt name, configuration, what `reads` names,
    what stands beside owned files, what refers to them, and for who owns everything the rest."""
    index, chosen = FileIndex(manifest.paths), _Chosen(manifest, limit)
    entries = tuple(sorted({e for task in plan.tasks for e in task.owns if e != EVERYTHING}))
    contracts = (contract.path for contract in plan.contracts)
    chosen.take((*(e for e in entries if not e.endswith("/")), *contracts), always=True)
    dropped = chosen.take(index.expand(e for e in entries if e.endswith("/")))
    own = set(chosen.paths)
    dropped |= chosen.take(_named(index, plan, prompt))
    chosen.take(_configuration(index, (*entries, *own)))
    dropped |= chosen.take(index.expand(plan.reads))
    chosen.take(p for place in sorted(set(map(_parent, own))) for p in index.beside(place))
    chosen.take(find_references(manifest, root, own))
    if any(EVERYTHING in task.owns for task in plan.tasks):
        chosen.take(sorted(index.paths, key=lambda p: (is_aside(p), p.count("/"), p)))
    sent = tuple(entry for entry in manifest.entries if entry.path in chosen.paths)
    unsent = tuple(entry for entry in manifest.entries if entry.path not in chosen.paths)
    return BasePart(Manifest(sent), Manifest(unsent), tuple(dropped), limit)


class _Chosen:
    """Takes files while there is room."""

    def __init__(self, manifest: Manifest, limit: SendLimit) -> None:
        self._entries: Mapping[str, ManifestEntry] = {e.path: e for e in manifest.entries}
        self._files, self._size = limit.files, limit.size
        self.paths: dict[str, None] = {}

    def take(self, paths: Iterable[str], *, always: bool = False) -> dict[str, None]:
        """Those that are there; gives those for which there was no room."""
        dropped: dict[str, None] = {}
        for path in paths:
            entry = self._entries.get(path)
            if entry is None or path in self.paths:
                continue
            if always or (self._files > 0 and self._size >= entry.size):
                self.paths[path] = None
                self._files, self._size = self._files - 1, self._size - entry.size
            else:
                dropped[path] = None
        return dropped


def _named(index: FileIndex, plan: Plan, prompt: str) -> Iterator[str]:
    for task in plan.tasks:
        yield from index.named_in("\n".join(task.checks), command=True)
    for criterion in plan.acceptance_criteria:
        yield from index.named_in(criterion.command, command=True)
    yield from index.named_in("\n".join((*plan.setup.install, plan.setup.start)), command=True)
    for task in plan.tasks:
        yield from index.named_in(task.instructions)
    for contract in plan.contracts:
        yield from index.named_in(contract.content)
    yield from index.named_in(prompt)


def _configuration(index: FileIndex, owned: Iterable[str]) -> Iterator[str]:
    """At the root and on the way down to what is owned."""
    for place in ("", *sorted({place for path in owned for place in directories(path)})):
        for path in index.beside(place):
            name = path.rpartition("/")[2]
            if _CONFIGURATION.fullmatch(name) or describes(name):
                yield path


def _parent(path: str) -> str:
    return path.rpartition("/")[0]

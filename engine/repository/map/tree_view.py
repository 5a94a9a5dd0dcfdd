"""A tree of files in few lines: what a reader wants to see is spelled out, the rest counted."""

import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from core.quoting import escaped

ASIDE = frozenset(
    (
        *("test", "tests", "testing", "__tests__", "spec", "specs", "e2e", "fixtures", "testdata"),
        *("doc", "docs", "documentation", "example", "examples", "sample", "samples", "demo"),
        *("vendor", "vendored", "third_party", "node_modules", "dist", "build", "out", "target"),
        *("migrations", "generated", "locale", "locales", "i18n", "assets", "static", "public"),
        *("bench", "benchmarks", ".github", ".circleci"),
    )
)
"""Directories that are looked at after the others."""
_MOST_NAMED = 60


@dataclass(frozen=True, slots=True)
class SizedFile:
    """`lines` is None where they were not counted."""

    path: str
    size: int
    lines: int | None = None


@dataclass
class _Directory:
    path: str
    files: list[SizedFile] = field(default_factory=list)
    below: dict[str, "_Directory"] = field(default_factory=dict)
    count: int = 0
    size: int = 0
    lines: int = 0

    @property
    def rank(self) -> tuple[bool, int, int, str]:
        """Which are spelled out first."""
        parts = self.path.split("/")
        return is_aside(self.path), len(parts), -self.lines, self.path


def is_aside(path: str) -> bool:
    return not ASIDE.isdisjoint(path.lower().split("/"))


def render_tree(files: Iterable[SizedFile], most_chars: int) -> str:
    """One line for each directory that is shown: its own files where there is room, else how many
    files and lines there are below it."""
    root = _build(files)
    shown, waiting = {"": root}, [(root.rank, root)]
    spelled: dict[str, str] = {}
    room = most_chars
    while waiting and room > 0:
        directory = heapq.heappop(waiting)[1]
        below = list(directory.below.values())
        line = _spelled_out(directory)
        cost = len(line) + sum(len(_counted(each)) for each in below)
        cost -= len(_counted(directory)) if directory.path else 0
        if cost > room and directory.path:
            continue
        room -= cost
        spelled[directory.path] = line
        for each in below:
            shown[each.path] = each
            heapq.heappush(waiting, (each.rank, each))
    lines = (spelled.get(path) or _counted(shown[path]) for path in sorted(shown, key=_in_order))
    return "".join(lines)


def _build(files: Iterable[SizedFile]) -> _Directory:
    root = _Directory("")
    for file in files:
        *parents, _ = file.path.split("/")
        directory = root
        chain = [root]
        for depth, name in enumerate(parents, 1):
            below = directory.below.get(name)
            if below is None:
                below = directory.below[name] = _Directory("/".join(parents[:depth]))
            chain.append(directory := below)
        directory.files.append(file)
        for each in chain:
            each.count += 1
            each.size += file.size
            each.lines += file.lines or 0
    return root


def _in_order(path: str) -> list[str]:
    return path.split("/") if path else []


def _spelled_out(directory: _Directory) -> str:
    files = sorted(directory.files, key=lambda file: file.path)
    if not files:
        return f"{_name(directory)}: {_sum(directory)}\n"
    named = [f"{escaped(PurePosixPath(f.path).name)} {_measure(f)}" for f in files[:_MOST_NAMED]]
    if rest := files[_MOST_NAMED:]:
        kinds = Counter(PurePosixPath(file.path).suffix or "no suffix" for file in rest)
        most = ", ".join(f"{n} {escaped(kind)}" for kind, n in kinds.most_common(4))
        named.append(f"and {len(rest):,} more ({most})")
    return f"{_name(directory)}: {'; '.join(named)}\n"


def _counted(directory: _Directory) -> str:
    return f"{_name(directory)}: {_sum(directory)}, not listed here\n"


def _name(directory: _Directory) -> str:
    return f"{escaped(directory.path)}/" if directory.path else "./"


def _sum(directory: _Directory) -> str:
    code = f"{_rounded(directory.lines)} lines" if directory.lines else in_bytes(directory.size)
    return f"{directory.count:,} file{'s' * (directory.count != 1)}, {code}"


def _measure(file: SizedFile) -> str:
    return f"{file.lines:,}" if file.lines is not None else in_bytes(file.size)


def _rounded(lines: int) -> str:
    return f"{lines:,}" if lines < 1_000 else f"{lines / 1_000:,.0f} k"


def in_bytes(size: int) -> str:
    for unit, bound in (("B", 1_000), ("kB", 1_000_000), ("MB", 1_000_000_000)):
        if size < bound:
            return f"{size * 1_000 / bound:,.0f} {unit}"
    return f"{size / 1e9:,.1f} GB"

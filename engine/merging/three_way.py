"""A three-way merge of two sequences by `git merge-file`, away from every repository and without
its configuration. The items are sent as numbers, so that no content is taken for a marker."""

import subprocess
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Generic, TypeVar

from core.errors import GitFailed
from engine.repository.git import environment, git_program

T = TypeVar("T", bound=Hashable)
_LIMIT_S = 20.0
_MOST_CONFLICTS = 127
"""What git exits with when there are as many or more; above that it failed."""


@dataclass(frozen=True, slots=True)
class Hunk(Generic[T]):
    """A place that both sides changed, each otherwise."""

    ours: Sequence[T]
    base: Sequence[T]
    theirs: Sequence[T]


Chunk = Sequence[T] | Hunk[T]


def three_way(base: Sequence[T], ours: Sequence[T], theirs: Sequence[T]) -> list[Chunk[T]]:
    """What both make of `base`, in order: items that are settled, and hunks. Raises
    TimeoutError, GitFailed."""
    if ours == theirs or theirs == base:
        return [ours]
    if ours == base:
        return [theirs]
    numbers: dict[T, int] = {}
    files = [
        "".join(f"{numbers.setdefault(item, len(numbers))}\n" for item in items)
        for items in (ours, base, theirs)
    ]
    return _chunks(_merged(files).splitlines(), list(numbers))


def side_by_side(ours: Sequence[T], theirs: Sequence[T]) -> list[T]:
    """Those of ours before those of theirs, and what both have once."""
    both: list[T] = []
    for kind, a, b, c, d in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        both += ours[a:b]
        both += [] if kind == "equal" else theirs[c:d]
    return both


def _merged(files: Sequence[str]) -> str:
    names = ("ours", "base", "theirs")
    with TemporaryDirectory(prefix="merge-") as made:
        paths = [str(Path(made).resolve() / name) for name in names]
        for path, text in zip(paths, files, strict=True):
            Path(path).write_text(text, encoding="ascii")
        try:
            done = subprocess.run(  # noqa: S603 - git itself, on files of our own
                [git_program(), "merge-file", "--stdout", "--quiet", "--diff3", *paths],
                cwd="/",
                env=environment({}),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
                process_group=0,
            )
        except subprocess.TimeoutExpired as exc:
            raise TimeoutError(str(exc)) from exc
    if not 0 <= done.returncode <= _MOST_CONFLICTS:
        cause = done.stderr.strip() or f"exit code {done.returncode}"
        raise GitFailed(
            f"git could not merge two versions of a file: {cause}.",
            "Free space where temporary files are, or install a newer git; then resume the run.",
            code=done.returncode,
        )
    return done.stdout


def _chunks(lines: Sequence[str], items: Sequence[T]) -> list[Chunk[T]]:
    chunks: list[Chunk[T]] = []
    settled: list[T] = []
    sides: list[list[T]] = []
    for line in lines:
        if line.startswith("<<<<<<<"):
            chunks.append(settled)
            settled, sides = [], [[]]
        elif line.startswith(("|||||||", "=======")):
            sides.append([])
        elif line.startswith(">>>>>>>"):
            chunks.append(Hunk(*sides))
            sides = []
        else:
            (sides[-1] if sides else settled).append(items[int(line)])
    return [*chunks, settled]

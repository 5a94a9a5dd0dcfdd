"""A text of three versions, by lines as git merges them. What a file says is compared wherever it
can be read: lines that git merged have to say what both sides changed, and what both added at one
place may stand side by side if it then says that. A wrong guess is a conflict, never a wrong file.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from engine.merging.formats import is_list, read_value, read_versions, readers
from engine.merging.text import split_ends, split_lines, split_tokens
from engine.merging.three_way import Chunk, Hunk, side_by_side, three_way
from engine.merging.values import Collision, Value, invents, merge_values, without_order

_MOST_HUNKS = 40


@dataclass(frozen=True, slots=True)
class TextMerge:
    """`text` is None for a conflict; then `chunks` are the lines with their hunks, `places` what
    both changed and `why` what is wrong if no hunk shows it."""

    text: str | None
    chunks: Sequence[Chunk[str]] = ()
    how: str = "lines"
    places: tuple[str, ...] = ()
    why: str = "the lines of both do not go together"


def merge_texts(path: str, texts: Sequence[str]) -> TextMerge:
    """Of base, ours and theirs, whose last lines are ended. Raises TimeoutError, GitFailed."""
    chunks = three_way(*map(split_lines, texts))
    lines = _settled(chunks)
    found = read_versions(path, texts)
    if found is None:
        return _unread(path, texts, chunks)
    reader, (base, ours, theirs) = found
    collisions: list[Collision] = []
    expected = merge_values(base, ours, theirs, collisions)
    named = TextMerge(None, chunks, places=tuple(c.where for c in collisions if c.where))
    if any(c.is_new for c in collisions) or (collisions and lines is None):
        return replace(named, why=f"each has its own {' and '.join(named.places)}")
    value = None if lines is None else read_value(reader, lines)
    # About order, and inside one value such as the body of a function, git has the finer eye.
    agrees = without_order(value) == without_order(expected)
    if value is not None and (not invents(value, ours, theirs) if collisions else agrees):
        return TextMerge(lines)
    swapped = merge_values(base, theirs, ours, [])
    for text, value in () if collisions else _candidates(chunks, expected, swapped):
        if read_value(reader, text) == value:
            return TextMerge(text, how="list" if is_list(path) else "structure")
    return named


def _unread(path: str, texts: Sequence[str], chunks: Sequence[Chunk[str]]) -> TextMerge:
    """Of no known kind, or not valid: what was valid on both sides has to stay so."""
    lines = _settled(chunks)
    valid = [r for r in readers(path) if all(read_value(r, t) is not None for t in texts[1:])]
    if lines is None or (valid and read_value(valid[0], lines) is None):
        return TextMerge(None, chunks)
    return TextMerge(lines)


def _settled(chunks: Sequence[Chunk[str]]) -> str | None:
    settled = [chunk for chunk in chunks if not isinstance(chunk, Hunk)]
    return "".join(map("".join, settled)) if len(settled) == len(chunks) else None


def _candidates(
    chunks: Sequence[Chunk[str]], *expected: Value | None
) -> Iterator[tuple[str, Value | None]]:
    """What both added at one place one after the other, in this and the other order, by lines and
    by words; with what the file would have to say then."""
    if not 0 < sum(isinstance(chunk, Hunk) for chunk in chunks) <= _MOST_HUNKS:
        return
    swapped = [Hunk(c.theirs, c.base, c.ours) if isinstance(c, Hunk) else c for c in chunks]
    for split in (split_ends, split_tokens):
        for join in (_with_comma, _plainly, side_by_side):
            for order, value in zip((chunks, swapped), expected, strict=True):
                text = _settled([_lay(chunk, split, join) for chunk in order])
                if text is not None:
                    yield text, value


Join = Callable[[Sequence[str], Sequence[str]], list[str]]


def _lay(chunk: Chunk[str], split: Callable[[str], list[str]], join: Join) -> Chunk[str]:
    if not isinstance(chunk, Hunk):
        return chunk
    if not chunk.base:
        return (_plainly if join is _with_comma else join)(chunk.ours, chunk.theirs)
    parts = three_way(*(split("".join(side)) for side in (chunk.base, chunk.ours, chunk.theirs)))
    laid = [
        join(part.ours, part.theirs) if isinstance(part, Hunk) and not part.base else part
        for part in parts
    ]
    text = _settled(laid)
    return chunk if text is None else [text]


def _plainly(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    return [*ours, *theirs]


def _with_comma(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """As the first elements of what was empty."""
    if theirs[0] == "," or not ours[-1].strip(" "):
        return _plainly(ours, theirs)
    text = "".join(ours).rstrip().removesuffix(",")
    return [text, "," if theirs[0].startswith("\n") else ", ", *theirs]

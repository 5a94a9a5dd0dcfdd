"""Several versions of one file as one; what conflicts is named, and never guessed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.merging.lock_files import lock_command
from engine.merging.merge_texts import merge_texts
from engine.merging.text import read_texts, write_text
from engine.merging.three_way import Chunk, Hunk

MOST_BYTES = 2 * 1024 * 1024
_HOWS = ("same", "one side", "lines", "list", "structure")


@dataclass(frozen=True, slots=True)
class FileMerge:
    """`content` (None: deleted) never has markers: what conflicts is left out of it, and it is what
    came before. `how` is one of "same", "one side", "lines", "list" and "structure", or the kind of
    the conflict: "deleted and changed", "both added", "both changed", "binary", "too large",
    "lock file". `conflicts` are hunks as `marked` has them, or a sentence where there are none.
    `places` name what both changed, such as a key or a function, where that can be told.
    `left_out` are the labels of the versions that `content` lacks; `marked` lays the first of them
    over it with markers, empty where it has none. `remake` is what makes a lock file anew."""

    content: bytes | None
    how: str
    conflicts: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    marked: bytes = b""
    remake: str = ""


def merge_file(
    path: str,
    base: bytes | None,
    ours: bytes | None,
    theirs: bytes | None,
    labels: tuple[str, str] = ("ours", "theirs"),
) -> FileMerge:
    """What both made of `base`; None is a file that is not there. Raises GitFailed."""
    if ours == theirs:
        return FileMerge(ours, "same")
    if base in (ours, theirs):
        return FileMerge(theirs if ours == base else ours, "one side")
    if ours is None or theirs is None:
        gone, kept = labels if ours is None else labels[::-1]
        return _named(
            ours, "deleted and changed", f"{gone} deleted {path}, {kept} changed it.", labels
        )
    both = f"{labels[0]} and {labels[1]} both "
    if command := lock_command(path):
        told = f"{both}changed {path}, a lock file. Make it anew: {command}"
        return replace(_named(ours, "lock file", told, labels), remake=command)
    if max(map(len, (base or b"", ours, theirs))) > MOST_BYTES:
        return _named(ours, "too large", f"{both}changed {path}, which is too large.", labels)
    if base is None and b"" in (ours, theirs):
        return FileMerge(ours or theirs, "one side")
    texts = read_texts((base or b"", ours, theirs))
    if texts is None:
        return _named(ours, "binary", f"{both}changed {path}, which is no text in UTF-8.", labels)
    versions, form = texts
    try:
        merged = merge_texts(path, versions)
    except TimeoutError:
        return _named(ours, "too large", f"{both}changed too much of {path}.", labels)
    if merged.text is not None:
        return FileMerge(write_text(merged.text, form), merged.how)
    kind = "both added" if base is None else "both changed"
    named = _named(ours, kind, f"{both}changed {path}: {merged.why}.", labels)
    named = replace(named, places=merged.places)
    if hunks := tuple(_render(c, labels) for c in merged.chunks if isinstance(c, Hunk)):
        marked = "".join(_render(c, labels) for c in merged.chunks)
        return replace(named, conflicts=hunks, marked=write_text(marked, form))
    return named


def merge_versions(
    path: str, base: bytes | None, versions: Sequence[tuple[str, bytes | None]]
) -> FileMerge:
    """The versions of several tasks, each with its label, in the plan's order. A version that
    conflicts with those before it is left out, and the next is merged with these."""
    merged = FileMerge(base, "same")
    names: list[str] = []
    for label, version in versions:
        if version == base:
            continue
        step = merge_file(path, base, merged.content, version, (" and ".join(names), label))
        if not step.conflicts:
            names.append(label)
        merged = _add(merged, step)
    return merged


def _add(merged: FileMerge, step: FileMerge) -> FileMerge:
    """The kind and the markers of a conflict are those of the first one."""
    first = merged if merged.conflicts or not step.conflicts else step
    how = first.how if first.conflicts else max(merged.how, step.how, key=_HOWS.index)
    return FileMerge(
        step.content,
        how,
        (*merged.conflicts, *step.conflicts),
        tuple(dict.fromkeys((*merged.places, *step.places))),
        (*merged.left_out, *step.left_out),
        first.marked,
        first.remake,
    )


def _named(content: bytes | None, kind: str, told: str, labels: tuple[str, str]) -> FileMerge:
    return FileMerge(content, kind, (told,), left_out=labels[1:])


def _render(chunk: Chunk[str], labels: tuple[str, str]) -> str:
    if not isinstance(chunk, Hunk):
        return "".join(chunk)
    ours, theirs = labels
    return (
        f"<<<<<<< {ours}\n{''.join(chunk.ours)}"
        f"||||||| before\n{''.join(chunk.base)}"
        f"=======\n{''.join(chunk.theirs)}"
        f">>>>>>> {theirs}\n"
    )

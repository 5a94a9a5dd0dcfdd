"""What a person is told of the existing code that a run starts from."""

from collections.abc import Iterator, Sequence

from engine.repository.base import BaseRecord
from engine.repository.part import BasePart
from engine.views.format import clean, plural

_NAMED = 3


def describe_base(base: BaseRecord) -> Iterator[str]:
    """The lines at the beginning of a run."""
    commit = f"{base.branch or 'the commit'} {base.commit[:12]}"
    at = "as it is now" if base.is_plain else commit
    files = plural(len(base.manifest.entries), "file")
    where = clean(base.directory, 400)
    size = f"{files}, {base.manifest.size / 1e6:,.1f} MB"
    is_new = base.is_empty and not base.is_plain
    yield f"Changing {where}, {clean(at)}: {'no files yet' if is_new else size}."
    if base.left_out_count:
        named = [f"{clean(left.path, 100)} ({left.why})" for left in base.left_out]
        yield f"Left out, and kept as they are: {_some(named, base.left_out_count)}."
    if base.uncommitted_count:
        names = [clean(name, 100) for name in base.uncommitted]
        yield (
            "Changes that are not committed are not used and not touched:"
            f" {_some(names, base.uncommitted_count)}."
        )


def describe_part(part: BasePart) -> Iterator[str]:
    """The lines once it is known what executors get of a large project."""
    files = plural(len(part.sent.entries), "file")
    yield (
        f"Too large to be sent whole: executors get {files} of it that the plan needs,"
        f" {part.sent.size / 1e6:,.1f} MB; of {len(part.unsent.entries):,} only the names."
    )
    if part.dropped:
        named = [clean(path, 100) for path in part.dropped]
        yield (
            f"Over the limit of {part.limit}, so not sent, though plan or prompt name it:"
            f" {_some(named, len(named))}. Narrow `reads` or what tasks own in the plan."
        )


def _some(names: Sequence[str], count: int) -> str:
    more = count - len(names[:_NAMED])
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more else "")

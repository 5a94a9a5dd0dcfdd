"""Results that come from a head node in one stream, taken into the run's directory.

They are unpacked beside it first and put in place together, each in one step: a stream that is cut
changes nothing. What is wrong with one result is told and spoils no other.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from backends.parallelcluster.head_node.streams import CutOff
from backends.shared.results import attempt_of
from core.bundle import Limits
from core.errors import BackendError, CollectError
from core.job import JobKey
from core.transfer.untrusted_tar import ChunkSource, UntrustedTree, open_untrusted

_MOST_CHARS = 200


def take_results(
    chunks: Iterable[bytes], root: Path, keys: Sequence[JobKey], lock: threading.Lock
) -> dict[JobKey, CollectError]:
    """Unpack `<place in keys>/...` of a compressed tar to each attempt's result; gives why not,
    for those of which nothing was taken. `lock` is held while things change in the run's directory.

    Raises BackendError when the stream is damaged.
    """
    with _scratch(root) as scratch:
        refused = _unpack(chunks, scratch, len(keys))
        with lock:
            for number, key in enumerate(keys):
                found = scratch / str(number)
                if number not in refused and found.is_dir():
                    _put(found, attempt_of(root, key).result, scratch / f"old-{number}")
    return {keys[number]: error for number, error in refused.items()}


@contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix=".fetch-", dir=root))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _unpack(chunks: Iterable[bytes], scratch: Path, count: int) -> dict[int, CollectError]:
    places = {str(number): number for number in range(count)}
    trees: dict[int, UntrustedTree] = {}
    refused: dict[int, CollectError] = {}
    plain = gzip.GzipFile(
        fileobj=cast("IO[bytes]", io.BufferedReader(ChunkSource(chunks))), mode="rb"
    )
    try:
        with open_untrusted(cast("IO[bytes]", plain)) as tar:
            for member in tar:
                number, name = _parse(member.name, places)
                if number in refused:
                    continue
                if number not in trees:
                    (scratch / str(number)).mkdir()
                    trees[number] = UntrustedTree(scratch / str(number), Limits())
                try:
                    trees[number].take(tar, member, name)
                except CollectError as exc:
                    refused[number] = exc
    except CutOff:
        raise
    except (CollectError, gzip.BadGzipFile, EOFError, zlib.error) as exc:
        raise BackendError(f"Results came damaged: {exc}.", "They are asked for again.") from exc
    except OSError as exc:
        raise BackendError(f"Results cannot be kept here: {exc}.", "Make room for them.") from exc
    return refused


def _parse(name: str, places: Mapping[str, int]) -> tuple[int, str]:
    number, _, below = name.partition("/")
    if number not in places:
        raise CollectError(f"The archive holds {name[:_MOST_CHARS]!r}, which nobody asked for.")
    return places[number], below


def _put(found: Path, place: Path, aside: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(place):
        place.rename(aside)
    found.rename(place)

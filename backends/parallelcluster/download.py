"""Results that come from a head node in one stream, unpacked into the run's directory.

They are unpacked beside it first and then put in place, each in one step: a stream that is cut off
changes nothing, and what is wrong with one result affects no other.
"""

import gzip
import io
import os
import tempfile
import threading
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, cast

from backends.parallelcluster.head_node.streams import TruncatedStream
from backends.shared.results import attempt_of
from core.bundle import Limits
from core.errors import BackendError, CollectError
from core.job import JobKey
from core.transfer.untrusted_tar import ChunkSource, UntrustedTree, open_untrusted

_MAX_NAME_CHARS = 200


def unpack_results(
    chunks: Iterable[bytes], root: Path, keys: Sequence[JobKey], lock: threading.Lock
) -> dict[JobKey, CollectError]:
    """Unpack `<number in keys>/...` of a compressed tar to each attempt's result; returns an error
    for each attempt of which nothing was taken. `lock` is held while the run's directory changes.

    Raises BackendError when the stream is damaged.
    """
    made = tempfile.TemporaryDirectory(prefix=".fetch-", dir=root, ignore_cleanup_errors=True)
    with made as folder:
        scratch = Path(folder)
        refused = _unpack(chunks, scratch, len(keys))
        with lock:
            for number, key in enumerate(keys):
                fresh = scratch / str(number)
                if number not in refused and fresh.is_dir():
                    _replace(attempt_of(root, key).result, fresh, scratch / f"old-{number}")
    return {keys[number]: error for number, error in refused.items()}


def _unpack(chunks: Iterable[bytes], scratch: Path, count: int) -> dict[int, CollectError]:
    numbers = {str(number): number for number in range(count)}
    trees: dict[int, UntrustedTree] = {}
    refused: dict[int, CollectError] = {}
    source = cast("IO[bytes]", io.BufferedReader(ChunkSource(chunks)))
    plain = cast("IO[bytes]", gzip.GzipFile(fileobj=source, mode="rb"))
    try:
        with open_untrusted(plain) as tar:
            for member in tar:
                top, _, name = member.name.partition("/")
                if (number := numbers.get(top)) is None:
                    held = member.name[:_MAX_NAME_CHARS]
                    raise CollectError(f"the archive holds {held!r}, which was not requested")
                if number in refused:
                    continue
                if number not in trees:
                    (scratch / top).mkdir()
                    trees[number] = UntrustedTree(scratch / top, Limits())
                try:
                    trees[number].take(tar, member, name)
                except CollectError as exc:
                    refused[number] = exc
    except TruncatedStream:
        raise
    except (CollectError, gzip.BadGzipFile, EOFError, zlib.error) as exc:
        remedy = "If this does not pass, check the connection and the head node's disk."
        raise BackendError(f"The results arrived damaged: {exc}.", remedy) from exc
    except OSError as exc:
        remedy = "Free some space, or correct the permissions of the work directory."
        raise BackendError(f"The results could not be written here: {exc}.", remedy) from exc
    return refused


def _replace(target: Path, fresh: Path, aside: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        target.rename(aside)
    fresh.rename(target)

"""What goes to a head node before a command: requests, files and the worker's code, as one stream.

`run/...` is meant for the run's directory there, `code/...` for the one beside all runs.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from backends.parallelcluster.head_node.names import NAMES
from backends.shared.results import attempt_of
from backends.slurm.host import UploadFile
from core.job import JobKey
from core.worker.source import worker_files

MEMORY_BYTES = 8 * 1024 * 1024
"""A larger parcel is packed on disk."""
ORIGIN = "origin"


@contextmanager
def packed(
    root: Path,
    files: Sequence[UploadFile],
    keys: Sequence[JobKey],
    origin: str,
    source: Path | None,
) -> Iterator[IO[bytes]]:
    """The compressed tar of files and requests of the run at `root`, with the worker's code if its
    `source` is given. `origin` says whose run it is."""
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as stream:
        with (
            gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=6) as squeezed,
            tarfile.open(fileobj=squeezed, mode="w", format=tarfile.GNU_FORMAT, **NAMES) as tar,
        ):
            _add(tar, f"run/{ORIGIN}", origin.encode(), 0o600)
            for placed in files:
                _add(tar, f"run/{placed.path}", placed.data, placed.mode)
            for key in keys:
                attempt = attempt_of(root, key)
                place = attempt.root.relative_to(root).as_posix()
                tar.add(attempt.request, f"run/{place}/{attempt.request.name}")
            if source is not None:
                for name in worker_files(source):
                    _add(tar, f"code/{name}", (source / name).read_bytes(), 0o644)
        stream.seek(0)
        yield stream


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    tar.addfile(member, io.BytesIO(data))

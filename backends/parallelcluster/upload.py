"""What a head node needs before a command: requests, files and the worker's code, in one stream.

`run/...` is for the run's directory there, `code/...` for the one beside all runs.
"""

import gzip
import io
import tarfile
import tempfile
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from backends.parallelcluster.head_node.paths import ENCODING
from backends.shared.results import attempt_of
from backends.slurm.host import UploadFile
from core.job import JobKey
from core.worker.source import worker_files

MEMORY_BYTES = 8 * 1024 * 1024  # a larger upload is packed on disk


@contextmanager
def packed_upload(
    root: Path,
    files: Sequence[UploadFile],
    keys: Sequence[JobKey],
    origin: str,
    source: Path | None,
    bases: Set[str] = frozenset(),
) -> Iterator[IO[bytes]]:
    """A compressed tar of files and requests of the run at `root`, of the worker's code if its
    `source` is given, and the archives `bases` of the existing code that the run changes. `origin`
    identifies the work directory that the run belongs to."""
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as stream:
        with (
            gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=6) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT, **ENCODING) as tar,
        ):
            _add(tar, "run/origin", origin.encode(), 0o600)
            for file in files:
                _add(tar, f"run/{file.path}", file.data, file.mode)
            for key in keys:
                request = attempt_of(root, key).request
                tar.add(request, f"run/{request.relative_to(root).as_posix()}")
            for name in sorted(bases):
                tar.add(root / name, f"run/{name}")
            if source is not None:
                for name in worker_files(source):
                    _add(tar, f"code/{name}", (source / name).read_bytes(), 0o644)
        stream.seek(0)
        yield stream


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    tar.addfile(member, io.BytesIO(data))

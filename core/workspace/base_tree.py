"""The base: the files of existing code that a run changes. One archive serves all jobs of a run."""

import gzip
import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.bundle import BASE_DIRECTORY, BASE_NAME, AttemptDir, BaseRef
from core.errors import BundleError
from core.job import Manifest, ManifestEntry
from core.paths import path_defect

_TARFILE_FAULTS = (OSError, EOFError, tarfile.TarError)  # a cut gzip stream is an EOFError
_LEVEL = 1  # made while a person waits
_FETCH_AGAIN = "Resume the run to start the task again."

Put = Callable[[str, bytes, int], None]
"""Lays down a file: its path, content and mode."""


def pack_base(root: Path, manifest: Manifest, archive: Path) -> BaseRef:
    """Write the files of `manifest` below `root` to `archive`, unless it is there: the same bytes
    for the same files. Raises OSError."""
    if not archive.exists():
        temporary = archive.with_name(f".{archive.name}.part")
        with open(temporary, "wb") as out:
            with (
                gzip.GzipFile("", "wb", _LEVEL, out, 0) as stream,
                tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                for entry in manifest.entries:
                    member = tarfile.TarInfo(entry.path)
                    member.size, member.mode = entry.size, entry.mode
                    with open(root / entry.path, "rb") as content:
                        tar.addfile(member, content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, archive)
    with open(archive, "rb") as packed:
        digest = hashlib.file_digest(packed, "sha256").hexdigest()
    return BaseRef(digest, archive.stat().st_size)


@dataclass(frozen=True, slots=True)
class BaseTree:
    """The base as an attempt has it: `entries` by path, out of `archive`."""

    archive: Path
    entries: Mapping[str, ManifestEntry]

    def read(self, paths: Set[str]) -> Iterator[tuple[str, bytes]]:
        """Those files of `entries` with their content, in one pass. Raises BundleError."""
        left = set(paths)
        for path, data, _ in _members(self.archive) if paths else ():
            if path in left:
                left.remove(path)
                yield path, data
        if left:
            raise _damaged(self.archive, f"it lacks {min(left)!r}")


NO_BASE = BaseTree(Path(), {})


def lay_out_base(attempt: AttemptDir, ref: BaseRef, without: Set[str], put: Put) -> BaseTree:
    """Put every file of the base but those in `without`. Raises BundleError."""
    archive = _find(attempt, ref)
    entries: dict[str, ManifestEntry] = {}

    for path, data, mode in _members(archive):
        if path not in without:
            entries[path] = ManifestEntry(path, len(data), hashlib.sha256(data).hexdigest(), mode)
            put(path, data, mode)
    return BaseTree(archive, entries)


def _find(attempt: AttemptDir, ref: BaseRef) -> Path:
    """Where this worker has the archive: with the attempt, in a directory beside it, or in the
    run's directory."""
    root = attempt.root.absolute()
    for folder in (root, root.parent / BASE_DIRECTORY, *root.parents[2:3]):
        archive = folder / BASE_NAME
        with suppress(FileNotFoundError), open(archive, "rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() == ref.sha256:
                return archive
            raise _damaged(archive, "its digest is another")
    raise _damaged(attempt.root / BASE_NAME, "it is not there")


def _members(archive: Path) -> Iterator[tuple[str, bytes, int]]:
    """Path, content and mode of each."""
    try:
        with tarfile.open(archive, mode="r|gz") as tar:
            for member in tar:
                stream = tar.extractfile(member)
                if stream is None or path_defect(member.name):
                    raise _damaged(archive, f"it holds {member.name!r}")
                yield member.name, stream.read(), 0o755 if member.mode & 0o100 else 0o644
    except _TARFILE_FAULTS as exc:
        raise _damaged(archive, str(exc)) from exc


def _damaged(archive: Path, why: str) -> BundleError:
    return BundleError(
        f"The archive of the existing code, {archive}, is damaged: {why}.", _FETCH_AGAIN
    )

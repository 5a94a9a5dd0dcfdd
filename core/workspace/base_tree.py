"""The base: the files of existing code that a run changes. One archive serves all jobs of a run; of
a large base it holds the part that the plan needs, and names the rest."""

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from core.bundle import BASE_DIRECTORY, BASE_NAMES, AttemptDir, BaseRef
from core.errors import BundleError
from core.job import Manifest, ManifestEntry
from core.paths import path_defect
from core.wire import decode, encode

_TARFILE_FAULTS = (OSError, EOFError, tarfile.TarError)  # a cut gzip stream is an EOFError
_LEVEL = 1  # made while a person waits
_FETCH_AGAIN = "Resume the run to start the task again."
_UNSENT = "/unsent.json"
"""The member with what is not sent: no file of a base has such a name."""

Put = Callable[[str, bytes, int], None]
"""Lays down a file: its path, content and mode."""


@dataclass(frozen=True, slots=True)
class _Listing:
    """Sizes in bytes, by path."""

    files: dict[str, int]


def pack_base(root: Path, manifest: Manifest, archive: Path) -> BaseRef:
    """Write the files of `manifest` below `root` to `archive`, unless it is there: the same bytes
    for the same files. Raises OSError."""
    return _reference(archive) if archive.exists() else _pack(root, manifest, archive)


def pack_part(root: Path, sent: Manifest, unsent: Manifest, archive: Path) -> BaseRef:
    """The same for the part that is `sent`, with the names of what is `unsent`, in place of what is
    there: with another plan it is another part."""
    listing = _Listing({entry.path: entry.size for entry in unsent.entries})
    return _pack(root, sent, archive, encode(listing).encode())


def _pack(root: Path, manifest: Manifest, archive: Path, listing: bytes = b"") -> BaseRef:
    temporary = archive.with_name(f".{archive.name}.part")
    with open(temporary, "wb") as out:
        with (
            gzip.GzipFile("", "wb", _LEVEL, out, 0) as stream,
            tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            if listing:
                member = tarfile.TarInfo(_UNSENT)
                member.size = len(listing)
                tar.addfile(member, io.BytesIO(listing))
            for entry in manifest.entries:
                member = tarfile.TarInfo(entry.path)
                member.size, member.mode = entry.size, entry.mode
                with open(root / entry.path, "rb") as content:
                    tar.addfile(member, content)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, archive)
    return _reference(archive)


def _reference(archive: Path) -> BaseRef:
    with open(archive, "rb") as packed:
        digest = hashlib.file_digest(packed, "sha256").hexdigest()
    return BaseRef(digest, archive.stat().st_size)


@dataclass(frozen=True, slots=True)
class BaseTree:
    """The base as an attempt has it: `entries` by path, out of `archive`. `unsent` are the sizes of
    files that are there and were not sent, by path."""

    archive: Path
    entries: Mapping[str, ManifestEntry]
    unsent: Mapping[str, int] = field(default_factory=dict)

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
    unsent: Mapping[str, int] = {}

    for path, data, mode in _members(archive):
        if path == _UNSENT:
            listed = decode(_Listing, data, f"{path} in {archive}").files
            unsent = {path: size for path, size in listed.items() if path not in without}
        elif path not in without:
            entries[path] = ManifestEntry(path, len(data), hashlib.sha256(data).hexdigest(), mode)
            put(path, data, mode)
    return BaseTree(archive, entries, unsent)


def _find(attempt: AttemptDir, ref: BaseRef) -> Path:
    """Where this worker has the archive: with the attempt, in a directory beside it, or in the
    run's directory."""
    root, found = attempt.root.absolute(), None
    folders = (root, root.parent / BASE_DIRECTORY, *root.parents[2:3])
    for archive in (folder / name for folder in folders for name in BASE_NAMES):
        with suppress(FileNotFoundError), open(archive, "rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() == ref.sha256:
                return archive
            found = found or archive
    if found is not None:
        raise _damaged(found, "its digest is another")
    raise _damaged(attempt.root / BASE_NAMES[0], "it is not there")


def _members(archive: Path) -> Iterator[tuple[str, bytes, int]]:
    """Path, content and mode of each."""
    try:
        with tarfile.open(archive, mode="r|gz") as tar:
            for member in tar:
                stream = tar.extractfile(member)
                if stream is None or (member.name != _UNSENT and path_defect(member.name)):
                    raise _damaged(archive, f"it holds {member.name!r}")
                yield member.name, stream.read(), 0o755 if member.mode & 0o100 else 0o644
    except _TARFILE_FAULTS as exc:
        raise _damaged(archive, str(exc)) from exc


def _damaged(archive: Path, why: str) -> BundleError:
    return BundleError(
        f"The archive of the existing code, {archive}, is damaged: {why}.", _FETCH_AGAIN
    )

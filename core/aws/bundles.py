"""Bundles in a bucket: what the objects of a run are called, and what is in them.

The requests of all jobs that are submitted together lie in one object, compressed one by one behind
an index that tells where each begins and its digest. The object is called by the digest of that
index, so whoever reads one request proves it without the others, and none is ever another than the
one that a job was submitted with. A result is one object, whole or absent.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlencode, urlsplit

from core.aws.bucket import S3Bucket
from core.bundle import Limits
from core.errors import BundleError, CollectError, WorkerOutdated
from core.job import JobKey
from core.transfer.archive import MEMORY_BYTES, decompressed, pack, unpack
from core.wire import decode, encode

VERSION = 2
DIGEST_CHARS = 32
UNLIMITED = Limits(max_files=10**9, max_bytes=2**60)
"""For a request, which this program made itself."""
_SAME = "Run the same version on both sides: build and push the worker's image anew."
_REGION = "region"
_PACK = re.compile(r"requests/([0-9a-f]{32})-([1-9][0-9]{0,9})")
_OF_JOB = re.compile(r"(claims|results)/([^/]+)/([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """The request of a job: `size` bytes, the first of them `start` bytes behind the index."""

    key: JobKey
    start: int
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Index:
    """`source` is the digest of the program that submitted the jobs (core.worker.source)."""

    entries: tuple[Entry, ...]
    source: str = ""
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class PackName:
    """Of the object with the requests: the digest of its index, and how many bytes that has."""

    digest: str
    index_bytes: int

    def __str__(self) -> str:
        return f"requests/{self.digest}-{self.index_bytes}"

    @classmethod
    def parse(cls, name: str) -> PackName | None:
        found = _PACK.fullmatch(name)
        return cls(found[1], int(found[2])) if found else None


def digest_of(pieces: Iterable[bytes]) -> str:
    """Names the bytes of `pieces`; nobody finds others of the same name."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()[:DIGEST_CHARS]


def claim_name(key: JobKey) -> str:
    return f"claims/{key.task}/{key.attempt}"


def result_name(key: JobKey) -> str:
    return f"results/{key.task}/{key.attempt}"


def parse_name(name: str, run: str) -> tuple[str, JobKey] | None:
    """The kind (claims or results) and job of an object of a run; None for any other."""
    found = _OF_JOB.fullmatch(name)
    return (found[1], JobKey(run, found[2], int(found[3]))) if found else None


@dataclass(frozen=True, slots=True)
class PackUri:
    """What a job is told: where its request lies, and in which region that bucket is."""

    bucket: str
    root: str
    """What the names of the run's objects begin with; ends with a slash."""
    pack: PackName
    region: str

    def __str__(self) -> str:
        where = urlencode({_REGION: self.region})
        return f"s3://{self.bucket}/{quote(self.root)}{self.pack}?{where}"

    @classmethod
    def parse(cls, text: str) -> PackUri:
        """Raises BundleError."""
        parts = urlsplit(text)
        root, folder, rest = unquote(parts.path.removeprefix("/")).rpartition("requests/")
        pack = PackName.parse(folder + rest)
        region = re.fullmatch(rf"{_REGION}=([a-z0-9-]+)", parts.query)
        if parts.scheme != "s3" or not parts.netloc or pack is None or region is None:
            raise BundleError(f"{text!r} names no request in a bucket.")
        return cls(parts.netloc, root, pack, region[1])


class Pack:
    """The requests of several jobs, not stored yet. Close it, since it may lie on the disk."""

    def __init__(self, source: str) -> None:
        self.keys: list[JobKey] = []
        self._source = source
        self._entries: list[Entry] = []
        self._bodies: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115 - closed by close()

    @property
    def size(self) -> int:
        """Bytes of the requests so far."""
        return self._bodies.tell()

    def add(self, key: JobKey, request: Path) -> None:
        start = self._bodies.tell()
        pack(request, self._bodies)
        size = self._bodies.tell() - start
        self._bodies.seek(start)
        digest = digest_of(iter(lambda: self._bodies.read(MEMORY_BYTES), b""))
        self._entries.append(Entry(key, start, size, digest))
        self.keys.append(key)

    def store(self, bucket: S3Bucket, root: str) -> PackName:
        """Put the object into the bucket; gives its name."""
        index = encode(Index(tuple(self._entries), self._source)).encode()
        name = PackName(digest_of([index]), len(index))
        with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as whole:
            whole.write(index)
            self._bodies.seek(0)
            shutil.copyfileobj(self._bodies, whole)
            bucket.put(f"{root}{name}", whole)
        return name

    def close(self) -> None:
        self._bodies.close()


def packs(
    jobs: Sequence[tuple[JobKey, Path]], source: str, most: int, enough: int
) -> Iterator[Pack]:
    """Jobs and their request directories as packs, in order: of at most `most` jobs each, and none
    added to one that has `enough` bytes. Each is closed when the next is asked for."""
    rest = list(jobs)
    while rest:
        made = Pack(source)
        try:
            while rest and len(made.keys) < most and made.size < enough:
                made.add(*rest.pop(0))
            yield made
        finally:
            made.close()


Read = Callable[[int, int], bytes | None]
"""So many bytes of a pack from a place on; None where there is no such object."""


def reader(bucket: S3Bucket, root: str, pack: PackName, *, at_once: bool = False) -> Read:
    """Reads a pack in pieces, a request to S3 each; or `at_once`, which pays for a single job."""
    name = f"{root}{pack}"
    if not at_once:
        return lambda start, size: bucket.get(name, (start, size))
    whole = bucket.get(name)
    return lambda start, size: None if whole is None else whole[start : start + size]


def read_index(read: Read, pack: PackName) -> Index:
    """Raises BundleError when it is absent, or another than `pack` names; WorkerOutdated when it is
    of another version."""
    if (data := read(0, pack.index_bytes)) is None:
        raise BundleError(f"{pack} does not exist in the bucket.", "Submit the job again.")
    _prove(data, pack.digest, str(pack))
    try:
        index = decode(Index, data, str(pack))
    except BundleError as exc:  # it is whole, so it was written so
        raise WorkerOutdated(exc.message, _SAME) from exc
    if index.version != VERSION:
        told = f"{pack} has version {index.version}, this program reads {VERSION}."
        raise WorkerOutdated(told, _SAME)
    return index


def unpack_request(read: Read, pack: PackName, entry: Entry, destination: Path) -> None:
    """Unpack the request of a job to `destination`, which is made.

    Raises BundleError when it is absent, or not the one that the index was written for.
    """
    if (data := read(pack.index_bytes + entry.start, entry.size)) is None:
        raise BundleError(f"The request of {entry.key} is gone.", "Submit the job again.")
    _prove(data, entry.digest, f"The request of {entry.key}")
    try:
        unpack(decompressed(io.BytesIO(data)), destination, UNLIMITED)
    except CollectError as exc:
        raise BundleError(f"The request of {entry.key}: {exc.message}") from exc


def _prove(data: bytes, digest: str, what: str) -> None:
    if digest_of([data]) != digest:
        raise BundleError(
            f"{what} is damaged: it is not what the job was submitted with.",
            "See who else may write in the bucket, and submit the job again.",
        )


def store_result(bucket: S3Bucket, root: str, key: JobKey, result: Path) -> None:
    """Once: what is there already may have been fetched, so it stays."""
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as stream:
        pack(result, stream)
        bucket.put_new(f"{root}{result_name(key)}", stream)


def fetch_result(
    bucket: S3Bucket, root: str, key: JobKey, destination: Path, limits: Limits
) -> bool:
    """Unpack the result of a job to `destination`, which is made; False when there is none.

    Raises CollectError for one that is damaged or no tree of files.
    """
    with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as stream:
        if not bucket.fetch(f"{root}{result_name(key)}", stream):
            return False
        unpack(decompressed(stream), destination, limits)
    return True

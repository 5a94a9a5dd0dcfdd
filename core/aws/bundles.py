"""Bundles in a bucket: the names of a run's objects, and their content.

Requests of jobs submitted together are one object, behind an index with the position and digest of
each, whose own digest is its name: a reader verifies one request without the others. A result is
one object, whole or absent.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlencode, urlsplit

from core.aws.bucket import S3Bucket
from core.bundle import BaseRef, Limits
from core.errors import BundleError, CollectError, WorkerOutdated
from core.job import JobKey
from core.transfer.archive import MEMORY_BYTES, decompressed, pack, unpack
from core.wire import decode, encode

VERSION = 2
DIGEST_CHARS = 32
UNLIMITED = Limits(max_files=10**9, max_bytes=2**60)
"""For a request: this program made it itself."""
_REBUILD = "Rebuild and push the worker's image, so that both sides run the same version."
_SUBMIT_AGAIN = "Submit the job again."
_REGION = "region"
_PACK = re.compile(r"requests/([0-9a-f]{32})-([1-9][0-9]{0,9})")
_BASE = re.compile(r"base/[0-9a-f]{64}")
_OF_JOB = re.compile(r"(claims|results)/([^/]+)/([1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """The request of a job: `size` bytes, which begin `start` bytes behind the index."""

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
    """The name of an object with requests: its index's digest and length."""

    digest: str
    index_bytes: int

    def __str__(self) -> str:
        return f"requests/{self.digest}-{self.index_bytes}"

    @classmethod
    def parse(cls, name: str) -> PackName | None:
        found = _PACK.fullmatch(name)
        return cls(found[1], int(found[2])) if found else None


def digest_of(pieces: Iterable[bytes]) -> str:
    """The name of the bytes of `pieces`."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()[:DIGEST_CHARS]


def claim_name(key: JobKey) -> str:
    return f"claims/{key.task}/{key.attempt}"


def result_name(key: JobKey) -> str:
    return f"results/{key.task}/{key.attempt}"


def _base_name(digest: str) -> str:
    return f"base/{digest}"


def parse_name(name: str, run: str) -> tuple[str, JobKey] | None:
    """The kind (claims or results) and job of an object of a run; None for any other."""
    found = _OF_JOB.fullmatch(name)
    return (found[1], JobKey(run, found[2], int(found[3]))) if found else None


@dataclass(frozen=True, slots=True)
class PackUri:
    """The argument of a job: the object with its request, and the bucket's region."""

    bucket: str
    root: str
    """The prefix of the names of the run's objects; ends with a slash."""
    pack: PackName
    region: str

    def __str__(self) -> str:
        query = urlencode({_REGION: self.region})
        return f"s3://{self.bucket}/{quote(self.root)}{self.pack}?{query}"

    @classmethod
    def parse(cls, text: str) -> PackUri:
        """Raises BundleError."""
        parts = urlsplit(text)
        root, folder, rest = unquote(parts.path.removeprefix("/")).rpartition("requests/")
        pack = PackName.parse(folder + rest)
        region = re.fullmatch(rf"{_REGION}=([a-z0-9-]+)", parts.query)
        if parts.scheme != "s3" or not parts.netloc or pack is None or region is None:
            raise BundleError(f"{text!r} is not the address of a request in a bucket.")
        return cls(parts.netloc, root, pack, region[1])


class Pack:
    """The requests of several jobs, not stored yet. Close it, since it may be on disk."""

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
        """Put the object into the bucket and return its name."""
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
        with closing(Pack(source)) as made:
            while rest and len(made.keys) < most and made.size < enough:
                made.add(*rest.pop(0))
            yield made


class StoredPack:
    """A pack in the bucket, read in pieces with a request to S3 each; or `at_once`, which pays for
    a single job."""

    def __init__(
        self, bucket: S3Bucket, root: str, name: PackName, *, at_once: bool = False
    ) -> None:
        self._bucket = bucket
        self._path = f"{root}{name}"
        self._name = name
        self._whole = bucket.get(self._path) if at_once else None
        self._at_once = at_once

    def _read(self, start: int, size: int) -> bytes | None:
        if not self._at_once:
            return self._bucket.get(self._path, (start, size))
        return None if self._whole is None else self._whole[start : start + size]

    def index(self) -> Index:
        """Raises BundleError when it is absent or damaged, WorkerOutdated when it is of another
        version."""
        if (data := self._read(0, self._name.index_bytes)) is None:
            raise BundleError(f"{self._name} was not found in the bucket.", _SUBMIT_AGAIN)
        _verify(data, self._name.digest, str(self._name))
        try:
            index = decode(Index, data, str(self._name))
        except BundleError as exc:  # it is whole, so it was written like that
            raise WorkerOutdated(exc.message, _REBUILD) from exc
        if index.version != VERSION:
            message = f"{self._name} has version {index.version}, this program reads {VERSION}."
            raise WorkerOutdated(message, _REBUILD)
        return index

    def unpack(self, entry: Entry, destination: Path) -> None:
        """Unpack the request of a job to `destination`, which is made.

        Raises BundleError when it is absent, or not the one that the index was written for.
        """
        name = f"The request of {entry.key}"
        if (data := self._read(self._name.index_bytes + entry.start, entry.size)) is None:
            raise BundleError(f"{name} was not found in the bucket.", _SUBMIT_AGAIN)
        _verify(data, entry.digest, name)
        try:
            unpack(decompressed(io.BytesIO(data)), destination, UNLIMITED)
        except CollectError as exc:
            raise BundleError(f"{name}: {exc.message}", _SUBMIT_AGAIN) from exc


def _verify(data: bytes, digest: str, name: str) -> None:
    if digest_of([data]) != digest:
        remedy = "Check who else may write to the bucket, then submit the job again."
        raise BundleError(f"{name} is damaged: it is not what the job was submitted with.", remedy)


@dataclass(frozen=True, slots=True)
class StoredObjects:
    """What a run has in the bucket, by one listing; `names` are those of all its objects."""

    packs: list[PackName] = field(default_factory=list)
    claims: set[JobKey] = field(default_factory=set)
    results: set[JobKey] = field(default_factory=set)
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RunObjects:
    """The objects of one run: claims and results of its jobs, and the packs with their requests.

    `root` is the prefix of their names; objects there with other names are left alone.
    """

    bucket: S3Bucket
    root: str

    def list(self, run: str) -> StoredObjects:
        """What there is; `run` is the run's id."""
        found = StoredObjects()
        for path in self.bucket.list(self.root):
            name = path.removeprefix(self.root)
            if (stored := PackName.parse(name)) is not None:
                found.packs.append(stored)
            elif (parsed := parse_name(name, run)) is not None:
                (found.claims if parsed[0] == "claims" else found.results).add(parsed[1])
            elif _BASE.fullmatch(name) is None:
                continue
            found.names.append(path)
        return found

    def pack(self, name: PackName, *, at_once: bool = False) -> StoredPack:
        return StoredPack(self.bucket, self.root, name, at_once=at_once)

    def store_base(self, archive: Path) -> None:
        """The archive of existing code, by its content: it is stored once."""
        with open(archive, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            self.bucket.put_new(f"{self.root}{_base_name(digest)}", stream)

    def fetch_base(self, ref: BaseRef, archive: Path) -> None:
        """Raises BundleError where there is none."""
        with open(archive, "wb") as stream:
            if not self.bucket.fetch(f"{self.root}{_base_name(ref.sha256)}", stream):
                message = "The archive of the existing code was not found in the bucket."
                raise BundleError(message, _SUBMIT_AGAIN)

    def claim(self, key: JobKey, claimant: str) -> bool:
        """Take the job for `claimant`, a native id; False where it was claimed before."""
        return self.bucket.put_new(f"{self.root}{claim_name(key)}", io.BytesIO(claimant.encode()))

    def claimant(self, key: JobKey) -> str:
        """The native id of the job that has claimed this one; empty when none has."""
        data = self.bucket.get(f"{self.root}{claim_name(key)}")
        return (data or b"").decode(errors="replace")

    def has_result(self, key: JobKey) -> bool:
        return self.bucket.exists(f"{self.root}{result_name(key)}")

    def store_result(self, key: JobKey, result: Path) -> None:
        """Once: an earlier one may have been fetched, so it stays."""
        with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as stream:
            pack(result, stream)
            self.bucket.put_new(f"{self.root}{result_name(key)}", stream)

    def fetch_result(self, key: JobKey, destination: Path, limits: Limits) -> bool:
        """Unpack the result of a job to `destination`, which is made; False when there is none.

        Raises CollectError for one that is damaged or no tree of files.
        """
        with tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES) as stream:
            if not self.bucket.fetch(f"{self.root}{result_name(key)}", stream):
                return False
            unpack(decompressed(stream), destination, limits)
        return True

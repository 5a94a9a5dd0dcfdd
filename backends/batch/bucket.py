"""The bucket as the backend uses it: requests sent, results fetched, and what a run has there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from backends.batch.jobs import RunPlace, place_objects
from core.aws.bucket import S3Bucket
from core.aws.bundles import (
    Entry,
    Pack,
    PackName,
    PackUri,
    claim_name,
    fetch_result,
    parse_name,
    read_index,
    reader,
)
from core.bundle import Limits
from core.errors import AwsRefused, BackendError
from core.job import JobKey

T = TypeVar("T")


def _unless_deleted(call: Callable[[], T], nothing: T) -> T:
    """What `call` gives; a bucket that is no more has `nothing` of any run."""
    try:
        return call()
    except AwsRefused as exc:
        if exc.code != "NoSuchBucket":
            raise
        return nothing


@dataclass(frozen=True, slots=True)
class Kept:
    """What a run has in the bucket, by one listing."""

    packs: list[PackName] = field(default_factory=list)
    claims: set[JobKey] = field(default_factory=set)
    results: set[JobKey] = field(default_factory=set)
    names: list[str] = field(default_factory=list)
    """Of all objects that are the run's; anything else there is not touched."""


class RunBucket:
    """`prefix` is where in the bucket all runs are, `region` the bucket's."""

    def __init__(self, bucket: S3Bucket, prefix: str, region: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._region = region

    @property
    def bucket(self) -> S3Bucket:
        """Raises BackendError where none was named."""
        if not self._bucket.name:
            raise BackendError("No bucket was named for AWS Batch.", "Give --batch-s3-bucket.")
        return self._bucket

    def where(self, place: RunPlace) -> str:
        return f"s3://{self.bucket.name}/{place.objects(self._prefix)}"

    def send(self, place: RunPlace, pack: Pack) -> PackUri:
        root = place.objects(self._prefix)
        name = pack.store(self.bucket, root)
        return PackUri(self.bucket.name, root, name, self._region)

    def kept(self, place: RunPlace) -> Kept:
        root, found = place.objects(self._prefix), Kept()
        names: tuple[str, ...] = _unless_deleted(lambda: tuple(self.bucket.list(root)), ())
        for name in names:
            rest = name.removeprefix(root)
            if (pack := PackName.parse(rest)) is not None:
                found.packs.append(pack)
            elif (of_job := parse_name(rest, place.run)) is not None:
                (found.claims if of_job[0] == "claims" else found.results).add(of_job[1])
            else:
                continue
            found.names.append(name)
        return found

    def entries(self, place: RunPlace, pack: PackName) -> tuple[Entry, ...]:
        """The jobs of a pack. Raises BundleError."""
        return read_index(reader(self.bucket, place.objects(self._prefix), pack), pack).entries

    def claimant(self, place: RunPlace, key: JobKey) -> str:
        """The native id of the job that has taken this one; empty when none has."""
        name = f"{place.objects(self._prefix)}{claim_name(key)}"
        data = _unless_deleted(lambda: self.bucket.get(name), None)
        return (data or b"").decode(errors="replace")

    def fetch(self, place: RunPlace, key: JobKey, destination: Path) -> bool:
        """Unpack a result to `destination`, which is made; False when there is none."""
        root = place.objects(self._prefix)
        return _unless_deleted(
            lambda: fetch_result(self.bucket, root, key, destination, Limits()), nothing=False
        )

    def remove(self, names: Iterable[str]) -> None:
        self.bucket.delete(list(names))

    def runs(self, place: str) -> list[str]:
        """Ids of the runs of a work directory that have objects there."""
        return sorted(self.bucket.folders(place_objects(self._prefix, place)))

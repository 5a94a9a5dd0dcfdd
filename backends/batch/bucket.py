"""Runs in the bucket: where their objects are."""

from __future__ import annotations

from dataclasses import dataclass

from backends.batch.jobs import RunLocation, work_dir_objects
from core.aws.bucket import S3Bucket
from core.aws.bundles import PackName, PackUri, RunObjects, StoredObjects
from core.errors import BackendError


@dataclass(frozen=True, slots=True)
class RunBucket:
    """`prefix` is that of the names of all runs' objects, `region` the bucket's."""

    s3: S3Bucket
    prefix: str
    region: str

    def _named(self) -> S3Bucket:
        if not self.s3.name:
            message = "No bucket was named for AWS Batch."
            raise BackendError(message, "Name one with --batch-s3-bucket.")
        return self.s3

    def objects(self, location: RunLocation) -> RunObjects:
        """Raises BackendError where no bucket was named."""
        return RunObjects(self._named(), location.objects(self.prefix))

    def stored(self, location: RunLocation) -> StoredObjects:
        return self.objects(location).list(location.run)

    def uri(self, location: RunLocation, pack: PackName) -> PackUri:
        return PackUri(self.s3.name, location.objects(self.prefix), pack, self.region)

    def known_runs(self, work_dir: str) -> list[str]:
        """Ids of the runs of a work directory, by its `work_dir_hash`, that have objects there."""
        return sorted(self._named().folders(work_dir_objects(self.prefix, work_dir)))

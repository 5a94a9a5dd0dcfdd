"""A worker whose bundle is in a bucket: fetch the request, claim it, run it, store the result.

Four requests to S3: the index, the claim, the request, the result; three where it is no array.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.aws.bucket import S3Bucket
from core.aws.bundles import Entry, PackUri, RunObjects, StoredPack
from core.aws.calls import AwsService, is_transient, reason_of
from core.aws.session import build_client
from core.bundle import BASE_NAME, AttemptDir, read_request
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.errors import BackendError, BundleError, WorkerOutdated
from core.job import JobKey
from core.worker.exit_codes import CLAIMED, OUTDATED
from core.worker.process import echo, run_worker
from core.worker.source import SOURCE_ROOT, source_digest
from core.workspace.confined import remove_tree

JOB_ID, ARRAY_INDEX = "AWS_BATCH_JOB_ID", "AWS_BATCH_JOB_ARRAY_INDEX"
"""https://docs.aws.amazon.com/batch/latest/userguide/job_env_vars.html"""

Work = Callable[[AttemptDir, str, Clock], object]
"""Runs the attempt for a claimant, and leaves its result."""


def run_s3_job(uri: str, environ: Mapping[str, str], work: Work) -> int:
    """The exit code for the job that `uri` and the variables of AWS Batch name."""
    own_code: list[int] = []

    def run(clock: Clock) -> None:
        try:
            if not _open_job(uri, environ).run(work, clock):
                own_code.append(CLAIMED)
        except WorkerOutdated:
            own_code.append(OUTDATED)
            raise
        except BackendError as exc:
            raise _without_bucket(exc, PackUri.parse(uri).bucket) from exc

    code = run_worker(run)
    return own_code[0] if own_code else code


def _without_bucket(exc: BackendError, bucket: str) -> BackendError:
    """The error of a call, as a worker's: what signs in there, or leads there, is the job's."""
    cause = exc.__cause__
    if not isinstance(cause, Exception):
        return exc
    remedy = (
        "Give its job definition a job role that may use the bucket: doctor --batch"
        " --register-job-definition --batch-job-role ROLE."
    )
    if is_transient(cause):
        remedy = "Check whether its subnets have a route to S3: docs/aws-batch.md."
    return BackendError(f"The job cannot use the bucket {bucket}: {reason_of(cause)}.", remedy)


def _open_job(uri: str, environ: Mapping[str, str]) -> S3Job:
    location = PackUri.parse(uri)
    # keys that the job definition gives for Bedrock need not be able to reach the bucket
    connect = partial(
        build_client,
        credentials=Credentials(),
        region=location.region,
        environ=environ,
        prefer_container_role=True,
    )
    # its own clock: what was paid for is stored also by a worker that was stopped
    bucket = S3Bucket(location.bucket, AwsService("s3", connect, SystemClock()))
    return S3Job(bucket, location, environ, source_digest(SOURCE_ROOT))


@dataclass(frozen=True)
class S3Job:
    """One job of a pack; `source` is the digest of this worker's code."""

    bucket: S3Bucket
    location: PackUri
    environ: Mapping[str, str]
    source: str

    @property
    def _objects(self) -> RunObjects:
        return RunObjects(self.bucket, self.location.root)

    def run(self, work: Work, clock: Clock) -> bool:
        """Whether the job was this worker's to run. Raises BundleError, of which WorkerOutdated
        comes before anything is claimed, and BackendError."""
        array_index = self.environ.get(ARRAY_INDEX, "")
        stored = self._objects.pack(self.location.pack, at_once=not array_index)
        entry = self._entry(stored, int(array_index or 0))
        native = self.environ.get(JOB_ID) or "no job of AWS Batch"
        if not self._objects.claim(entry.key, native):
            if not self._is_claimant(entry.key, native):
                return False
            if self._objects.has_result(entry.key):
                return True  # a worker before this one left it, and was then lost
        root = Path(tempfile.mkdtemp(prefix="job-"))
        try:
            attempt = AttemptDir(root)
            stored.unpack(entry, attempt.request)
            if attempt.task_json.exists() and (base := read_request(attempt).base):
                self._objects.fetch_base(base, root / BASE_NAME)
            try:
                work(attempt, native, clock)
            finally:
                if attempt.result_json.exists():
                    self._objects.store_result(entry.key, attempt.result)
        finally:
            remove_tree(root)
        return True

    def _is_claimant(self, key: JobKey, native: str) -> bool:
        """AWS Batch may run the same native job again, on another host: that one takes over."""
        claimant = self._objects.claimant(key)
        if claimant != native:
            echo(f"{key} is already being run by job {claimant}; nothing was done.")
        return claimant == native

    def _entry(self, stored: StoredPack, number: int) -> Entry:
        index = stored.index()
        if index.source != self.source:
            raise WorkerOutdated(
                "The image of the job definition was built from another version of this program.",
                "Rebuild it and push it: docker/README.md.",
            )
        if number >= len(index.entries):
            raise BundleError(f"{self.location.pack} has no job {number}.")
        return index.entries[number]

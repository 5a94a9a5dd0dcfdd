"""A worker whose bundle lies in a bucket: fetch the request, claim it, run it, store the result.

Four requests to S3: the index, the claim, the request, the result; three where it is no array. The
result is one object, so it is there whole or not at all, whatever became of the attempt.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.aws.bucket import S3Bucket
from core.aws.bundles import (
    Entry,
    PackUri,
    Read,
    claim_name,
    read_index,
    reader,
    result_name,
    store_result,
    unpack_request,
)
from core.aws.calls import AwsCalls, AwsClients
from core.bundle import AttemptDir
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.errors import BundleError, WorkerOutdated
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

    code = run_worker(run)
    return own_code[0] if own_code else code


def _open_job(uri: str, environ: Mapping[str, str]) -> S3Job:
    place = PackUri.parse(uri)
    # keys that the job definition gives for Bedrock need not be able to reach the bucket
    clients = AwsClients(place.region, Credentials(), environ, as_container=True)
    # its own clock: what was paid for is stored also by a worker that was told to stop
    calls = AwsCalls(SystemClock())
    bucket = S3Bucket(place.bucket, lambda: clients("s3"), calls)
    return S3Job(bucket, place, environ, source_digest(SOURCE_ROOT))


@dataclass(frozen=True)
class S3Job:
    """One job of a pack; `source` is the digest of this worker's code."""

    bucket: S3Bucket
    place: PackUri
    environ: Mapping[str, str]
    source: str

    def run(self, work: Work, clock: Clock) -> bool:
        """Whether the job was this worker's to run. Raises BundleError, of which WorkerOutdated
        comes before anything is claimed, and BackendError."""
        array_index = self.environ.get(ARRAY_INDEX, "")
        pack = self.place.pack
        read = reader(self.bucket, self.place.root, pack, at_once=not array_index)
        entry = self._entry(read, int(array_index or 0))
        native = self.environ.get(JOB_ID) or "no job of AWS Batch"
        claim = io.BytesIO(native.encode())
        if not self.bucket.put_new(self._name(claim_name(entry.key)), claim):
            if not self._is_held_by(entry.key, native):
                return False
            if self.bucket.exists(self._name(result_name(entry.key))):
                return True  # a worker before this one left it, and was then lost
        root = Path(tempfile.mkdtemp(prefix="job-"))
        try:
            attempt = AttemptDir(root)
            unpack_request(read, pack, entry, attempt.request)
            self._work(attempt, entry.key, lambda: work(attempt, native, clock))
        finally:
            remove_tree(root)
        return True

    def _is_held_by(self, key: JobKey, native: str) -> bool:
        """AWS Batch may run the same native job again, on another host: that one takes over."""
        holder = (self.bucket.get(self._name(claim_name(key))) or b"").decode(errors="replace")
        if holder != native:
            echo(f"{key} is being run by job {holder} already; nothing was done.")
        return holder == native

    def _name(self, name: str) -> str:
        return f"{self.place.root}{name}"

    def _entry(self, read: Read, number: int) -> Entry:
        index = read_index(read, self.place.pack)
        if index.source != self.source:
            raise WorkerOutdated(
                "The image of the job definition was built from another version of this program.",
                "Build it anew and push it: docker/README.md.",
            )
        if number >= len(index.entries):
            raise BundleError(f"{self.place.pack} has no job {number}.")
        return index.entries[number]

    def _work(self, attempt: AttemptDir, key: JobKey, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            if attempt.result_json.exists():
                store_result(self.bucket, self.place.root, key, attempt.result)

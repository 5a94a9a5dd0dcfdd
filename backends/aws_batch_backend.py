"""Executors as jobs of AWS Batch: requests and results in a bucket, one array a submission.

Jobs that are submitted together are one object in S3 and one SubmitJob. A worker claims its job in
the bucket, so two of them never run the same.
Names identify a run's jobs for a later process, and one listing of the bucket has their requests.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from backends.base import Backend, BackendContext, LogChunk, PollPace
from backends.batch.client import ENDED, BatchClient, connector
from backends.batch.job_states import AT_ONCE, JobStates
from backends.batch.jobs import (
    MOST_IN_ARRAY,
    RunLocation,
    build_submission,
    native_ids,
    work_dir_hash,
    work_dir_objects,
)
from backends.batch.logs import LogStreams, is_progress
from backends.batch.settings import BatchSettings
from backends.shared.parallel import in_parallel
from backends.shared.result_watch import ResultWatch
from backends.shared.results import add_earlier_events, collect_each, install_result
from backends.shared.worker_image import WORKER_TOOLS
from core.aws.bucket import S3Bucket
from core.aws.bundles import PackUri, RunObjects, StoredObjects, packs
from core.aws.calls import AwsService
from core.bundle import BASE_NAMES, AttemptDir, Limits
from core.errors import AwsRefused, BackendError, BundleError, CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, TaskResult
from core.wire import write_atomic
from core.worker.source import SOURCE_ROOT, source_digest
from core.workspace.confined import remove_tree

PACK_BYTES = 64 * 1024 * 1024
"""Of compressed requests, after which another object, and so another array, is begun."""
SERVICES = ("batch", "s3", "logs", "iam")
LOGS_A_ROUND, LOGS_EVERY_S = 4, 2.0
"""A whole account and region may call GetLogEvents only a few times a second."""
LOOK_EVERY_S = 4.0
"""Between two listings of the run's objects."""
CLEANUP_WAIT_S, CLEANUP_LOOK_S = 60.0, 2.0
"""How long stopped jobs are waited for, and between two looks. ECS kills what has not ended 30 s
after SIGTERM."""


class AwsBatchBackend(Backend):
    """`connect` makes a client of boto3 for a service."""

    name = "batch"
    checks_run_in = "job"
    worker_tools = WORKER_TOOLS
    pace = PollPace(first_s=5.0, most_s=30.0)  # the bucket tells of starts and results before
    grace_s = 60.0  # a job may not be listed for a while after it was submitted
    first_line_s = 60.0  # most often a host or a Fargate task starts first
    logs_a_round, logs_every_s = LOGS_A_ROUND, LOGS_EVERY_S
    cancel_lag_s = 60.0  # ECS leaves 30 s between its two signals, and Batch reports the end later

    def __init__(self, context: BackendContext, connect: Callable[[str], Any]) -> None:
        settings = BatchSettings.read(context.options)
        self.pack_bytes = PACK_BYTES
        self._settings = settings
        self._clock = context.clock
        self._run_dir = context.run_dir
        self._location = RunLocation.of(context.run_dir)
        # each service throttles its own calls
        self._services = {name: AwsService(name, connect, context.clock) for name in SERVICES}
        self._client = BatchClient(self._services["batch"])
        self._streams = LogStreams(self._services["logs"])
        self._s3 = S3Bucket(settings.batch_s3_bucket, self._services["s3"])
        self._has_recalled = False
        self._bases: set[Path] = set()
        self._handles: dict[JobKey, JobHandle] = {}
        objects = partial(self._objects, self._location)
        self._states = JobStates(context, self._location, self._client, self._streams, objects)
        look = self._states.look
        self._watch = ResultWatch(look, lambda *keys: self._wake(*keys), every_s=LOOK_EVERY_S)

    @classmethod
    def build(cls, context: BackendContext) -> Self:
        return cls(context, connector(context))

    @classmethod
    def location_settings(cls, options: Mapping[str, Any]) -> dict[str, str]:
        settings = BatchSettings.read(options)
        names = ("batch_region", "batch_job_queue", "batch_s3_bucket", "batch_s3_prefix")
        return {name: getattr(settings, name).strip("/") for name in names}

    def preflight(self) -> list[Problem]:
        from backends.batch.preflight import Preflight

        iam = self._services["iam"]
        return Preflight(self._client, self._s3, self._streams, iam, self._settings).problems()

    def probe(self) -> list[Problem]:
        from backends.batch.probe import probe

        return probe(self, self._run_dir, self._settings, self._clock)

    def _objects(self, location: RunLocation) -> RunObjects:
        """Raises BackendError where no bucket was named."""
        if not self._s3.name:
            message = "No bucket was named for AWS Batch."
            raise BackendError(message, "Name one with --batch-s3-bucket.")
        return RunObjects(self._s3, location.objects(self._settings.batch_s3_prefix))

    def _stored(self, location: RunLocation) -> StoredObjects:
        return self._objects(location).list(location.run)

    # -- submit

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        if not jobs:
            return []
        if not self._has_recalled:  # an earlier process may have submitted some
            self._handles |= self._recall(self._location)
        fresh = {job.key: job for job in jobs if job.key not in self._handles}
        self._has_recalled = False  # after an error, find out again what was submitted
        refused = self._submit(fresh) if fresh else {}
        self._has_recalled = True
        self._watch_for(job.key for job in jobs if job.key in self._handles)
        return [self._handles.get(job.key) or refused[job.key] for job in jobs]

    def _watch_for(self, keys: Iterable[JobKey]) -> None:
        if self._is_heard:
            self._watch.add(key for key in keys if key not in self._states.ended)

    def _submit(self, jobs: Mapping[JobKey, Job]) -> dict[JobKey, SubmitError]:
        refused: dict[JobKey, SubmitError] = {}
        requests = [(key, AttemptDir(job.attempt_dir).request) for key, job in jobs.items()]
        source = source_digest(SOURCE_ROOT)
        objects, region = self._objects(self._location), self._settings.batch_region
        for base in (self._run_dir / name for name in BASE_NAMES):
            if base not in self._bases and base.exists():
                objects.store_base(base)
                self._bases.add(base)
        for pack in packs(requests, source, MOST_IN_ARRAY, self.pack_bytes):
            name = pack.store(objects.bucket, objects.root)
            uri = PackUri(objects.bucket.name, objects.root, name, region)
            timeout_s = max(jobs[key].timeout_s for key in pack.keys)
            try:
                self._submit_array(pack.keys, uri, timeout_s)
            except AwsRefused as exc:
                error = SubmitError(exc.message, exc.remedy, retryable=False)
                refused |= dict.fromkeys(pack.keys, error)
        return refused

    def _submit_array(self, keys: Sequence[JobKey], uri: PackUri, timeout_s: float) -> None:
        submission = build_submission(self._settings, self._location, uri, keys, timeout_s)
        ids = native_ids(self._client.submit(submission), len(keys))
        pairs = zip(keys, ids, strict=True)
        self._handles |= {key: self._handle(key, native) for key, native in pairs}

    def _handle(self, key: JobKey, native: str) -> JobHandle:
        return JobHandle(key, self.name, native)

    # -- poll

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        found = self._states.poll(handles)
        for key in found.keys() & self._states.ended.keys():
            self._watch.drop(key)
        return found

    # -- collect

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        return collect_each(handles, self._run_dir, destination, self._fetch, AT_ONCE)

    def _fetch(self, handle: JobHandle, attempt: AttemptDir) -> None:
        """Bring the result, or else the events of a job that has ended. Raises CollectError."""
        if attempt.result_json.exists() or self._fetch_result(handle, attempt):
            return
        if handle.key not in self._states.ended:
            raise CollectError(f"{handle.key} has no result yet.", retryable=True)
        job = self._states.description(handle)
        if attempt.events.exists() or job is None:
            return
        if lines := self._logged_events(job.group, (*job.earlier_streams, job.stream)):
            attempt.result.mkdir(exist_ok=True)
            write_atomic(attempt.events, "".join(f"{line}\n" for line in lines))

    def _fetch_result(self, handle: JobHandle, attempt: AttemptDir) -> bool:
        fresh = AttemptDir(attempt.root / f".fetched-{secrets.token_hex(8)}")
        fresh.root.mkdir()
        try:
            objects = self._objects(self._location)
            if not objects.fetch_result(handle.key, fresh.result, Limits()):
                return False
            job = self._states.description(handle)
            if job is not None and job.earlier_streams:
                lines = self._logged_events(job.group, job.earlier_streams)
                add_earlier_events(fresh, handle.key, lines)
            install_result(attempt, fresh.result)
        finally:
            remove_tree(fresh.root)
        return True

    def _logged_events(self, group: str, streams: Iterable[str]) -> list[str]:
        """The workers' own events in these streams: what they spent is in them."""
        lines = [line for s in streams if s for line in self._streams.lines(group, s)]
        return [line for line in lines if is_progress(line)]

    # -- logs, cancel, and the rest

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        ours = handle.key.run == self._location.run
        job = self._states.with_stream(handle) if ours else None
        if job is None or not job.stream:
            return LogChunk((), cursor)
        return self._streams.read(job.group, job.stream, cursor)

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        self._terminate(self._states.cancel(handles))

    def _terminate(self, ids: Iterable[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE, "batch-cancel") as pool:
            answers = [pool.submit(self._client.terminate, native) for native in ids]
        for answer in answers:  # raises only now that all were asked
            answer.result()

    def reattach(self, run_id: str) -> list[JobHandle]:
        found = self._recall(replace(self._location, run=run_id))
        if run_id == self._location.run:
            self._handles = found | self._handles
            found, self._has_recalled = self._handles, True
            self._watch_for(found)
        return sorted(found.values(), key=lambda handle: handle.key)

    def _recall(self, location: RunLocation) -> dict[JobKey, JobHandle]:
        """Every job of a run that was submitted, out of bucket and queue."""
        stored = self._stored(location)
        if not stored.names:
            return {}
        objects = self._objects(location)
        oldest = {job["jobName"]: str(job["jobId"]) for job in reversed(self._listed(location))}
        found: dict[JobKey, str] = {}
        for name in stored.packs:
            if (job_id := oldest.get(location.job_name(name.digest))) is None:
                continue  # it was not submitted, or Batch has forgotten it
            try:
                keys = [entry.key for entry in objects.pack(name).index().entries]
            except BundleError as exc:
                remedy = "Clean the run up, and start it anew."
                raise BackendError(exc.message, remedy) from exc
            found |= dict(zip(keys, native_ids(job_id, len(keys)), strict=True))
        unknown = (stored.claims | stored.results) - found.keys()
        found |= zip(unknown, in_parallel(objects.claimant, unknown, AT_ONCE), strict=True)
        return {key: self._handle(key, native) for key, native in found.items()}

    def _listed(self, location: RunLocation) -> list[dict[str, Any]]:
        return self._client.list(self._settings.batch_job_queue, location.job_prefix)

    def leftovers(self, run_id: str) -> list[str]:
        location = replace(self._location, run=run_id)
        jobs = [job for job in self._listed(location) if job["status"] not in ENDED]
        found = [f"job {job['jobName']} ({job['jobId']})" for job in jobs]
        if names := self._stored(location).names:
            root = self._objects(location).root
            found.append(f"{len(names)} object(s) in s3://{self._s3.name}/{root}")
        return found

    def known_runs(self, work_dir: Path) -> list[str]:
        bucket = self._objects(self._location).bucket
        prefix = work_dir_objects(self._settings.batch_s3_prefix, work_dir_hash(work_dir))
        return sorted(bucket.folders(prefix))

    def cleanup(self, run_id: str) -> None:
        """Repeated until nothing is left: a stopped worker stores a result before it ends."""
        location = replace(self._location, run=run_id)
        terminated: set[str] = set()
        deadline = self._clock.monotonic() + CLEANUP_WAIT_S
        while True:
            jobs = self._listed(location)
            unended = {str(job["jobId"]) for job in jobs if job["status"] not in ENDED}
            unended = {job_id for job_id in unended if not self._is_through(job_id)}
            self._terminate(unended - terminated)
            terminated |= unended
            names = self._stored(location).names
            self._s3.delete(names)
            if not (unended or names) or self._clock.monotonic() >= deadline:
                return
            if unended:
                self._clock.sleep(CLEANUP_LOOK_S)

    def _is_through(self, job_id: str) -> bool:
        """Whether all results of a job or array were seen, after which its workers only end."""
        keys = [k for k, h in self._handles.items() if h.native_id.partition(":")[0] == job_id]
        ends = [self._states.ended.get(key) for key in keys]
        return bool(ends) and all(end and end.state is JobState.SUCCEEDED for end in ends)

    def close(self) -> None:
        self._watch.stop()
        for service in self._services.values():
            service.close()

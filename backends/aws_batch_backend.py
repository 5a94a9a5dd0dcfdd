"""Executors as jobs of AWS Batch: requests and results in a bucket, one array a submission.

All jobs that go out together are one object in S3 and one SubmitJob; each finds its own request by
its index. A worker claims its job in the bucket, so two of them never run the same. Names tell a
later process which jobs are a run's, one listing of the bucket what they were to do.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from backends.base import Backend, BackendContext, LogChunk, PollPace
from backends.batch.bucket import RunBucket
from backends.batch.client import BatchService
from backends.batch.jobs import (
    MOST_IN_ARRAY,
    JobDescription,
    RunPlace,
    Wanted,
    array_of,
    build_submission,
    is_id,
    native_ids,
    parse_job,
    place_name,
    place_settings,
    wanted_of,
)
from backends.batch.leftovers import Remains
from backends.batch.logs import LogStreams, is_progress
from backends.batch.settings import BatchSettings
from backends.shared.results import add_earlier_events, attempt_of, hand_over, install_result
from core.aws.bucket import S3Bucket
from core.aws.bundles import PackName, PackUri, packs
from core.aws.calls import AwsCalls, AwsClients
from core.bundle import AttemptDir
from core.clock import Clock
from core.errors import (
    AwsRefused,
    BackendError,
    BundleError,
    CollectError,
    Problem,
    SubmitError,
)
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Reason, TaskResult
from core.wire import write_atomic
from core.worker.source import SOURCE_ROOT, source_digest
from core.workspace.confined import remove_tree

AT_ONCE = 16
"""Calls to AWS at the same time."""
PACK_BYTES = 64 * 1024 * 1024
"""Of compressed requests, after which another object, and so another array, is begun."""
LOGS_A_ROUND = 4
"""What GetLogEvents may be asked in a second is a small number, for a whole account and region."""
STREAM_LOOK_S = 2.0
"""Between two looks for the log stream of a job that has none yet."""
_GONE = JobStatus(JobState.LOST, Reason.MISSING, message="AWS Batch does not know the job")
_HIDDEN = JobStatus(JobState.UNKNOWN, message="its array goes on, and does not show it")


class AwsBatchBackend(Backend):
    """`mask` takes secrets out of what a job has logged."""

    name = "batch"
    grace_s = 60.0  # a job may not show for a while after it was submitted
    logs_a_round = LOGS_A_ROUND
    cancel_lag_s = 60.0  # ECS leaves 30 s between its two signals, and Batch tells of it later

    def __init__(
        self,
        run_dir: Path,
        service: BatchService,
        bucket: RunBucket,
        streams: LogStreams,
        wanted: Wanted,
        clock: Clock,
        *,
        mask: Callable[[str], str] = str,
        find_problems: Callable[[], list[Problem]] = list,
        settings: BatchSettings = BatchSettings(),  # noqa: B008 - a frozen value
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.pace = PollPace(first_s=2.0, most_s=30.0)
        self.pack_bytes = PACK_BYTES
        self._run_dir = run_dir
        self._place = RunPlace.of(run_dir)
        self._service = service
        self._bucket = bucket
        self._streams = streams
        self._wanted = wanted
        self._clock = clock
        self._mask = mask
        self._find_problems = find_problems
        self._settings = settings
        self._close = close
        self._remains = Remains(service, bucket, wanted.queue, self._terminate, clock)
        self._recalled = False
        self._handles: dict[JobKey, JobHandle] = {}
        self._moved: dict[JobKey, str] = {}
        self._seen: dict[str, JobDescription] = {}
        self._looked_at: dict[str, float] = {}
        self._ended: dict[JobKey, JobStatus] = {}

    @classmethod
    def build(cls, context: BackendContext) -> Self:
        settings = BatchSettings.read(context.options)
        clients = AwsClients(settings.batch_region, context.credentials, context.environ)
        return cls.on(context, clients, clients.close, settings)

    @classmethod
    def on(
        cls,
        context: BackendContext,
        clients: Callable[[str], Any],
        close: Callable[[], None],
        settings: BatchSettings,
    ) -> Self:
        """With `clients` by name of service, which is how another AWS can be put in its place."""
        from backends.batch.preflight import Preflight

        wanted = wanted_of(settings)
        # each service throttles by itself, and only its own calls are to slow down then
        of_batch, of_logs, of_s3, of_iam = (AwsCalls(context.clock) for _ in range(4))
        service, streams = BatchService(clients, of_batch), LogStreams(clients, of_logs)
        s3 = S3Bucket(settings.batch_s3_bucket, lambda: clients("s3"), of_s3)
        bucket = RunBucket(s3, settings.batch_s3_prefix, settings.batch_region)
        look = Preflight(service, s3, streams, clients, of_iam, wanted, settings)
        return cls(
            context.run_dir,
            service,
            bucket,
            streams,
            wanted,
            context.clock,
            mask=context.credentials.mask,
            find_problems=look.problems,
            settings=settings,
            close=close,
        )

    @classmethod
    def location_settings(cls, options: Mapping[str, Any]) -> dict[str, str]:
        return place_settings(BatchSettings.read(options))

    def preflight(self) -> list[Problem]:
        return self._find_problems()

    def probe(self) -> list[Problem]:
        from backends.batch.probe import probe

        return probe(self, self._run_dir, self._settings, self._clock)

    # -- submit

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        if not jobs:
            return []
        if not self._recalled:  # what an earlier process handed over, though nobody may know
            self._handles |= self._recall(self._place)
            self._recalled = True
        fresh = {job.key: job for job in jobs if job.key not in self._handles}
        self._recalled = False  # should a call break off, what it came to is looked up again
        refused = self._submit(fresh) if fresh else {}
        self._recalled = True
        return [self._handles.get(job.key) or refused[job.key] for job in jobs]

    def _submit(self, jobs: Mapping[JobKey, Job]) -> dict[JobKey, SubmitError]:
        refused: dict[JobKey, SubmitError] = {}
        requests = [(key, AttemptDir(job.attempt_dir).request) for key, job in jobs.items()]
        source = source_digest(SOURCE_ROOT)
        for pack in packs(requests, source, MOST_IN_ARRAY, self.pack_bytes):
            uri = self._bucket.send(self._place, pack)
            timeout_s = max(jobs[key].timeout_s for key in pack.keys)
            try:
                self._hand_over(pack.keys, uri, timeout_s)
            except AwsRefused as exc:
                error = SubmitError(exc.message, exc.remedy, retryable=False)
                refused |= dict.fromkeys(pack.keys, error)
        return refused

    def _hand_over(self, keys: Sequence[JobKey], uri: PackUri, timeout_s: float) -> None:
        submission = build_submission(self._wanted, self._place, uri, keys, timeout_s)
        ids = native_ids(self._service.submit(submission), len(keys))
        self._handles |= {
            key: self._handle(key, native) for key, native in zip(keys, ids, strict=True)
        }

    def _handle(self, key: JobKey, native: str) -> JobHandle:
        return JobHandle(key, self.name, native)

    # -- poll

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        ours = {h.key: self._native(h) for h in handles if h.key.run == self._place.run}
        asked = {key: native for key, native in ours.items() if key not in self._ended}
        found = self._look(asked)
        return {h.key: self._ended.get(h.key) or found.get(h.key, _GONE) for h in handles}

    def _native(self, handle: JobHandle) -> str:
        return self._moved.get(handle.key, handle.native_id)

    def _look(self, asked: Mapping[JobKey, str]) -> dict[JobKey, JobStatus]:
        """Where jobs stand, by key; what has ended is kept."""
        if not asked:
            return {}
        seen = self._describe(asked.values())
        told = {key: seen[native] for key, native in asked.items() if native in seen}
        statuses = {key: one.status for key, one in told.items()}
        if unknown := asked.keys() - told.keys():
            statuses |= self._unknown({key: asked[key] for key in unknown})
        moved = {key: self._other(key, asked[key]) for key, one in told.items() if one.elsewhere}
        self._moved |= {key: native for key, native in moved.items() if native}
        statuses |= self._look({key: native for key, native in moved.items() if native})
        final = {key: s for key, s in statuses.items() if s.state.final and s != _GONE}
        with ThreadPoolExecutor(AT_ONCE, "batch-tails") as pool:
            ends = pool.map(lambda key: self._explained(key, asked[key], final[key]), final)
            self._ended |= dict(zip(final, ends, strict=True))
        return statuses

    def _describe(self, ids: Iterable[str]) -> dict[str, JobDescription]:
        wanted = [native for native in ids if is_id(native)]
        seen = {i: parse_job(job) for i, job in self._service.describe(wanted).items()}
        self._seen |= seen
        return seen

    def _unknown(self, asked: Mapping[JobKey, str]) -> dict[JobKey, JobStatus]:
        """Of jobs that Batch has forgotten, or does not know yet: the result is the truth. A job
        of an array that goes on is only not shown."""
        results = self._bucket.kept(self._place).results
        done = JobStatus(JobState.SUCCEEDED, exit_code=0)
        there = {k for k in asked if attempt_of(self._run_dir, k).result_json.exists()} | results
        arrays = {key: array_of(native) for key, native in asked.items() if key not in there}
        going_on = self._service.unended({array for array in arrays.values() if is_id(array)})
        shown = {key: _HIDDEN if array in going_on else _GONE for key, array in arrays.items()}
        return {key: done if key in there else shown[key] for key in asked}

    def _other(self, key: JobKey, native: str) -> str:
        """The job that runs `key` in place of `native`; empty when that cannot be found out."""
        claimant = self._bucket.claimant(self._place, key)
        return claimant if is_id(claimant) and claimant != native else ""

    def _explained(self, key: JobKey, native: str, status: JobStatus) -> JobStatus:
        """A failure with the end of its log, which may not have arrived yet."""
        if key in self._ended:
            return self._ended[key]
        seen = self._seen.get(self._moved.get(key, native))
        if status.state is not JobState.FAILED or seen is None or not seen.stream:
            return status
        try:
            said = self._mask(self._streams.tail(seen.group, seen.stream))
        except BackendError as exc:
            said = f"its log cannot be read ({exc.message.rstrip('.')})"
        told = [status.message, said.rstrip("."), f"log stream: {seen.stream}"]
        return replace(status, message="; ".join(part for part in told if part))

    # -- collect

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        if not handles:
            return {}
        with ThreadPoolExecutor(AT_ONCE, "batch-collect") as pool:
            found = pool.map(lambda handle: self._collect(handle, destination), handles)
            return {h.key: answer for h, answer in zip(handles, found, strict=True)}

    def _collect(self, handle: JobHandle, destination: Path) -> TaskResult | CollectError:
        key = handle.key
        if key.run != self._place.run:
            return CollectError(f"{key} is no job of run {self._place.run}.")
        here = attempt_of(self._run_dir, key)
        try:
            if not (here.result_json.exists() or self._fetch(handle, here)):
                if key not in self._ended:
                    return CollectError(f"{key} has left no result yet.", retryable=True)
                self._keep_events(handle, here)
        except CollectError as exc:
            return exc
        except OSError as exc:
            return CollectError(f"The result of {key} cannot be kept: {exc}.", retryable=True)
        return hand_over(here, key, destination)

    def _fetch(self, handle: JobHandle, here: AttemptDir) -> bool:
        fresh = AttemptDir(here.root / f".fetched-{secrets.token_hex(8)}")
        fresh.root.mkdir(parents=True)
        try:
            if not self._bucket.fetch(self._place, handle.key, fresh.result):
                return False
            seen = self._seen.get(self._native(handle))
            if seen is not None and seen.earlier:
                told = self._told(seen.group, seen.earlier)
                add_earlier_events(fresh, handle.key, told)
            install_result(here, fresh.result)
        finally:
            remove_tree(fresh.root)
        return True

    def _keep_events(self, handle: JobHandle, here: AttemptDir) -> None:
        """What a worker without a result has told in its log: it may have cost money."""
        seen = self._seen.get(self._native(handle))
        if here.events.exists() or seen is None:
            return
        if told := self._told(seen.group, (*seen.earlier, seen.stream)):
            here.result.mkdir(parents=True, exist_ok=True)
            write_atomic(here.events, "".join(f"{line}\n" for line in told))

    def _told(self, group: str, streams: Iterable[str]) -> list[str]:
        """The workers' own events in these streams."""
        lines = [line for s in streams if s for line in self._streams.lines(group, s)]
        return [line for line in lines if is_progress(line)]

    # -- logs, cancel, and the rest

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        if handle.key.run != self._place.run:
            return LogChunk((), cursor)
        seen = self._with_stream(self._native(handle))
        if seen is None or not seen.stream:
            return LogChunk((), cursor)
        return self._streams.read(seen.group, seen.stream, cursor)

    def _with_stream(self, native: str) -> JobDescription | None:
        """What is known of a job; looked at again, though not at once, while it has no stream."""
        seen, now = self._seen.get(native), self._clock.monotonic()
        before = self._looked_at.get(native, float("-inf"))
        if (seen is None or not seen.stream) and now >= before + STREAM_LOOK_S:
            self._looked_at[native] = now
            seen = self._describe([native]).get(native)
        return seen

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        ours = [h for h in handles if h.key.run == self._place.run and h.key not in self._ended]
        self._terminate(native for h in ours if is_id(native := self._native(h)))

    def _terminate(self, ids: Iterable[str]) -> None:
        with ThreadPoolExecutor(AT_ONCE, "batch-cancel") as pool:
            asked = [pool.submit(self._service.terminate, native) for native in ids]
        for answer in asked:  # only now: one that is refused keeps no other from being asked
            answer.result()

    def reattach(self, run_id: str) -> list[JobHandle]:
        found = self._recall(replace(self._place, run=run_id))
        if run_id == self._place.run:
            self._handles = found | self._handles
            found, self._recalled = self._handles, True
        return sorted(found.values(), key=lambda handle: handle.key)

    def _recall(self, place: RunPlace) -> dict[JobKey, JobHandle]:
        """Every job of a run that was handed over, as bucket and queue tell."""
        kept = self._bucket.kept(place)
        if not kept.names:
            return {}
        jobs = self._service.list(self._wanted.queue, place.job_prefix)
        oldest = {job["jobName"]: str(job["jobId"]) for job in reversed(jobs)}
        found: dict[JobKey, str] = {}
        for pack in kept.packs:
            if (job_id := oldest.get(place.job_name(pack.digest))) is None:
                continue  # its submission never came about, or Batch has forgotten it
            keys = self._keys(place, pack)
            found |= dict(zip(keys, native_ids(job_id, len(keys)), strict=True))
        unknown = (kept.claims | kept.results) - found.keys()
        with ThreadPoolExecutor(AT_ONCE, "batch-claims") as pool:
            claimants = pool.map(lambda key: self._bucket.claimant(place, key), unknown)
            found |= zip(unknown, claimants, strict=True)
        return {key: self._handle(key, native) for key, native in found.items()}

    def _keys(self, place: RunPlace, pack: PackName) -> list[JobKey]:
        try:
            return [entry.key for entry in self._bucket.entries(place, pack)]
        except BundleError as exc:
            raise BackendError(exc.message, "clean removes the run's objects.") from exc

    def leftovers(self, run_id: str) -> list[str]:
        return self._remains.phrases(replace(self._place, run=run_id))

    def known_runs(self, work_dir: Path) -> list[str]:
        return self._bucket.runs(place_name(work_dir))

    def cleanup(self, run_id: str) -> None:
        self._remains.remove(replace(self._place, run=run_id))

    def close(self) -> None:
        self._close()

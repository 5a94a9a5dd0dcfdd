"""How the jobs of a run stand, out of what AWS Batch, the bucket and the logs tell."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from backends.base import BackendContext
from backends.batch.client import BatchClient
from backends.batch.jobs import JobDescription, RunLocation, is_job_id, parse_job
from backends.batch.logs import LogStreams
from backends.shared.output import cause_first
from backends.shared.parallel import in_parallel
from backends.shared.results import attempt_of
from core.aws.bundles import RunObjects, StoredObjects
from core.errors import BackendError
from core.job import JobHandle, JobKey, JobState, JobStatus, Reason
from core.worker.exit_codes import FAILED

AT_ONCE = 16
"""Calls to AWS at the same time."""
STREAM_LOOK_S = 2.0
"""Between two looks for the log stream of a job that has none yet."""
_UNKNOWN_JOB = JobStatus(JobState.LOST, Reason.MISSING, message="AWS Batch does not know the job")
_HIDDEN_JOB = JobStatus(
    JobState.UNKNOWN, message="AWS Batch does not list the job, while others of its array run"
)


class JobStates:
    """`objects` gives those of the run at `location`, and raises BackendError without a bucket."""

    def __init__(
        self,
        context: BackendContext,
        location: RunLocation,
        client: BatchClient,
        streams: LogStreams,
        objects: Callable[[], RunObjects],
    ) -> None:
        self._clock = context.clock
        self._run_dir = context.run_dir
        self._mask = context.credentials.mask
        self._location = location
        self._client = client
        self._streams = streams
        self._objects = objects
        self.ended: dict[JobKey, JobStatus] = {}
        self._cancelled: set[JobKey] = set()
        self._replaced_by: dict[JobKey, str] = {}
        """Native ids of jobs that run a key in place of the one that was submitted."""
        self._described: dict[str, JobDescription] = {}
        self._described_at: dict[str, float] = {}
        self._seen = StoredObjects()
        """As of the last listing."""

    def _stored(self) -> StoredObjects:
        return self._objects().list(self._location.run)

    def look(self, keys: Sequence[JobKey]) -> list[JobKey]:
        """Those that have a result, or have been claimed since the last look."""
        before, self._seen = self._seen, self._stored()
        return [k for k in keys if k in self._seen.results | (self._seen.claims - before.claims)]

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        ours = {h.key: self.native(h) for h in handles if h.key.run == self._location.run}
        unended = {key: native for key, native in ours.items() if key not in self.ended}
        found = self._statuses(unended)
        return {h.key: self.ended.get(h.key) or found.get(h.key, _UNKNOWN_JOB) for h in handles}

    def cancel(self, handles: Sequence[JobHandle]) -> list[str]:
        """The native ids to end; a result in the bucket is not taken for the end of these."""
        ours = [h for h in handles if h.key.run == self._location.run and h.key not in self.ended]
        self._cancelled.update(handle.key for handle in ours)
        return [native for h in ours if is_job_id(native := self.native(h))]

    def native(self, handle: JobHandle) -> str:
        return self._replaced_by.get(handle.key, handle.native_id)

    def _statuses(self, natives: Mapping[JobKey, str]) -> dict[JobKey, JobStatus]:
        """The status of each job, by its native id; final ones are kept."""
        if not natives:
            return {}
        described = self._describe(natives.values())
        known = {key: described[native] for key, native in natives.items() if native in described}
        statuses = {key: self._status(key, job) for key, job in known.items()}
        if unknown := natives.keys() - known.keys():
            statuses |= self._undescribed({key: natives[key] for key in unknown})
        others = {
            key: other
            for key, job in known.items()
            if job.is_duplicate and (other := self._other_claimant(key, natives[key]))
        }
        self._replaced_by |= others
        statuses |= self._statuses(others)
        final = {key: s for key, s in statuses.items() if s.state.final and s != _UNKNOWN_JOB}
        ends = in_parallel(lambda key: self._end(key, natives[key], final[key]), final, AT_ONCE)
        self.ended |= zip(final, ends, strict=True)
        return statuses

    def _status(self, key: JobKey, job: JobDescription) -> JobStatus:
        """A worker stores a result last, and Batch knows of its end some seconds later."""
        is_running = job.status.state is JobState.RUNNING and key not in self._cancelled
        if is_running and key in self._seen.results:
            return JobStatus(JobState.SUCCEEDED, exit_code=0)
        return job.status

    def _describe(self, ids: Iterable[str]) -> dict[str, JobDescription]:
        details = self._client.describe([native for native in ids if is_job_id(native)])
        described = {native: parse_job(detail) for native, detail in details.items()}
        self._described |= described
        return described

    def _undescribed(self, natives: Mapping[JobKey, str]) -> dict[JobKey, JobStatus]:
        """Of jobs that Batch has forgotten, or does not know yet: one with a result has succeeded,
        and one of an array that still runs is only hidden."""
        stored, run_dir = self._stored().results, self._run_dir
        done = {k for k in natives if k in stored or attempt_of(run_dir, k).result_json.exists()}
        # a job of its own is of no array: ""
        arrays = {k: native.rpartition(":")[0] for k, native in natives.items() if k not in done}
        running = self._client.unended({array for array in arrays.values() if is_job_id(array)})
        statuses = dict.fromkeys(done, JobStatus(JobState.SUCCEEDED, exit_code=0))
        return statuses | {
            key: _HIDDEN_JOB if array in running else _UNKNOWN_JOB for key, array in arrays.items()
        }

    def _other_claimant(self, key: JobKey, native: str) -> str:
        """The job that runs `key` in place of `native`; empty when that is not known."""
        claimant = self._objects().claimant(key)
        return claimant if is_job_id(claimant) and claimant != native else ""

    def _end(self, key: JobKey, native: str, status: JobStatus) -> JobStatus:
        """A final status, a failure with the end of its log, which may not have arrived yet."""
        if key in self.ended:
            return self.ended[key]
        job = self._described.get(self._replaced_by.get(key, native))
        if status.state is not JobState.FAILED or job is None or not job.stream:
            return status
        cause = unread = ""
        try:
            cause = cause_first(self._mask(self._streams.tail(job.group, job.stream)))
        except BackendError as exc:
            unread = f"its log cannot be read ({exc.message.rstrip('.')})"
        parts = [cause, status.message, unread, f"log stream: {job.stream}"]
        status = replace(status, message="; ".join(filter(None, parts)))
        if status.exit_code == FAILED and not self._objects().claimant(key):
            return replace(status, reason=Reason.LAUNCH)  # the worker ended before it began
        return status

    def description(self, handle: JobHandle) -> JobDescription | None:
        """As of the last poll."""
        return self._described.get(self.native(handle))

    def with_stream(self, handle: JobHandle) -> JobDescription | None:
        """A job's description, renewed, but not too often, while it has no log stream."""
        native = self.native(handle)
        job, now = self._described.get(native), self._clock.monotonic()
        before = self._described_at.get(native, float("-inf"))
        if (job is None or not job.stream) and now >= before + STREAM_LOOK_S:
            self._described_at[native] = now
            job = self._describe([native]).get(native)
        return job

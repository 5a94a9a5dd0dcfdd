"""Executors as jobs of a Slurm cluster, submitted from a login node or from inside a job.

Jobs submitted together go as one array. One squeue by name lists a run's jobs; one that has left it
is looked up in the accounting database, and on disk: its result there is the truth about a job.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from backends.base import Backend, BackendContext, LogChunk, PollPace
from backends.shared.result_watch import ResultWatch
from backends.shared.results import attempt_of, hand_over, read_lines
from backends.shared.worker_credentials import sent_credentials
from backends.slurm.arrays import FOLDER, JobArrays
from backends.slurm.commands import NAME_PREFIX, ClusterConfig, is_native_id, job_name
from backends.slurm.host import ClusterHost, LocalHost
from backends.slurm.preflight import find_problems, probe, share_remedy, start_remedy
from backends.slurm.queue import SlurmQueue
from backends.slurm.settings import SlurmSettings
from backends.slurm.states import (
    JobRecord,
    failed_to_launch,
    has_exited,
    has_failed,
    job_state,
    job_status,
)
from backends.slurm.submission import SlurmSubmission
from core.clock import Clock
from core.credentials import Credentials
from core.errors import CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Outcome, Reason, TaskResult
from core.worker.job_index import CREDENTIALS_NAME

MOST_POLL_S = 30.0


class SlurmBackend(Backend):
    """`credentials` is called at each submission; `mask` removes secrets from a job's output."""

    name = "slurm"
    checks_run_in = "job"
    pace = PollPace(1.0, MOST_POLL_S)
    grace_s = 60.0  # NFS clients cache a directory for up to that long

    def __init__(
        self,
        run_dir: Path,
        host: ClusterHost,
        settings: SlurmSettings,
        *,
        clock: Clock,
        credentials: Callable[[], Credentials] = Credentials,
        mask: Callable[[str], str] = str,
    ) -> None:
        self._run_dir = run_dir
        self._run_id = run_dir.name
        self._host = host
        self._clock = clock
        self._mask = mask
        self._settings = settings
        self._arrays = JobArrays(run_dir)
        self._ended: dict[JobKey, JobStatus] = {}
        self._queue = SlurmQueue(host, self._arrays, job_name(run_dir.name))
        self._submission = SlurmSubmission(
            run_dir, host, settings, self._arrays, self._queue, self.name, credentials, self._config
        )
        self._handles = self._submission.handles
        self._outputs: dict[JobKey, str] = {}
        self._redundant: list[str] = []
        self._submitting = threading.Lock()
        self._watch = ResultWatch(host.await_news, lambda *keys: self._wake(*keys))

    @classmethod
    def build(cls, context: BackendContext) -> Self:
        settings = SlurmSettings.read(context.options)
        return cls(
            context.run_dir,
            LocalHost(context.run_dir, context.environ),
            settings,
            clock=context.clock,
            credentials=lambda: sent_credentials(context.credentials, settings),
            mask=context.credentials.mask,
        )

    def preflight(self) -> list[Problem]:
        problems = find_problems(self._host, self._settings)
        if not problems:
            self._config()  # which sets the pace of polling
        return problems

    def probe(self) -> list[Problem]:
        return probe(self._host, self._settings, self._submission.worker_paths(), self._clock)

    # -- submit

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        if not jobs:
            return []
        keys = list(dict.fromkeys(job.key for job in jobs))
        self._watch_for(keys)  # before their arrays are sent, by which a look under way is ended
        with self._submitting:
            self._submission.find([key for key in keys if key not in self._handles])
            refused = self._submission.submit([j for j in jobs if j.key not in self._handles])
        for key in refused:
            self._watch.drop(key)
        return [self._handles.get(job.key) or refused[job.key] for job in jobs]

    def _watch_for(self, keys: Iterable[JobKey]) -> None:
        if self._is_heard:
            self._watch.add(k for k in keys if k not in self._ended)

    # -- poll

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        ours = [h for h in handles if h.key.run == self._run_id and h.key not in self._ended]
        keys = [h.key for h in ours]
        if keys:
            self._queue.refresh(keys)
        unlisted = [h for h in ours if self._queue.record_of(h.key) is None]
        accounted = self._queue.query_accounting(unlisted)
        self._read_outputs(keys, accounted)
        found = {h.key: self._status(h.key, accounted) for h in handles}
        redundant, self._redundant = self._redundant, []
        self._queue.cancel(redundant)
        return found

    def _status(self, key: JobKey, accounted: Mapping[JobKey, JobRecord]) -> JobStatus:
        if (ended := self._ended.get(key)) is not None:
            return ended
        if (record := self._queue.record_of(key)) is not None:
            status = self._listed_status(key, record)
        else:
            status = self._unlisted_status(key, accounted.get(key))
        if status.state.final and status.reason is not Reason.MISSING:
            self._ended[key] = status
            self._watch.drop(key)
        return status

    def _listed_status(self, key: JobKey, record: JobRecord) -> JobStatus:
        if job_state(record.state) is JobState.QUEUED and self._host.trace(key).has_result:
            # requeued after its worker had saved the result: it would do nothing more
            self._redundant.append(record.native_id)
            return JobStatus(JobState.SUCCEEDED, message="requeued after it had left a result")
        output = self._outputs.get(key, "")
        status = job_status(record, output)
        if failed_to_launch(record) and not (output or self._host.trace(key).has_begun):
            cause = f"no log in {self._host.run_dir}. {share_remedy(self._host).rstrip('.')}"
            message = "; ".join(filter(None, (cause, status.message)))
            return JobStatus(JobState.FAILED, Reason.LAUNCH, message=message)
        if status.state is not JobState.FAILED:
            return status
        if has_exited(record) and not self._host.trace(key).has_begun:
            remedy = start_remedy(self._settings).rstrip(".")
            message = ". ".join(filter(None, (status.message, remedy)))
            status = replace(status, reason=Reason.LAUNCH, message=message)
        logs = [f"full log: {self._run_dir}/{path}" for path in self._logs(key)[-1:]]
        return replace(status, message="; ".join(filter(None, (status.message, *logs))))

    def _unlisted_status(self, key: JobKey, record: JobRecord | None) -> JobStatus:
        """Slurm forgets a job some minutes after its end, and more when its state is lost."""
        if record is not None and job_state(record.state).final:
            return self._listed_status(key, record)
        if key.run == self._run_id and self._host.trace(key).has_result:
            return JobStatus(JobState.SUCCEEDED, exit_code=0)
        message = "Slurm no longer lists it"
        if key in self._queue.records:
            message = "another job had claimed the attempt, and Slurm does not list that one"
        return JobStatus(JobState.LOST, Reason.MISSING, message=message)

    def _config(self) -> ClusterConfig:
        """The cluster's. Polls must see the end of a job before Slurm forgets it."""
        found = self._queue.config
        if found.min_job_age_s:
            most_s = max(1.0, min(MOST_POLL_S, found.min_job_age_s / 3))
            self.pace = PollPace(min(self.pace.first_s, most_s), most_s)
        return found

    def _logs(self, key: JobKey) -> list[str]:
        return [array.log(key) for array in self._arrays.containing(key)]

    def _read_outputs(self, keys: Sequence[JobKey], accounted: Mapping[JobKey, JobRecord]) -> None:
        """Read in one call what failed jobs have printed."""
        records = {key: self._queue.record_of(key) or accounted.get(key) for key in keys}
        logs = {k: self._logs(k) for k, record in records.items() if record and has_failed(record)}
        tails = self._host.tails([path for paths in logs.values() for path in paths])
        for key, paths in logs.items():
            self._outputs[key] = self._mask("\n".join(tails[path].strip() for path in paths))

    # -- collect, logs, cancel

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        ours = [h.key for h in handles if h.key.run == self._run_id]
        refused = self._host.fetch(ours) if ours else {}
        return {h.key: refused.get(h.key) or self._collect(h.key, destination) for h in handles}

    def _collect(self, key: JobKey, destination: Path) -> TaskResult | CollectError:
        if key.run != self._run_id:
            return CollectError(f"{key} is not a job of the run {self._run_id}.")
        found = hand_over(attempt_of(self._run_dir, key), key, destination)
        ended = self._ended.get(key)
        succeeded = ended is not None and ended.state is JobState.SUCCEEDED
        if isinstance(found, CollectError):
            if not succeeded:
                return found
            # a job that succeeded has a result, which a slow file system may show later
            logs = [f"Its log: {self._run_dir}/{path}." for path in self._logs(key)[-1:]]
            return CollectError(" ".join([found.message, *logs]), found.remedy, retryable=True)
        if found.outcome is Outcome.OK and ended is not None and not succeeded:
            # whoever ended the worker may have written its result
            return CollectError(f"The result of {key} was rejected: its job did not succeed.")
        return found

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        if handle.key.run != self._run_id:
            return LogChunk((), cursor)
        return read_lines(attempt_of(self._run_dir, handle.key).events, cursor)

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        ours = [h for h in handles if h.key.run == self._run_id and h.key not in self._ended]
        ids = {r.native_id for h in ours for r in self._queue.records.get(h.key, ())}
        if unseen := {h.native_id for h in ours if is_native_id(h.native_id)} - ids:
            ids |= self._queue.listed_ids(unseen)
        self._queue.cancel(sorted(ids))

    # -- what a run holds

    def reattach(self, run_id: str) -> list[JobHandle]:
        with self._submitting:  # jobs that are being submitted are seen only after that
            keys = self._arrays.keys if run_id == self._run_id else []
        found = self._submission.find(keys)
        self._watch_for(found)
        return [self._handles[key] for key in found]

    def leftovers(self, run_id: str) -> list[str]:
        return [f"Slurm job {r.native_id} ({r.state})" for r in self._active_jobs(run_id)]

    def _active_jobs(self, run_id: str) -> list[JobRecord]:
        """Those that wait or run, by directory and name; or script, as plugins may change names."""
        name, folders = job_name(run_id), self._run_dirs(run_id)
        return [
            r
            for r in self._queue.list_all()
            if r.run_dir in folders and not job_state(r.state).final
            if r.name == name or r.script.startswith(f"{r.run_dir}/{FOLDER}/")
        ]

    def _run_dirs(self, run_id: str) -> Sequence[str]:
        """The directories of a run of this work directory, as the nodes see them."""
        return [str(Path(self._host.run_dir).parent / run_id)]

    def known_runs(self, work_dir: Path) -> list[str]:
        runs = str(Path(self._host.run_dir).parent)
        active = [r for r in self._queue.list_all() if not job_state(r.state).final]
        ours = [r for r in active if r.name.startswith(NAME_PREFIX)]
        found = {(r.name.removeprefix(NAME_PREFIX), r.run_dir) for r in ours}
        return sorted(run_id for run_id, folder in found if folder == f"{runs}/{run_id}")

    def cleanup(self, run_id: str) -> None:
        self._queue.cancel([record.native_id for record in self._active_jobs(run_id)])
        if run_id == self._run_id:
            code = Path(self._host.worker_code()).name
            self._host.remove([f"{FOLDER}/{name}" for name in (CREDENTIALS_NAME, code)])

    def close(self) -> None:
        self._watch.stop(self._host.close)
        self._host.close()

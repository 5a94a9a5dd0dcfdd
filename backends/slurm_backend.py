"""Executors as jobs of a Slurm cluster, started from a login node or from inside a job.

Jobs submitted together go as one array, whose index is on disk before sbatch is called. One squeue
by name tells how all of a run's jobs stand; what has left its list is looked for in the accounting
database, where there is one, and on disk. The result on disk is the truth about a job.
"""

from __future__ import annotations

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
from backends.slurm.commands import (
    NAME_PREFIX,
    ClusterConfig,
    is_native_id,
    job_name,
)
from backends.slurm.host import ClusterHost, LocalHost
from backends.slurm.preflight import PROBE_FOLDER, find_problems, probe
from backends.slurm.queue import SlurmQueue
from backends.slurm.settings import SlurmSettings
from backends.slurm.states import Row, did_not_begin, has_failed, job_state, judge
from backends.slurm.submission import SlurmSubmission
from core.clock import Clock
from core.credentials import Credentials
from core.errors import CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Outcome, Reason, TaskResult
from core.worker.job_index import CREDENTIALS_NAME

FIRST_POLL_S, MOST_POLL_S = 1.0, 30.0
_TAIL_CHARS = 600


class SlurmBackend(Backend):
    """`credentials` is asked at each submit; `mask` takes secrets out of what a job printed."""

    name = "slurm"
    pace = PollPace(FIRST_POLL_S, MOST_POLL_S)
    grace_s = 60.0  # NFS clients keep what they know of a directory for up to that long

    def __init__(
        self,
        run_dir: Path,
        site: ClusterHost,
        settings: SlurmSettings,
        *,
        clock: Clock,
        credentials: Callable[[], Credentials] = Credentials,
        mask: Callable[[str], str] = str,
    ) -> None:
        self._run_dir = run_dir
        self._site = site
        self._settings = settings
        self._clock = clock
        self._mask = mask
        self._batches = JobArrays(run_dir)
        self._ended: dict[JobKey, JobStatus] = {}
        self._queue = SlurmQueue(site, self._batches, job_name(run_dir.name))
        self._submission = SlurmSubmission(
            run_dir,
            site,
            settings,
            self._batches,
            self._queue,
            name=self.name,
            credentials=credentials,
            config=self._config,
        )
        self._handles = self._submission.handles
        self._said: dict[JobKey, str] = {}
        self._needless: list[str] = []
        self._submitting = threading.Lock()
        self._watch = ResultWatch(lambda key: site.trace(key).has_result, lambda: self._wake())

    @classmethod
    def build(cls, site: BackendContext) -> Self:
        settings = SlurmSettings.read(site.options)
        return cls(
            site.run_dir,
            LocalHost(site.run_dir, site.environ),
            settings,
            clock=site.clock,
            credentials=lambda: sent_credentials(site.credentials, settings),
            mask=site.credentials.mask,
        )

    @property
    def _run_id(self) -> str:
        return self._run_dir.name

    def preflight(self) -> list[Problem]:
        problems = find_problems(self._site, self._settings)
        if not problems:
            self._config()  # which tells how often to poll
        return problems

    def probe(self) -> list[Problem]:
        place = self._submission.place(PROBE_FOLDER)
        return probe(self._site, self._settings, place, self._clock)

    # -- submit

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        if not jobs:
            return []
        keys = list(dict.fromkeys(job.key for job in jobs))
        with self._submitting:
            self._submission.find_earlier(keys)
            refused = self._submission.submit([k for k in keys if k not in self._handles])
        self._watch_for(keys)
        return [self._handles.get(key) or refused[key] for key in (job.key for job in jobs)]

    def _watch_for(self, keys: Iterable[JobKey]) -> None:
        if self._site.shares_disk:
            self._watch.add(k for k in keys if k in self._handles and k not in self._ended)

    # -- poll

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        if not handles:
            return {}
        waiting = [h.key for h in handles if h.key not in self._ended]
        if waiting:
            self._queue.look([key for key in waiting if key.run == self._run_id])
        ours = [h for h in handles if h.key in waiting and h.key.run == self._run_id]
        accounted = self._queue.account([h for h in ours if self._queue.telling(h.key) is None])
        self._listen(waiting, accounted)
        found = {h.key: self._status(h.key, accounted) for h in handles}
        self._drop_needless()
        return found

    def _drop_needless(self) -> None:
        """Take jobs out of the queue whose result is there."""
        needless, self._needless = self._needless, []
        self._queue.cancel(needless)

    def _status(self, key: JobKey, accounted: Mapping[JobKey, Row]) -> JobStatus:
        if (ended := self._ended.get(key)) is not None:
            return ended
        row = self._queue.telling(key)
        status = self._judge(key, row) if row else self._unlisted(key, accounted.get(key))
        if status.state.final and status.reason is not Reason.MISSING:
            self._ended[key] = status
            self._watch.drop(key)
        return status

    def _judge(self, key: JobKey, row: Row) -> JobStatus:
        if job_state(row.state) is JobState.QUEUED and self._site.trace(key).has_result:
            # put back after its worker had saved what there was: it would do nothing more
            self._needless.append(row.native_id)
            return JobStatus(JobState.SUCCEEDED, message="it was put back into the queue")
        status = judge(row, self._said.get(key, ""))
        if did_not_begin(row) and not (self._said.get(key) or self._has_left_something(key)):
            asked = "do the nodes see that directory, and may they write there?"
            told = [status.message, f"it left no log below {self._site.run_dir}: {asked}"]
            return JobStatus(JobState.FAILED, Reason.LAUNCH, message="; ".join(filter(None, told)))
        return self._explained(key, status)

    def _explained(self, key: JobKey, status: JobStatus) -> JobStatus:
        """With where the whole log is, for what failed."""
        if status.state is not JobState.FAILED:
            return status
        told = [status.message] if status.message else []
        logs = [f"whole log: {self._run_dir}/{path}" for path in self._logs(key)[-1:]]
        return replace(status, message="; ".join(told + logs))

    def _unlisted(self, key: JobKey, row: Row | None) -> JobStatus:
        """Slurm forgets a job some minutes after its end, and more when its state is lost."""
        ours = key.run == self._run_id
        if row is not None and job_state(row.state).final:
            return self._judge(key, row)
        if ours and self._site.trace(key).has_result:
            return JobStatus(JobState.SUCCEEDED, exit_code=0)
        told = "Slurm knows nothing of it"
        if key in self._queue.rows:
            told = "its worker found the attempt taken, and Slurm knows nothing of who has it"
        return JobStatus(JobState.LOST, Reason.MISSING, message=told)

    def _config(self) -> ClusterConfig:
        """The cluster's. Jobs that ended must be seen before they are forgotten there."""
        found = self._queue.config()
        if found.min_job_age_s:
            most_s = max(FIRST_POLL_S, min(MOST_POLL_S, found.min_job_age_s / 3))
            self.pace = PollPace(FIRST_POLL_S, most_s)
        return found

    def _logs(self, key: JobKey) -> list[str]:
        return [batch.log(batch.keys.index(key)) for batch in self._batches.holding(key)]

    def _listen(self, keys: Sequence[JobKey], accounted: Mapping[JobKey, Row]) -> None:
        """Read in one go what failed jobs have printed."""
        rows = {key: self._queue.telling(key) or accounted.get(key) for key in keys}
        failed = [key for key, row in rows.items() if row and has_failed(row)]
        paths = {key: self._logs(key) for key in failed}
        said = self._site.tails([path for logs in paths.values() for path in logs])
        for key, logs in paths.items():
            whole = "\n".join(said[path].strip() for path in logs)
            self._said[key] = " ".join(self._mask(whole).split())[-_TAIL_CHARS:]

    # -- collect, logs, cancel

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        ours = [h.key for h in handles if h.key.run == self._run_id]
        refused = self._site.fetch(ours) if ours else {}
        return {h.key: refused.get(h.key) or self._collect(h.key, destination) for h in handles}

    def _collect(self, key: JobKey, destination: Path) -> TaskResult | CollectError:
        if key.run != self._run_id:
            return CollectError(f"{key} is no job of run {self._run_id}.")
        found = hand_over(attempt_of(self._run_dir, key), key, destination)
        ended = self._ended.get(key)
        went_well = ended is None or ended.state is JobState.SUCCEEDED
        if isinstance(found, CollectError):
            # a job that went well has a result, which a slow file system may show later
            may_come = ended is not None and ended.state is JobState.SUCCEEDED
            logs = [f"Its log: {self._run_dir}/{path}." for path in self._logs(key)[-1:]]
            told = " ".join([found.message, *logs]) if may_come else found.message
            return CollectError(told, found.remedy, retryable=may_come)
        if found.outcome is Outcome.OK and not went_well:
            # who ends a worker may have written its result
            return CollectError(f"{key} left a result, but its job did not end well.")
        return found

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        if handle.key.run != self._run_id:
            return LogChunk((), cursor)
        return read_lines(attempt_of(self._run_dir, handle.key).events, cursor)

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        ours = [h for h in handles if h.key.run == self._run_id and h.key not in self._ended]
        ids = {row.native_id for h in ours for row in self._queue.rows.get(h.key, ())}
        if unseen := {h.native_id for h in ours if is_native_id(h.native_id)} - ids:
            ids |= self._queue.those_of(unseen)
        self._queue.cancel(sorted(ids))

    # -- what a run holds

    def reattach(self, run_id: str) -> list[JobHandle]:
        with self._submitting:  # jobs that are being handed over are seen only after that
            keys = self._batches.keys if run_id == self._run_id else []
        if not keys:
            return []
        self._queue.look(keys)
        found = {key for key in keys if key in self._queue.rows or self._has_left_something(key)}
        for key in found:
            self._handles[key] = self._submission.handle(key)
        self._watch_for(found)
        return [self._handles[key] for key in sorted(found)]

    def _has_left_something(self, key: JobKey) -> bool:
        trace = self._site.trace(key)
        return trace.claimed or trace.has_result

    def leftovers(self, run_id: str) -> list[str]:
        return [f"Slurm job {r.native_id} ({r.state})" for r in self._unended(run_id)]

    def _unended(self, run_id: str) -> list[Row]:
        """Jobs of a run of this work directory that wait or run: known by their directory, and by
        their name or, where a site's plugin has changed that, their script."""
        name, places = job_name(run_id), self._places(run_id)
        here = [r for r in self._queue.listed() if r.run_dir in places]
        ours = [r for r in here if r.name == name or r.script.startswith(f"{r.run_dir}/{FOLDER}/")]
        return [r for r in ours if not job_state(r.state).final]

    def _places(self, run_id: str) -> Sequence[str]:
        """Where a run of this work directory lies for the nodes."""
        return [str(Path(self._site.run_dir).parent / run_id)]

    def known_runs(self, work_dir: Path) -> list[str]:
        runs = str(Path(self._site.run_dir).parent)
        found = {
            r.name.removeprefix(NAME_PREFIX)
            for r in self._queue.listed()
            if r.name.startswith(NAME_PREFIX) and not job_state(r.state).final
            if r.run_dir == f"{runs}/{r.name.removeprefix(NAME_PREFIX)}"
        }
        return sorted(found)

    def cleanup(self, run_id: str) -> None:
        self._queue.cancel([row.native_id for row in self._unended(run_id)])
        if run_id == self._run_id:
            code = Path(self._site.worker_code()).name
            self._site.remove([f"{FOLDER}/{name}" for name in (CREDENTIALS_NAME, code)])

    def close(self) -> None:
        self._watch.stop()
        self._site.close()

"""Executors as jobs of a Slurm cluster, started from a login node or from inside a job.

Jobs submitted together go as one array, whose index is on disk before sbatch is called. One squeue
by name tells how all of a run's jobs stand; what has left its list is looked for in the accounting
database, where there is one, and on disk. The result on disk is the truth about a job.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from backends.base import Backend, LogChunk, PollPace, Site
from backends.cluster_site import ClusterSite, Finished, LocalSite, Parcel, PlacedFile
from backends.kept_results import attempt_of, hand_over, read_lines
from backends.result_watch import ResultWatch
from backends.sent_credentials import sent_credentials
from backends.slurm_batches import FOLDER, Batch, Batches, make_batch
from backends.slurm_commands import (
    NAME_PREFIX,
    ClusterConfig,
    SlurmOptions,
    build_sbatch,
    is_native_id,
    is_over_a_limit,
    job_name,
    parse_job_id,
    slurm_options,
    words_of,
)
from backends.slurm_preflight import PROBE_FOLDER, find_problems, probe, read_setup
from backends.slurm_queue import SlurmQueue, check_reach
from backends.slurm_script import ATTEMPTS_NAME, SETUP_NAME, WorkerPlace, render_script
from backends.slurm_states import Row, has_failed, job_state, judge
from core.clock import Clock
from core.credentials import Credentials
from core.errors import BackendBusy, BackendError, CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Outcome, Reason, TaskResult
from core.job_index import CREDENTIALS_NAME, INDEX_NAME
from core.worker_process import render_credentials

FIRST_POLL_S, MOST_POLL_S = 1.0, 30.0
_TAIL_CHARS = 600
_DIGEST_CHARS = 16
LIMITED_S = 30.0
"""How long jobs wait that a limit on jobs at once keeps out, before they are tried again."""
_SCRIPT_NAME = "job.sh"


class SlurmBackend(Backend):
    """`credentials` is asked at each submit, since they may expire; `mask` takes secrets out of
    what a job printed."""

    name = "slurm"
    pace = PollPace(FIRST_POLL_S, MOST_POLL_S)
    grace_s = 60.0  # NFS clients keep what they know of a directory for up to that long

    def __init__(
        self,
        run_dir: Path,
        site: ClusterSite,
        options: SlurmOptions,
        *,
        clock: Clock,
        credentials: Callable[[], Credentials] = Credentials,
        mask: Callable[[str], str] = str,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._run_dir = run_dir
        self._site = site
        self._options = options
        self._clock = clock
        self._credentials = credentials
        self._mask = mask
        self._settings = settings or {}
        self._batches = Batches(run_dir)
        self._handles: dict[JobKey, JobHandle] = {}
        self._ended: dict[JobKey, JobStatus] = {}
        self._queue = SlurmQueue(site, self._batches, job_name(run_dir.name))
        self._said: dict[JobKey, str] = {}
        self._needless: list[str] = []
        self._submitting = threading.Lock()
        self._watch = ResultWatch(lambda key: site.trace(key).has_result, lambda: self._wake())

    @classmethod
    def build(cls, site: Site) -> Self:
        return cls(
            site.run_dir,
            LocalSite(site.run_dir, site.environ),
            slurm_options(site.options),
            clock=site.clock,
            credentials=lambda: sent_credentials(site.credentials, site.options),
            mask=site.credentials.mask,
            settings=site.options,
        )

    @property
    def _run_id(self) -> str:
        return self._run_dir.name

    def preflight(self) -> list[Problem]:
        problems = find_problems(self._site, self._options, self._settings)
        if not problems:
            self._config()  # which tells how often to poll
        return problems

    def probe(self) -> list[Problem]:
        place = replace(self._place(), setup=self._setup_at(PROBE_FOLDER))
        return probe(self._site, self._options, self._settings, place, self._clock)

    # -- submit

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        if not jobs:
            return []
        keys = list(dict.fromkeys(job.key for job in jobs))
        with self._submitting:
            self._find_earlier(keys)
            refused = self._submit([key for key in keys if key not in self._handles])
        self._watch_for(keys)
        return [self._handles.get(key) or refused[key] for key in (job.key for job in jobs)]

    def _submit(self, keys: Sequence[JobKey]) -> dict[JobKey, SubmitError]:
        """Hand over jobs; gives those that are refused for good. Raises BackendBusy while there is
        no place for more: what was handed over until then is known at the next try."""
        refused: dict[JobKey, SubmitError] = {}
        waiting = list(self._cut(keys))
        while waiting:
            batch = waiting.pop(0)
            if (done := self._hand_over(batch)) is None:
                continue
            words = words_of(done.stderr) or words_of(done.stdout) or f"exit code {done.exit_code}"
            if not is_over_a_limit(done.stderr):
                refused |= dict.fromkeys(batch.keys, _refusal(words))
            elif len(batch.keys) > 1:
                waiting[:0] = self._halves(batch.keys)  # a smaller array may still fit
            else:
                raise BackendBusy(
                    f"sbatch refuses more jobs for now: {words}.",
                    "Ask for fewer --max-executors, or wait for other jobs of yours.",
                    retry_after_s=LIMITED_S,
                )
        return refused

    def _halves(self, keys: Sequence[JobKey]) -> list[Batch]:
        middle = (len(keys) + 1) // 2
        halves = (keys[:middle], keys[middle:])
        return [self._batches.add(make_batch(self._run_dir, half)) for half in halves if half]

    def _watch_for(self, keys: Iterable[JobKey]) -> None:
        if self._site.shares_disk:
            self._watch.add(k for k in keys if k in self._handles and k not in self._ended)

    def _find_earlier(self, keys: Sequence[JobKey]) -> None:
        """Find jobs that an earlier process, or an earlier try, may have handed over."""
        perhaps = [k for k in keys if k not in self._handles and self._batches.holding(k)]
        if not perhaps:
            return
        self._queue.look(perhaps)
        for key in perhaps:
            trace = self._site.trace(key)
            if key in self._queue.rows or trace.claimed or trace.has_result:
                self._handles[key] = self._handle(key)

    def _cut(self, keys: Sequence[JobKey]) -> Iterator[Batch]:
        """As few arrays as there may be."""
        most = max(1, self._config().max_array_size - 1) if len(keys) > 1 else 1
        for start in range(0, len(keys), most):
            yield self._batches.add(make_batch(self._run_dir, keys[start : start + most]))

    def _hand_over(self, batch: Batch) -> Finished | None:
        """Note handles of all its jobs, or give how sbatch refused them. Raises BackendError when
        the cluster cannot be asked; whether the jobs are there is seen at the next try."""
        script = f"{batch.folder}/{_SCRIPT_NAME}"
        command = build_sbatch(
            self._options,
            self._site.run_dir,
            job_name(self._run_id),
            batch.digest,
            script,
            len(batch.keys),
        )
        parcel = Parcel(list(self._files(batch, script)), batch.keys, once=batch.folder)
        done = self._site.run(command, parcel)
        if done.exit_code != 0:
            check_reach("sbatch", done)
            self._batches.refused(batch)
            return done
        if (job_id := parse_job_id(done.stdout)) is None:
            raise BackendError(
                f"sbatch took the jobs and printed no job id: {words_of(done.stdout)!r}.",
                "The jobs are looked for by their name.",
            )
        self._batches.submitted(batch, job_id)
        for place, key in enumerate(batch.keys):
            native_id = f"{job_id}_{place}" if len(batch.keys) > 1 else job_id
            self._handles[key] = JobHandle(key, self.name, native_id)
        return None

    def _files(self, batch: Batch, script: str) -> Iterator[PlacedFile]:
        yield PlacedFile(f"{batch.folder}/{INDEX_NAME}", batch.index)
        yield PlacedFile(f"{batch.folder}/{ATTEMPTS_NAME}", batch.attempts)
        place, folder = self._place(), f"{self._site.run_dir}/{batch.folder}"
        if self._setup is not None:
            yield PlacedFile(f"{FOLDER}/{self._setup_name}", self._setup, 0o600)
        if (held := self._credentials()) != Credentials():
            kept = f"{FOLDER}/{CREDENTIALS_NAME}"
            place = replace(place, credentials=f"{self._site.run_dir}/{kept}")
            yield PlacedFile(kept, render_credentials(held), 0o600)
        yield PlacedFile(script, render_script(place, folder).encode(), 0o755)

    def _place(self) -> WorkerPlace:
        return WorkerPlace(
            self._site.run_dir,
            self._site.worker_code(),
            self._site.python,
            setup=self._setup_at(FOLDER),
            container=self._options.container,
        )

    @cached_property
    def _setup(self) -> bytes | None:
        """What the setup file held when it was first needed: editing it changes no job, and no run,
        on its way."""
        return read_setup(self._options.setup) if self._options.setup else None

    @property
    def _setup_name(self) -> str:
        """Of our copy: another content has another name, since jobs source it when they start."""
        digest = hashlib.sha256(self._setup or b"").hexdigest()[:_DIGEST_CHARS]
        return f"setup-{digest}.sh"

    def _setup_at(self, folder: str) -> str:
        name = SETUP_NAME if folder == PROBE_FOLDER else self._setup_name
        return f"{self._site.run_dir}/{folder}/{name}" if self._options.setup else ""

    def _handle(self, key: JobKey) -> JobHandle:
        """Of a job that was handed over before; without an id if nobody ever heard it."""
        rows = self._queue.rows.get(key)
        if rows:
            return JobHandle(key, self.name, rows[0].native_id)
        for batch in self._batches.holding(key):
            for job_id in batch.job_ids[-1:]:
                place = batch.keys.index(key)
                return JobHandle(
                    key, self.name, f"{job_id}_{place}" if len(batch.keys) > 1 else job_id
                )
        return JobHandle(key, self.name, "")

    # -- poll

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        if not handles:
            return {}
        waiting = [h.key for h in handles if h.key not in self._ended]
        if waiting:
            self._queue.look([key for key in waiting if key.run == self._run_id])
        unlisted = [h for h in handles if h.key in waiting and h.key not in self._queue.rows]
        accounted = self._queue.account([h for h in unlisted if h.key.run == self._run_id])
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
        rows = self._queue.rows.get(key)
        status = self._judge(key, rows[0]) if rows else self._unlisted(key, accounted.get(key))
        if status.state.final and status.reason is not Reason.MISSING:
            self._ended[key] = status
            self._watch.drop(key)
        return status

    def _judge(self, key: JobKey, row: Row) -> JobStatus:
        if job_state(row.state) is JobState.QUEUED and self._site.trace(key).has_result:
            # put back after its worker had saved what there was: it would do nothing more
            self._needless.append(row.native_id)
            return JobStatus(JobState.SUCCEEDED, message="it was put back into the queue")
        return self._explained(key, judge(row, self._said.get(key, "")))

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
        return JobStatus(JobState.LOST, Reason.MISSING, message="Slurm knows nothing of it")

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
        rows = {key: found[0] for key in keys if (found := self._queue.rows.get(key))}
        failed = [k for k in keys if (row := rows.get(k) or accounted.get(k)) and has_failed(row)]
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
        ids = {h.native_id for h in ours if is_native_id(h.native_id)}
        ids |= {row.native_id for h in ours for row in self._queue.rows.get(h.key, ())}
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
            self._handles[key] = self._handle(key)
        self._watch_for(found)
        return [self._handles[key] for key in sorted(found)]

    def _has_left_something(self, key: JobKey) -> bool:
        trace = self._site.trace(key)
        return trace.claimed or trace.has_result

    def leftovers(self, run_id: str) -> list[str]:
        return [f"Slurm job {r.native_id} ({r.state})" for r in self._unended(run_id)]

    def _unended(self, run_id: str) -> list[Row]:
        """Jobs of a run of this work directory that wait or run, known by name and directory."""
        places, rows = self._places(run_id), self._queue.listed(job_name(run_id))
        return [r for r in rows if r.run_dir in places and not job_state(r.state).final]

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


def _refusal(words: str) -> SubmitError:
    return SubmitError(
        f"sbatch refused the jobs: {words}.", "Correct the --slurm options.", retryable=False
    )

"""Handing jobs to sbatch: in as few arrays as there may be, each noted on disk before the call.

A batch's files travel with its call. Jobs of which an earlier try left a trace are never handed
over again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from backends.slurm.arrays import FOLDER, JobArray, JobArrays, make_batch
from backends.slurm.commands import (
    ClusterConfig,
    build_sbatch,
    is_over_a_limit,
    job_name,
    parse_job_id,
    words_of,
)
from backends.slurm.host import ClusterHost, CommandResult, Upload, UploadFile
from backends.slurm.preflight import PROBE_FOLDER, read_setup
from backends.slurm.queue import SlurmQueue, check_reach
from backends.slurm.script import ATTEMPTS_NAME, SETUP_NAME, WorkerPlace, render_script
from backends.slurm.settings import SlurmSettings
from core.credentials import Credentials
from core.errors import BackendBusy, BackendError, SubmitError
from core.job import JobHandle, JobKey
from core.worker.job_index import CREDENTIALS_NAME, INDEX_NAME
from core.worker.process import render_credentials

LIMITED_S = 30.0
"""How long jobs wait that a limit on jobs at once keeps out, before they are tried again."""
_DIGEST_CHARS = 16
_SCRIPT_NAME = "job.sh"


class SlurmSubmission:
    """`name` is the backend's, for the handles, which it keeps by key. `credentials` is asked at
    each call, since they may expire, `config` for the cluster's where several jobs go out."""

    def __init__(
        self,
        run_dir: Path,
        site: ClusterHost,
        settings: SlurmSettings,
        batches: JobArrays,
        queue: SlurmQueue,
        *,
        name: str,
        credentials: Callable[[], Credentials],
        config: Callable[[], ClusterConfig],
    ) -> None:
        self._run_dir = run_dir
        self._site = site
        self._settings = settings
        self._batches = batches
        self._queue = queue
        self._name = name
        self._credentials = credentials
        self._config = config
        self.handles: dict[JobKey, JobHandle] = {}

    def submit(self, keys: Sequence[JobKey]) -> dict[JobKey, SubmitError]:
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

    def _halves(self, keys: Sequence[JobKey]) -> list[JobArray]:
        middle = (len(keys) + 1) // 2
        halves = (keys[:middle], keys[middle:])
        return [self._batches.add(make_batch(self._run_dir, half)) for half in halves if half]

    def find_earlier(self, keys: Sequence[JobKey]) -> None:
        """Find jobs that an earlier process, or an earlier try, may have handed over."""
        perhaps = [k for k in keys if k not in self.handles and self._batches.holding(k)]
        if not perhaps:
            return
        self._queue.look(perhaps)
        for key in perhaps:
            trace = self._site.trace(key)
            if key in self._queue.rows or trace.claimed or trace.has_result:
                self.handles[key] = self.handle(key)

    def _cut(self, keys: Sequence[JobKey]) -> Iterator[JobArray]:
        """As few arrays as there may be."""
        most = max(1, self._config().max_array_size - 1) if len(keys) > 1 else 1
        for start in range(0, len(keys), most):
            yield self._batches.add(make_batch(self._run_dir, keys[start : start + most]))

    def _hand_over(self, batch: JobArray) -> CommandResult | None:
        """Note handles of all its jobs, or give how sbatch refused them. Raises BackendError when
        the cluster cannot be asked; whether the jobs are there is seen at the next try."""
        script = f"{batch.folder}/{_SCRIPT_NAME}"
        command = build_sbatch(
            self._settings,
            self._site.run_dir,
            job_name(self._run_dir.name),
            batch.digest,
            script,
            len(batch.keys),
        )
        parcel = Upload(list(self._files(batch, script)), batch.keys, once=batch.folder)
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
            self.handles[key] = JobHandle(key, self._name, batch.native_id(job_id, place))
        return None

    def _files(self, batch: JobArray, script: str) -> Iterator[UploadFile]:
        yield UploadFile(f"{batch.folder}/{INDEX_NAME}", batch.index)
        yield UploadFile(f"{batch.folder}/{ATTEMPTS_NAME}", batch.attempts)
        place, folder = self.place(), f"{self._site.run_dir}/{batch.folder}"
        if self._setup is not None:
            yield UploadFile(f"{FOLDER}/{self._setup_name}", self._setup, 0o600)
        if (held := self._credentials()) != Credentials():
            kept = f"{FOLDER}/{CREDENTIALS_NAME}"
            place = replace(place, credentials=f"{self._site.run_dir}/{kept}")
            yield UploadFile(kept, render_credentials(held), 0o600)
        yield UploadFile(script, render_script(place, folder).encode(), 0o755)

    def place(self, folder: str = FOLDER) -> WorkerPlace:
        """Where a worker finds what it needs; its setup in `folder` of the run's directory."""
        return WorkerPlace(
            self._site.run_dir,
            self._site.worker_code(),
            self._site.python,
            setup=self._setup_at(folder),
            container=self._settings.slurm_container,
        )

    @cached_property
    def _setup(self) -> bytes | None:
        """What the setup file held when it was first needed: editing it changes no job, and no run,
        on its way."""
        return read_setup(self._settings.slurm_setup) if self._settings.slurm_setup else None

    @property
    def _setup_name(self) -> str:
        """Of our copy: another content has another name, since jobs source it when they start."""
        digest = hashlib.sha256(self._setup or b"").hexdigest()[:_DIGEST_CHARS]
        return f"setup-{digest}.sh"

    def _setup_at(self, folder: str) -> str:
        name = SETUP_NAME if folder == PROBE_FOLDER else self._setup_name
        return f"{self._site.run_dir}/{folder}/{name}" if self._settings.slurm_setup else ""

    def handle(self, key: JobKey) -> JobHandle:
        """Of a job that was handed over before; without an id if nobody ever heard it."""
        rows = self._queue.rows.get(key)
        if rows:
            return JobHandle(key, self._name, rows[0].native_id)
        return JobHandle(key, self._name, next(reversed(self._batches.native_ids(key)), ""))


def _refusal(words: str) -> SubmitError:
    return SubmitError(
        f"sbatch refused the jobs: {words}.", "Correct the --slurm options.", retryable=False
    )

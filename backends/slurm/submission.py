"""Submission of jobs by sbatch, in as few arrays as possible, each registered before the call.

The files of an array are uploaded with its call. A job that may already have been submitted by an
earlier try is never submitted again.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from backends.slurm import commands
from backends.slurm.arrays import FOLDER, JobArray, JobArrays, make_array
from backends.slurm.commands import ClusterConfig
from backends.slurm.host import ClusterHost, CommandResult, Upload, UploadFile
from backends.slurm.preflight import read_setup
from backends.slurm.queue import SlurmQueue, check_reachable
from backends.slurm.script import ATTEMPTS_NAME, WorkerPaths, render_script
from backends.slurm.settings import SlurmSettings
from core.credentials import Credentials
from core.errors import BackendBusy, BackendError, SubmitError
from core.job import Job, JobHandle, JobKey
from core.worker.job_index import CREDENTIALS_NAME, INDEX_NAME
from core.worker.process import render_credentials

LIMITED_S = 30.0  # how long to wait before the next try where a limit on jobs keeps some out
_DIGEST_CHARS = 16
_SCRIPT_NAME = "job.sh"
_CREDENTIALS = f"{FOLDER}/{CREDENTIALS_NAME}"


@dataclass
class SlurmSubmission:
    """`name` is the backend's. `credentials` is called at each submission, since they may expire,
    `config` where several jobs are submitted. `handles` holds those of all submitted jobs."""

    run_dir: Path
    host: ClusterHost
    settings: SlurmSettings
    arrays: JobArrays
    queue: SlurmQueue
    name: str
    credentials: Callable[[], Credentials]
    config: Callable[[], ClusterConfig]
    handles: dict[JobKey, JobHandle] = field(default_factory=dict)

    def submit(self, jobs: Sequence[Job]) -> dict[JobKey, SubmitError]:
        """Submit jobs; returns those that sbatch refused for good. Where none of them asks a model,
        no credentials stay where they could read them.

        Raises BackendBusy while a limit leaves no room for more. What was submitted until then is
        found again at the next try.
        """
        refused: dict[JobKey, SubmitError] = {}
        if not jobs:
            return refused
        keys = list(dict.fromkeys(job.key for job in jobs))
        credentials = Credentials()
        if any(job.asks_model for job in jobs):
            credentials = self.credentials()
        else:
            self.host.remove([_CREDENTIALS])
        # as few arrays as the cluster allows
        size = self.config().max_array_size - 1 if len(keys) > 1 else 1
        waiting = self._split(keys, size)
        while waiting:
            array = waiting.pop(0)
            if (result := self._submit(array, credentials)) is None:
                continue
            reason = result.error or commands.error_summary(result.stdout)
            reason = reason or f"exit code {result.exit_code}"
            if not commands.is_job_limit(result.stderr):
                message = f"sbatch refused the jobs: {reason}."
                refusal = SubmitError(message, "Correct the --slurm options.", retryable=False)
                refused |= dict.fromkeys(array.keys, refusal)
            elif (count := len(array.keys)) > 1:  # a smaller array may still fit
                waiting[:0] = self._split(array.keys, (count + 1) // 2)
            else:
                message = f"sbatch accepts no more jobs for now: {reason}."
                remedy = "Lower --max-executors, or wait until other jobs of yours have ended."
                raise BackendBusy(message, remedy, retry_after_s=LIMITED_S)
        return refused

    def _split(self, keys: Sequence[JobKey], size: int) -> list[JobArray]:
        size = max(1, size)
        parts = (keys[start : start + size] for start in range(0, len(keys), size))
        return [self.arrays.add(make_array(self.run_dir, part)) for part in parts]

    def find(self, keys: Sequence[JobKey]) -> list[JobKey]:
        """Those of the keys whose jobs an earlier process, or an earlier try, has submitted."""
        registered = [key for key in keys if self.arrays.containing(key)]
        if registered:
            self.queue.refresh(registered)
        found = [k for k in registered if k in self.queue.records or self.host.trace(k).has_begun]
        self.handles.update({key: self._handle(key) for key in found})
        return found

    def _submit(self, array: JobArray, credentials: Credentials) -> CommandResult | None:
        """Keep handles of all its jobs, or return how sbatch refused them. Raises BackendError
        when the cluster is unreachable; whether the jobs exist is seen at the next try."""
        script = f"{array.folder}/{_SCRIPT_NAME}"
        name, run_dir = commands.job_name(self.run_dir.name), self.host.run_dir
        count = len(array.keys)
        command = commands.build_sbatch(self.settings, run_dir, name, array.digest, script, count)
        upload = Upload(
            list(self._files(array, script, credentials)), array.keys, once=array.folder
        )
        result = self.host.run(command, upload)
        if result.exit_code != 0:
            check_reachable("sbatch", result)
            self.arrays.discard(array)
            return result
        if (job_id := commands.parse_job_id(result.stdout)) is None:
            printed = commands.error_summary(result.stdout)
            message = f"sbatch accepted the jobs but printed no job id: {printed!r}."
            raise BackendError(message, "Check what sbatch --parsable prints on this cluster.")
        self.arrays.add_job_id(array, job_id)
        for index, key in enumerate(array.keys):
            self.handles[key] = JobHandle(key, self.name, array.native_id(job_id, index))
        return None

    def _files(
        self, array: JobArray, script: str, credentials: Credentials
    ) -> Iterator[UploadFile]:
        yield UploadFile(f"{array.folder}/{INDEX_NAME}", array.index)
        yield UploadFile(f"{array.folder}/{ATTEMPTS_NAME}", array.attempts)
        paths, run_dir = self.worker_paths(), self.host.run_dir
        if self._setup is not None:
            # named by its content, since a job sources it when it starts
            digest = hashlib.sha256(self._setup).hexdigest()[:_DIGEST_CHARS]
            setup = f"{FOLDER}/setup-{digest}.sh"
            paths = replace(paths, setup=f"{run_dir}/{setup}")
            yield UploadFile(setup, self._setup, 0o600)
        if credentials != Credentials():
            paths = replace(paths, credentials=f"{run_dir}/{_CREDENTIALS}")
            yield UploadFile(_CREDENTIALS, render_credentials(credentials), 0o600)
        yield UploadFile(script, render_script(paths, f"{run_dir}/{array.folder}").encode(), 0o755)

    def worker_paths(self) -> WorkerPaths:
        """Those that need no upload."""
        host, container = self.host, self.settings.slurm_container
        return WorkerPaths(host.run_dir, host.worker_code(), host.python, container=container)

    @cached_property
    def _setup(self) -> bytes | None:
        """The setup file as it was when first needed: a later edit changes no job of the run."""
        return read_setup(self.settings.slurm_setup) if self.settings.slurm_setup else None

    def _handle(self, key: JobKey) -> JobHandle:
        """Without an id if that was never known."""
        if records := self.queue.records.get(key):
            return JobHandle(key, self.name, records[0].native_id)
        return JobHandle(key, self.name, next(reversed(self.arrays.native_ids(key)), ""))

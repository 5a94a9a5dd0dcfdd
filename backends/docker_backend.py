"""Executors in containers of a Docker Engine, local or remote: one hardened container a job.

The bundle goes into a volume of the container's own, and the result comes out of it: nothing of
this machine is mounted. Names and labels identify a run's containers for a later process.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from backends.base import Backend, BackendContext, LogChunk, PollPace
from backends.docker.base_volume import BaseVolume
from backends.docker.client import DockerHost
from backends.docker.connection import engine_message
from backends.docker.container import (
    BUNDLE,
    RUN,
    VOLUME,
    WORK_DIR,
    WORKER_UID,
    RunLabels,
    build_spec,
    end_status,
    has_ended,
    is_running,
    job_key,
)
from backends.docker.events import EventWatch
from backends.docker.logs import Cursor, parse_log, rest_of
from backends.docker.preflight import Preflight
from backends.docker.settings import DockerSettings
from backends.shared.output import cause_first
from backends.shared.parallel import in_parallel
from backends.shared.results import attempt_of, collect_each, install_result, split_lines
from backends.shared.work_dir_id import work_dir_id
from backends.shared.worker_credentials import sent_credentials
from backends.shared.worker_image import WORKER_TOOLS, worker_command
from core.bundle import AttemptDir, Limits
from core.errors import CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Reason, TaskResult
from core.transfer.archive import packed, unpack
from core.wire import write_atomic
from core.worker.exit_codes import STOPPED
from core.worker.process import CREDENTIALS_FILE, render_credentials
from core.workspace.confined import remove_tree

AT_ONCE = 8
"""Calls to the engine at the same time; more were not faster."""
KILL_AFTER_S = 5.0
"""How long a container that was asked to stop may take to save its result."""
LOG_NAME = "container.log"


class DockerBackend(Backend):
    name = "docker"
    checks_run_in = "container"
    worker_tools = WORKER_TOOLS
    pace = PollPace(first_s=1.0, most_s=10.0)
    grace_s = 2.0  # the engine knows at once what is gone
    first_line_s = 3.0
    logs_every_s = 1.0  # two requests to the engine for each job

    def __init__(self, context: BackendContext) -> None:
        self._clock = context.clock
        self._credentials = context.credentials
        self._run_dir = context.run_dir
        self._labels = RunLabels.of(context.run_dir)
        self._host = DockerHost(context.environ)
        self._settings = DockerSettings.read(context.options)
        self._mask = context.credentials.mask
        self._base = BaseVolume(self._host, self._labels, context.run_dir)
        self._ended: dict[JobKey, JobStatus] = {}
        self._cancelled: dict[JobKey, float] = {}
        self._watch = EventWatch(context.environ, self._labels, lambda: self._wake())

    @classmethod
    def build(cls, context: BackendContext) -> Self:
        return cls(context)

    def preflight(self) -> list[Problem]:
        preflight = Preflight(self._host, self._settings, self._labels, self._clock)
        problems = preflight.problems()
        self.programs = preflight.programs
        return problems

    # -- submit

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        if not jobs:
            return []
        self._watch.start()
        # looked up anew for each launch, since keys may expire
        credentials = render_credentials(sent_credentials(self._credentials, self._settings))
        different = {job.key: job for job in jobs}
        found = in_parallel(lambda job: self._start(job, credentials), different.values(), AT_ONCE)
        answers = dict(zip(different, found, strict=True))
        return [answers[job.key] for job in jobs]

    def _start(self, job: Job, credentials: bytes) -> JobHandle | SubmitError:
        name = self._labels.job_name(job.key)
        if (earlier := self._submitted_before(job.key, name)) is not None:
            return earlier
        try:
            container = self._host.create(name, self._spec(job))
            self._send(container, job, credentials)
            self._host.start(container)
        except self._host.refusal as exc:
            self._host.remove(name)
            final = exc.status_code in (400, 404)  # a wrong option, image or network stays wrong
            message = f"The container {name} was refused: {engine_message(exc)}."
            return SubmitError(message, retryable=not final)
        return self._handle(job.key, container)

    def _submitted_before(self, key: JobKey, name: str) -> JobHandle | None:
        """The job's handle if it was started. A container that was created only is removed."""
        if key in self._ended:
            return self._handle(key, name)
        if (found := self._host.inspect(name)) is None:
            has_result = attempt_of(self._run_dir, key).result_json.exists()
            return self._handle(key, name) if has_result else None
        if found["State"]["Status"] == "created":
            self._host.remove(name)
            return None
        return self._handle(key, found["Id"])

    def _spec(self, job: Job) -> dict[str, Any]:
        command = worker_command("docker_executor.py", f"{VOLUME}/{BUNDLE}")
        image = self._host.image_id(self._settings.docker_image)
        base = self._base.name(image)
        return build_spec(image, command, self._labels.for_job(job.key), self._settings, base)

    def _send(self, container: str, job: Job, credentials: bytes) -> None:
        extra = {CREDENTIALS_FILE: credentials}
        with packed(AttemptDir(job.attempt_dir).request, BUNDLE, WORKER_UID, extra) as stream:
            self._host.put(container, VOLUME, stream)

    def _handle(self, key: JobKey, container: str) -> JobHandle:
        return JobHandle(key, self.name, container)

    # -- poll

    def poll(self, handles: Sequence[JobHandle]) -> dict[JobKey, JobStatus]:
        if not handles:
            return {}
        self._watch.start()
        states = {_name(c): c for c in self._host.containers(self._labels.filters())}
        return {h.key: self._status(h, states.get(self._labels.job_name(h.key))) for h in handles}

    def _status(self, handle: JobHandle, listed: Mapping[str, Any] | None) -> JobStatus:
        key = handle.key
        if (ended := self._ended.get(key)) is not None:
            return ended
        if key.run != self._labels.run or listed is None:
            return self._unlisted(key)
        # the list lags behind the event of an end; inspecting waits until it is over
        # https://github.com/moby/moby/blob/v20.10.24/daemon/monitor.go
        if has_ended(listed["State"]) or listed["Id"] in self._watch.died:
            return self._end(key, listed["Id"])
        if is_running(listed["State"]):
            self._kill_if_late(key, listed["Id"])
            return JobStatus(JobState.RUNNING)
        if listed["State"] == "created":
            return JobStatus(JobState.FAILED, Reason.LAUNCH, message="it was never started")
        return JobStatus(JobState.UNKNOWN, message=listed["State"])

    def _unlisted(self, key: JobKey) -> JobStatus:
        """Removed after its result was fetched, or by another program."""
        ours = key.run == self._labels.run
        if ours and attempt_of(self._run_dir, key).result_json.exists():
            return JobStatus(JobState.SUCCEEDED, exit_code=0)
        return JobStatus(JobState.LOST, Reason.MISSING, message="its container was removed")

    def _kill_if_late(self, key: JobKey, container: str) -> None:
        asked_at = self._cancelled.get(key)
        if asked_at is not None and self._clock.monotonic() >= asked_at + KILL_AFTER_S:
            self._host.kill(container, "SIGKILL")

    def _end(self, key: JobKey, container: str) -> JobStatus:
        if (found := self._host.inspect(container)) is None:
            return self._unlisted(key)
        state = found["State"]
        if is_running(state["Status"]):
            return JobStatus(JobState.RUNNING)
        stderr = self._keep_log(key, container) if state["ExitCode"] != 0 else ""
        status = end_status(state, was_cancelled=key in self._cancelled, stderr=stderr)
        if status.state is JobState.FAILED:
            parts = [status.message.rstrip("."), f"whole log: {self._log_path(key)}"]
            status = replace(status, message="; ".join(filter(None, parts)))
        self._ended[key] = status
        return status

    def _keep_log(self, key: JobKey, container: str) -> str:
        """Store the container's output beside the attempt; returns the end of standard error."""
        text = self._mask(self._host.log(container).decode(errors="replace"))
        with suppress(FileNotFoundError):  # the run was removed
            write_atomic(self._log_path(key), text)
        stderr = self._host.log(container, stdout=False).decode(errors="replace")
        return cause_first(self._mask(stderr))

    def _log_path(self, key: JobKey) -> Path:
        return attempt_of(self._run_dir, key).root / LOG_NAME

    # -- collect

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        return collect_each(handles, self._run_dir, destination, self._fetch, AT_ONCE)

    def _fetch(self, handle: JobHandle, attempt: AttemptDir) -> None:
        """Bring what the container left, and remove it. Raises CollectError."""
        key, name = handle.key, self._labels.job_name(handle.key)
        if attempt.result_json.exists() or (found := self._host.inspect(name)) is None:
            return  # it was fetched before, or the container was removed by another program
        if not has_ended(found["State"]["Status"]):
            raise CollectError(f"{key} has not ended.", retryable=True)
        with self._host.archive(name, f"{VOLUME}/{BUNDLE}/result") as chunks:
            if chunks is not None:
                by_worker = found["State"]["ExitCode"] in (0, STOPPED)
                _replace_result(attempt, chunks, by_worker=by_worker)
        self._ended.setdefault(key, end_status(found["State"], was_cancelled=False, stderr=""))
        self._host.remove(name)

    # -- logs, cancel, and the rest

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        if handle.key.run != self._labels.run:
            return LogChunk((), cursor)
        since, name = Cursor.parse(cursor), self._labels.job_name(handle.key)
        if data := self._host.log(name, stderr=False, times=True, since_s=since.since_s):
            return parse_log(data, since)
        events = attempt_of(self._run_dir, handle.key).events
        lines = split_lines(events.read_bytes()) if events.exists() else ()
        return rest_of(lines, since)

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        for handle in handles:
            if handle.key.run == self._labels.run and handle.key not in self._ended:
                self._cancelled.setdefault(handle.key, self._clock.monotonic())
                self._host.kill(self._labels.job_name(handle.key), "SIGTERM")

    def reattach(self, run_id: str) -> list[JobHandle]:
        found = []
        for container in self._host.containers(self._labels.filters(run_id)):
            key = job_key(container["Labels"])
            if key is not None and container["State"] != "created":
                found.append(self._handle(key, container["Id"]))
        return sorted(found, key=lambda handle: handle.key)

    def leftovers(self, run_id: str) -> list[str]:
        filters = self._labels.filters(run_id)
        containers = [f"container {_name(c)}" for c in self._host.containers(filters)]
        return containers + [f"volume {v['Name']}" for v in self._host.volumes(filters)]

    def known_runs(self, work_dir: Path) -> list[str]:
        filters = {"label": [f"{WORK_DIR}={work_dir_id(work_dir)}"]}
        found = [*self._host.containers(filters), *self._host.volumes(filters)]
        return sorted({str(one["Labels"][RUN]) for one in found if RUN in one["Labels"]})

    def cleanup(self, run_id: str) -> None:
        filters = self._labels.filters(run_id)
        for container in self._host.containers(filters):
            self._host.remove(container["Id"])
        for volume in self._host.volumes(filters):
            self._host.remove_volume(volume["Name"])

    def close(self) -> None:
        self._watch.stop()
        self._host.close()


def _name(container: Mapping[str, Any]) -> str:
    """A listed container's name; one that is being removed may have none."""
    names = container["Names"] or [container["Id"]]
    return str(names[0]).lstrip("/")


def _replace_result(attempt: AttemptDir, chunks: Iterable[bytes], *, by_worker: bool) -> None:
    """Whole or not at all; without a killed worker's result.json: the killer may have made it."""
    fresh = attempt.root / f".result-{secrets.token_hex(8)}"
    unpack(chunks, fresh, Limits())
    if not by_worker:
        remove_tree(fresh / attempt.result_json.name)
    install_result(attempt, fresh)

"""Executors in containers of a Docker Engine, near or far: one hardened container a job.

The bundle goes into a volume of the container's own before it starts, and the result comes back out
of it once it has ended; nothing of this machine is mounted. Names and labels tell a later process
which containers are a run's, one filtered list tells how all of them stand, and the engine's events
say when to look.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from backends.base import Backend, BackendContext, LogChunk, PollPace
from backends.docker.client import DockerHost
from backends.docker.connection import said
from backends.docker.container import (
    BUNDLE,
    CODE,
    RUN,
    VOLUME,
    WORK_DIR,
    WORKER_UID,
    ContainerLimits,
    Home,
    build_spec,
    has_ended,
    is_running,
    job_key,
    judge_end,
)
from backends.docker.events import EventWatch
from backends.docker.logs import Cursor, parse_log, rest_of
from backends.docker.preflight import find_problems
from backends.docker.settings import DockerSettings
from backends.shared.results import attempt_of, hand_over, install_result, split_lines
from backends.shared.work_dir_id import place_of
from backends.shared.worker_credentials import sent_credentials
from core.bundle import AttemptDir, Limits
from core.clock import Clock
from core.credentials import Credentials
from core.errors import CollectError, Problem, SubmitError
from core.job import Job, JobHandle, JobKey, JobState, JobStatus, Reason, TaskResult
from core.transfer.archive import packed, unpack
from core.wire import write_atomic
from core.worker.process import CREDENTIALS_FILE, STOPPED, render_credentials
from core.workspace.confined import remove_tree

AT_ONCE = 8
"""Calls to the engine at the same time; more were not faster."""
KILL_AFTER_S = 5.0
"""How long a container may take to save what there is once it was asked to stop."""
LOG_NAME = "container.log"
_TAIL_CHARS = 600


class DockerBackend(Backend):
    """`credentials` gives what a worker is sent, each time anew since such things expire."""

    name = "docker"
    pace = PollPace(first_s=1.0, most_s=10.0)
    grace_s = 2.0  # the engine knows at once what is gone

    def __init__(
        self,
        run_dir: Path,
        host: DockerHost,
        limits: ContainerLimits,
        clock: Clock,
        *,
        credentials: Callable[[], Credentials] = Credentials,
        mask: Callable[[str], str] = str,
        find_problems: Callable[[], list[Problem]] = list,
    ) -> None:
        self._run_dir = run_dir
        self._home = Home.of(run_dir)
        self._host = host
        self._limits = limits
        self._clock = clock
        self._credentials = credentials
        self._mask = mask
        self._find_problems = find_problems
        self._ended: dict[JobKey, JobStatus] = {}
        self._cancelled: dict[JobKey, float] = {}
        self._watch = EventWatch(host.environ, self._home, lambda: self._wake())

    @classmethod
    def build(cls, context: BackendContext) -> Self:
        settings = DockerSettings.read(context.options)
        host, limits = DockerHost(context.environ), ContainerLimits.of(settings)
        return cls(
            context.run_dir,
            host,
            limits,
            context.clock,
            credentials=lambda: sent_credentials(context.credentials, settings),
            mask=context.credentials.mask,
            find_problems=lambda: find_problems(
                host, limits, settings, Home.of(context.run_dir), context.clock
            ),
        )

    def preflight(self) -> list[Problem]:
        return self._find_problems()

    # -- submit

    def submit(self, jobs: Sequence[Job]) -> list[JobHandle | SubmitError]:
        if not jobs:
            return []
        self._watch.start()
        different = {job.key: job for job in jobs}
        credentials = render_credentials(self._credentials())
        with ThreadPoolExecutor(AT_ONCE, "docker-submit") as pool:
            made = pool.map(lambda job: self._start(job, credentials), different.values())
            answers = dict(zip(different, made, strict=True))
        return [answers[job.key] for job in jobs]

    def _start(self, job: Job, credentials: bytes) -> JobHandle | SubmitError:
        name = self._home.job_name(job.key)
        if (earlier := self._submitted_before(job.key, name)) is not None:
            return earlier
        try:
            container = self._host.create(name, self._spec(job))
            self._send(container, job, credentials)
            self._host.start(container)
        except self._host.refusal as exc:
            self._host.remove(name)
            final = exc.status_code in (400, 404)  # a wrong option, image or network stays wrong
            return SubmitError(
                f"The container {name} was refused: {said(exc)}.", retryable=not final
            )
        return self._handle(job.key, container)

    def _submitted_before(self, key: JobKey, name: str) -> JobHandle | None:
        """The job's handle if it was started. What an earlier try left unstarted is removed."""
        if key in self._ended:
            return self._handle(key, name)
        if (found := self._host.inspect(name)) is None:
            kept = attempt_of(self._run_dir, key).result_json.exists()
            return self._handle(key, name) if kept else None
        if found["State"]["Status"] == "created":
            self._host.remove(name)
            return None
        return self._handle(key, found["Id"])

    def _spec(self, job: Job) -> dict[str, Any]:
        command = ["python", f"{CODE}/docker_executor.py", f"{VOLUME}/{BUNDLE}"]
        image = self._host.image_id(self._limits.image)
        return build_spec(image, command, self._home.job_labels(job.key), self._limits)

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
        states = {_name(c): c for c in self._host.containers(self._home.filters())}
        return {h.key: self._status(h, states.get(self._home.job_name(h.key))) for h in handles}

    def _status(self, handle: JobHandle, listed: Mapping[str, Any] | None) -> JobStatus:
        key = handle.key
        if (ended := self._ended.get(key)) is not None:
            return ended
        if key.run != self._home.run or listed is None:
            return self._unlisted(key)
        # the list lags behind the event that tells of an end; inspecting waits until it is over
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
        """Removed by us after its result was fetched, or by somebody else."""
        ours = key.run == self._home.run
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
        if is_running(found["State"]["Status"]):
            return JobStatus(JobState.RUNNING)
        state, failed = found["State"], found["State"]["ExitCode"] != 0
        words = self._keep_log(key, container) if failed else ""
        status = judge_end(state, was_cancelled=key in self._cancelled, said=words)
        if status.state is JobState.FAILED:
            told = [status.message.rstrip(".")] if status.message else []
            told.append(f"whole log: {self._log_place(key)}")
            status = replace(status, message="; ".join(told))
        self._ended[key] = status
        return status

    def _keep_log(self, key: JobKey, container: str) -> str:
        """Keep what the container said beside the attempt; the end of what went wrong."""
        whole = self._mask(self._host.log(container).decode(errors="replace"))
        place = self._log_place(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, whole)
        words = self._host.log(container, stdout=False).decode(errors="replace")
        return self._mask(words).strip()[-_TAIL_CHARS:]

    def _log_place(self, key: JobKey) -> Path:
        return attempt_of(self._run_dir, key).root / LOG_NAME

    # -- collect

    def collect(
        self, handles: Sequence[JobHandle], destination: Path
    ) -> dict[JobKey, TaskResult | CollectError]:
        if not handles:
            return {}
        with ThreadPoolExecutor(AT_ONCE, "docker-collect") as pool:
            found = pool.map(lambda handle: self._collect(handle.key, destination), handles)
            return {h.key: answer for h, answer in zip(handles, found, strict=True)}

    def _collect(self, key: JobKey, destination: Path) -> TaskResult | CollectError:
        if key.run != self._home.run:
            return CollectError(f"{key} is no job of run {self._home.run}.")
        here = attempt_of(self._run_dir, key)
        try:
            if not here.result_json.exists():
                self._fetch(key, here)
        except CollectError as exc:
            return exc
        except OSError as exc:
            return CollectError(f"The result of {key} cannot be kept: {exc}.", retryable=True)
        return hand_over(here, key, destination)

    def _fetch(self, key: JobKey, here: AttemptDir) -> None:
        """Bring what the container left, and remove it. Raises CollectError."""
        name = self._home.job_name(key)
        found = self._host.inspect(name)
        if found is None:
            return  # there was no result when it was fetched, or it was removed by somebody
        if not has_ended(found["State"]["Status"]):
            raise CollectError(f"{key} has not ended.", retryable=True)
        with self._host.archive(name, f"{VOLUME}/{BUNDLE}/result") as chunks:
            if chunks is not None:
                by_worker = found["State"]["ExitCode"] in (0, STOPPED)
                _replace_result(here, chunks, by_worker=by_worker)
        self._ended.setdefault(key, judge_end(found["State"], was_cancelled=False, said=""))
        self._host.remove(name)

    # -- logs, cancel, and the rest

    def logs(self, handle: JobHandle, cursor: str) -> LogChunk:
        if handle.key.run != self._home.run:
            return LogChunk((), cursor)
        at = Cursor.parse(cursor)
        data = self._host.log(
            self._home.job_name(handle.key), stderr=False, times=True, since_s=at.since_s
        )
        if data:
            return parse_log(data, at)
        events = attempt_of(self._run_dir, handle.key).events
        kept = split_lines(events.read_bytes()) if events.exists() else ()
        return rest_of(kept, at)

    def cancel(self, handles: Sequence[JobHandle]) -> None:
        for handle in handles:
            if handle.key.run == self._home.run and handle.key not in self._ended:
                self._cancelled.setdefault(handle.key, self._clock.monotonic())
                self._host.kill(self._home.job_name(handle.key), "SIGTERM")

    def reattach(self, run_id: str) -> list[JobHandle]:
        found = []
        for container in self._host.containers(self._home.filters(run_id)):
            key = job_key(container["Labels"])
            if key is not None and container["State"] != "created":
                found.append(self._handle(key, container["Id"]))
        return sorted(found, key=lambda handle: handle.key)

    def leftovers(self, run_id: str) -> list[str]:
        filters = self._home.filters(run_id)
        containers = [f"container {_name(c)}" for c in self._host.containers(filters)]
        return containers + [f"volume {v['Name']}" for v in self._host.volumes(filters)]

    def known_runs(self, work_dir: Path) -> list[str]:
        ours = {"label": [f"{WORK_DIR}={place_of(work_dir)}"]}
        held = [*self._host.containers(ours), *self._host.volumes(ours)]
        return sorted({str(found["Labels"][RUN]) for found in held if RUN in found["Labels"]})

    def cleanup(self, run_id: str) -> None:
        filters = self._home.filters(run_id)
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
    """Put the tree in `chunks` in the place of the attempt's result, whole or not at all.

    The result.json of a worker that was killed is dropped: who killed it may have written that.
    """
    attempt.root.mkdir(parents=True, exist_ok=True)
    fresh = attempt.root / f".result-{secrets.token_hex(8)}"
    unpack(chunks, fresh, Limits())
    if not by_worker:
        remove_tree(fresh / attempt.result_json.name)
    install_result(attempt, fresh)

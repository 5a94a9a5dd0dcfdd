"""A job's container: its name, labels and limits, and the job status that its state means.

Source of the fields: https://docs.docker.com/reference/api/engine/version/v1.43/#tag/Container
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.docker.settings import DockerSettings
from backends.shared.work_dir_id import work_dir_id
from backends.shared.worker_image import LABEL
from core.bundle import BASE_DIRECTORY
from core.job import JobKey, JobState, JobStatus, Reason
from core.worker.exit_codes import STOPPED

RUN, TASK, ATTEMPT, WORK_DIR, ROLE = (
    f"{LABEL}.{name}" for name in ("run", "task", "attempt", "work-dir", "role")
)
EXECUTOR, PLANNER, PROBE, CHECKS, BASE = "executor", "planner", "probe", "checks", "base"
"""Values of ROLE."""
VOLUME = "/job"
BUNDLE = "bundle"
"""The directory in the volume that the worker owns; the volume's own root stays root's."""
BASE_PLACE = f"{VOLUME}/{BASE_DIRECTORY}"
WORKER_UID = 10_001
PIDS = 512
TMP_BYTES = 512 * 1024 * 1024
LOG_BYTES = 32 * 1024 * 1024
KILLED = 128 + 9
_NOT_STARTABLE = (125, 126, 127)


@dataclass(frozen=True, slots=True)
class RunLabels:
    """The labels and names of a run's containers and volumes; `work_dir` is a `work_dir_id`."""

    run: str
    work_dir: str

    @classmethod
    def of(cls, run_dir: Path) -> RunLabels:
        """Of `<work dir>/runs/<run id>`."""
        return cls(run_dir.name, work_dir_id(run_dir.parent.parent))

    def for_role(self, role: str) -> dict[str, str]:
        return {RUN: self.run, WORK_DIR: self.work_dir, ROLE: role}

    def filters(self, run: str = "") -> dict[str, Any]:
        """Finds all of a run: this one, or another of the work directory."""
        return {"label": [f"{RUN}={run or self.run}", f"{WORK_DIR}={self.work_dir}"]}

    def name(self, *parts: object) -> str:
        """A container's name, the same for the same parts; no two work directories share one."""
        digest = hashlib.sha256(self.work_dir.encode()).hexdigest()[:6]
        return "-".join(["orchestrator", self.run, *map(str, parts), digest])

    def job_name(self, key: JobKey) -> str:
        return self.name(key.task, key.attempt)

    def for_job(self, key: JobKey) -> dict[str, str]:
        return self.for_role(EXECUTOR) | {TASK: key.task, ATTEMPT: str(key.attempt)}


def build_spec(
    image_id: str,
    command: list[str],
    labels: Mapping[str, str],
    settings: DockerSettings,
    base: str = "",
) -> dict[str, Any]:
    """The body of a create request: no privileges, writable only its volume and /tmp. `base` is the
    volume with existing code, if there is one."""
    own = {"Type": "volume", "Target": VOLUME, "VolumeOptions": {"Labels": dict(labels)}}
    shared = {"Type": "volume", "Source": base, "Target": BASE_PLACE, "ReadOnly": True}
    host: dict[str, Any] = {
        "Init": True,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "PidsLimit": PIDS,
        "Memory": settings.docker_memory_bytes,
        "MemorySwap": settings.docker_memory_bytes,  # the same: no swap
        "NanoCpus": round(settings.docker_cpus * 1e9),
        "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,size={TMP_BYTES},mode=1777"},  # noqa: S108 - its own
        "Mounts": [own, shared] if base else [own],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": str(LOG_BYTES)}},
        "RestartPolicy": {"Name": "no"},
    }
    if settings.docker_network:
        host["NetworkMode"] = settings.docker_network
    return {
        "Image": image_id,
        "Entrypoint": [],
        "Cmd": command,
        "User": f"{WORKER_UID}:{WORKER_UID}",
        "WorkingDir": VOLUME,
        "Labels": dict(labels),
        "StopSignal": "SIGTERM",
        "HostConfig": host,
    }


def job_key(labels: Mapping[str, str]) -> JobKey | None:
    """The job that a container's labels name; None for one that is not an executor's."""
    attempt = labels.get(ATTEMPT, "")
    if labels.get(ROLE) != EXECUTOR or not attempt.isdecimal():
        return None
    return JobKey(labels.get(RUN, ""), labels.get(TASK, ""), int(attempt))


def is_running(state: str) -> bool:
    """Whether a state in a container list means that it runs; a paused one can go on."""
    return state in ("running", "paused", "restarting")


def has_ended(state: str) -> bool:
    return state in ("exited", "dead")


def end_status(state: Mapping[str, Any], *, was_cancelled: bool, stderr: str) -> JobStatus:
    """The status of a container that has ended, from `State` of its inspection.

    `stderr` is what it wrote to standard error.
    """
    code = int(state.get("ExitCode") or 0)
    message = str(state.get("Error") or "").strip() or stderr
    if code == 0 and not state.get("Error"):
        return JobStatus(JobState.SUCCEEDED, exit_code=0)
    if was_cancelled or code == STOPPED:
        return JobStatus(JobState.CANCELLED, exit_code=code, message=stderr)
    reason = Reason.EXIT
    if state.get("OOMKilled"):
        reason, message = Reason.OOM, "raise --docker-memory"
    elif code in _NOT_STARTABLE:
        reason = Reason.LAUNCH
    elif code == KILLED:
        message = "killed from outside, or the engine was restarted"
    return JobStatus(JobState.FAILED, reason, code, message)

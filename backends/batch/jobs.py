"""A job on AWS Batch: its name and tags, its submission, and how a description is read. Pure.

https://docs.aws.amazon.com/batch/latest/APIReference/API_SubmitJob.html
https://docs.aws.amazon.com/batch/latest/APIReference/API_JobDetail.html
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends.batch.settings import BatchSettings
from backends.shared.work_dir_id import work_dir_id
from backends.shared.worker_image import LABEL, worker_command
from core.aws.bundles import PackUri
from core.job import JobKey, JobState, JobStatus, Reason
from core.worker.exit_codes import CLAIMED, OUTDATED, STOPPED

MOST_DESCRIBED = 100
"""Ids that one DescribeJobs takes."""
MOST_IN_ARRAY = 10_000
LEAST_TIMEOUT_S = 60
TIMEOUT_MARGIN_S = 300.0
"""How long after the worker should have ended itself AWS Batch ends the job."""
NATIVE_TRIES = 3
TERMINATED = "parallel-orchestrator: cancelled"
"""The reason passed to TerminateJob."""
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(:\d{1,5})?")
_KILLED = 128 + 9
_REBUILD = "rebuild and push the job definition's image (docker/README.md), then resume the run"

RETRIES: Mapping[str, Any] = {
    "attempts": NATIVE_TRIES,
    "evaluateOnExit": [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},  # AWS Batch retries what no rule matches
    ],
}
"""Only the loss of a host is not the job's own failure, and free to retry."""

# Why the head of a queue does not start, and the remedy.
# https://docs.aws.amazon.com/batch/latest/userguide/job_stuck_in_runnable.html
_STUCK = {
    "COMPUTE_ENVIRONMENT_MAX_RESOURCE": "raise the compute environment's maxvCpus",
    "JOB_RESOURCE_REQUIREMENT": "lower --batch-vcpus and --batch-memory, or give the compute"
    " environment larger instances",
    "SERVICE_ROLE_PERMISSIONS": "give the compute environment's service role its permissions",
}
# How the reasons begin that ECS gives for a container that it could not start.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
_NOT_STARTED = (
    *("CannotPull", "CannotCreate", "CannotStart", "CannotInspect", "ResourceInitialization"),
    *("DockerTimeout", "TaskFailedToStart", "Task failed to start", "ContainerRuntimeError"),
    *("ContainerRuntimeTimeout", "InternalError", "OutOfResources"),
)


@dataclass(frozen=True, slots=True)
class RunLocation:
    """Where a run has its objects and jobs; `work_dir` is a `work_dir_hash`."""

    run: str
    work_dir: str

    @classmethod
    def of(cls, run_dir: Path) -> RunLocation:
        """Of `<work dir>/runs/<run id>`."""
        return cls(run_dir.name, work_dir_hash(run_dir.parent.parent))

    def objects(self, prefix: str) -> str:
        """The prefix of the names of the run's objects."""
        return f"{work_dir_objects(prefix, self.work_dir)}{self.run}/"

    @property
    def job_prefix(self) -> str:
        return f"orchestrator-{self.work_dir[:8]}-{self._run_name}-"

    @property
    def _run_name(self) -> str:
        """The run's id, in characters that names and tags may have."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", self.run)

    def job_name(self, digest: str) -> str:
        return f"{self.job_prefix}{digest[:16]}"

    def tags(self, keys: Sequence[JobKey]) -> dict[str, str]:
        """Those of one job, or of an array, whose jobs cannot have different ones."""
        tags = {f"{LABEL}.run": self._run_name, f"{LABEL}.work-dir": self.work_dir}
        if len(keys) == 1:
            return tags | {f"{LABEL}.task": keys[0].task, f"{LABEL}.attempt": str(keys[0].attempt)}
        return tags | {f"{LABEL}.jobs": str(len(keys))}


def work_dir_hash(work_dir: Path) -> str:
    """A work directory's name among those of all machines that share a bucket."""
    return hashlib.sha256(work_dir_id(work_dir).encode()).hexdigest()[:12]


def work_dir_objects(prefix: str, work_dir: str) -> str:
    """The prefix of the names of all objects of a work directory."""
    return f"{prefix.strip('/')}/{work_dir}/".removeprefix("/")


def build_resources(vcpus: float | None, memory_mib: int | None) -> list[dict[str, str]]:
    """The resourceRequirements of a job; None leaves the definition's."""
    values = {"VCPU": vcpus and f"{vcpus:g}", "MEMORY": memory_mib and str(memory_mib)}
    return [{"type": name, "value": value} for name, value in values.items() if value]


def build_submission(
    settings: BatchSettings,
    location: RunLocation,
    uri: PackUri,
    keys: Sequence[JobKey],
    timeout_s: float,
) -> dict[str, Any]:
    """The request of SubmitJob for one job, or for an array of several.

    A job's only argument is a URI: all else would be too long, and visible to others.
    """
    overrides: dict[str, Any] = {"command": worker_command("batch_executor.py", str(uri))}
    if resources := build_resources(settings.batch_vcpus, settings.batch_memory_mib):
        overrides["resourceRequirements"] = resources
    limit_s = max(LEAST_TIMEOUT_S, math.ceil(timeout_s + TIMEOUT_MARGIN_S))
    submission = {
        "jobName": location.job_name(uri.pack.digest),
        "jobQueue": settings.batch_job_queue,
        "jobDefinition": settings.batch_job_definition,
        "containerOverrides": overrides,
        "retryStrategy": RETRIES,
        "timeout": {"attemptDurationSeconds": limit_s},
        "tags": location.tags(keys),
        "propagateTags": True,
    }
    if len(keys) > 1:
        submission["arrayProperties"] = {"size": len(keys)}
    return submission


def native_ids(job_id: str, count: int) -> list[str]:
    """The ids of the jobs of one submission."""
    return [job_id] if count == 1 else [f"{job_id}:{number}" for number in range(count)]


def is_job_id(text: str) -> bool:
    """Whether it could be the id of a job; DescribeJobs takes no others."""
    return _ID.fullmatch(text) is not None


def chunks(ids: Iterable[str]) -> list[list[str]]:
    """Each id once, in lists of at most MOST_DESCRIBED."""
    different = list(dict.fromkeys(ids))
    return [different[at : at + MOST_DESCRIBED] for at in range(0, len(different), MOST_DESCRIBED)]


@dataclass(frozen=True, slots=True)
class JobDescription:
    """What a JobDetail says. `stream` is the job's log stream, `earlier_streams` those of attempts
    before; `is_duplicate` where its worker found that another job has claimed the same."""

    status: JobStatus
    stream: str = ""
    group: str = ""
    earlier_streams: tuple[str, ...] = ()
    is_duplicate: bool = False


def parse_job(detail: Mapping[str, Any]) -> JobDescription:
    container = detail.get("container") or {}
    attempts = [(a.get("container") or {}) for a in detail.get("attempts") or ()]
    streams = [str(a["logStreamName"]) for a in attempts if a.get("logStreamName")]
    stream = str(container.get("logStreamName") or (streams[-1] if streams else ""))
    options = (container.get("logConfiguration") or {}).get("options") or {}
    status = parse_status(detail)
    return JobDescription(
        status,
        stream,
        str(options.get("awslogs-group") or ""),
        tuple(s for s in dict.fromkeys(streams) if s != stream),
        is_duplicate=status.state is JobState.FAILED and status.exit_code == CLAIMED,
    )


def parse_status(detail: Mapping[str, Any]) -> JobStatus:
    """The status that a JobDetail means."""
    state, why = str(detail.get("status") or ""), _one_line(detail.get("statusReason"))
    if state in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING"):
        return _waiting_status(state, why)
    if state == "RUNNING":
        return JobStatus(JobState.RUNNING)
    if state == "SUCCEEDED":
        return JobStatus(JobState.SUCCEEDED, exit_code=0)
    if state == "FAILED":
        return _failed_status(detail, why)
    return JobStatus(JobState.UNKNOWN, message=f"AWS Batch gives it the unknown state {state!r}")


def _waiting_status(state: str, why: str) -> JobStatus:
    kind, _, rest = why.partition(":")
    if state != "RUNNABLE" or kind != "MISCONFIGURATION":
        return JobStatus(JobState.QUEUED, message=why)
    remedy = next((text for name, text in _STUCK.items() if rest.startswith(name)), "")
    return JobStatus(JobState.QUEUED, Reason.UNSCHEDULABLE, message=_join(why, remedy))


def _failed_status(detail: Mapping[str, Any], why: str) -> JobStatus:
    container = detail.get("container") or {}
    attempts = detail.get("attempts") or [{}]
    last = attempts[-1].get("container") or {}
    code = container.get("exitCode", last.get("exitCode"))
    reason = _one_line(container.get("reason") or last.get("reason"))
    message = _join(why, reason)
    if why == TERMINATED or detail.get("isTerminated") or detail.get("isCancelled"):
        message = "" if why == TERMINATED else f"terminated by somebody: {message}"
        return JobStatus(JobState.CANCELLED, exit_code=code, message=message)
    # a stopped worker ends with STOPPED whoever stopped it: AWS Batch knows who
    if why.startswith("Host EC2"):
        return JobStatus(JobState.FAILED, Reason.NODE_LOST, code, message)
    if why.startswith("Your Spot Task was interrupted"):
        return JobStatus(JobState.FAILED, Reason.PREEMPTED, code, message)
    if why.startswith("Job attempt duration exceeded timeout"):
        return JobStatus(JobState.FAILED, Reason.TIMEOUT, code, message)
    if reason.startswith("OutOfMemory") or "OutOfMemoryError" in why:
        return JobStatus(JobState.FAILED, Reason.OOM, code, f"{message}; raise --batch-memory")
    if reason.startswith(_NOT_STARTED) or why.startswith(_NOT_STARTED):
        return JobStatus(JobState.FAILED, Reason.LAUNCH, code, message)
    if code == STOPPED:
        return JobStatus(JobState.CANCELLED, exit_code=code, message=message)
    if code == OUTDATED:
        return JobStatus(JobState.FAILED, Reason.OUTDATED, code, f"{message}; {_REBUILD}")
    if code == _KILLED:
        message = _join(message, "killed from outside, or out of memory")
    return JobStatus(JobState.FAILED, Reason.EXIT, code, message)


def _one_line(text: object) -> str:
    return " ".join(str(text or "").split()).rstrip(".")


def _join(*parts: str) -> str:
    """Each part once."""
    return "; ".join(part for part in dict.fromkeys(parts) if part)

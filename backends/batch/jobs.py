"""What a job on AWS Batch is: its name, tags and request, and what a description of it says. Pure.

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
from backends.docker.container import CODE, LABEL
from backends.shared.work_dir_id import place_of
from core.aws.bundles import PackUri
from core.aws.job import CLAIMED, OUTDATED
from core.job import JobKey, JobState, JobStatus, Reason
from core.settings.size import size_bytes
from core.worker.process import STOPPED

MOST_DESCRIBED = 100
"""Ids that one DescribeJobs takes."""
MOST_IN_ARRAY = 10_000
LEAST_TIMEOUT_S = 60
TIMEOUT_MARGIN_S = 300.0
"""Batch ends a job so long after the worker should have done it itself."""
NATIVE_TRIES = 3
TERMINATED = "parallel-orchestrator: cancelled"
"""The reason given with TerminateJob."""
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(:\d{1,5})?")
_KILLED = 128 + 9
_REBUILD = "build the job definition's image anew and push it (docker/README.md), then resume"

RETRIES: Mapping[str, Any] = {
    "attempts": NATIVE_TRIES,
    "evaluateOnExit": [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},  # what no rule matches would be retried
    ],
}
"""Only a lost host is no fault of the job and costs nothing to try again there."""

# What keeps the head of a queue from starting, and what helps.
# https://docs.aws.amazon.com/batch/latest/userguide/job_stuck_in_runnable.html
_STUCK = {
    "COMPUTE_ENVIRONMENT_MAX_RESOURCE": "raise the compute environment's maxvCpus",
    "JOB_RESOURCE_REQUIREMENT": "ask for less with --batch-vcpus and --batch-memory, or give the"
    " compute environment larger instances",
    "SERVICE_ROLE_PERMISSIONS": "give the compute environment's service role its permissions",
}
# Beginnings of what ECS says of a container that it could not start.
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
_NOT_STARTED = (
    *("CannotPull", "CannotCreate", "CannotStart", "CannotInspect", "ResourceInitialization"),
    *("DockerTimeout", "TaskFailedToStart", "Task failed to start", "ContainerRuntimeError"),
    *("ContainerRuntimeTimeout", "InternalError", "OutOfResources"),
)


@dataclass(frozen=True, slots=True)
class RunPlace:
    """A run as names in the queue and the bucket tell it; `place` names its work directory."""

    run: str
    place: str

    @classmethod
    def of(cls, run_dir: Path) -> RunPlace:
        """Of `<work dir>/runs/<run id>`."""
        return cls(run_dir.name, place_name(run_dir.parent.parent))

    def objects(self, prefix: str) -> str:
        """What the names of the run's objects begin with."""
        return f"{place_objects(prefix, self.place)}{self.run}/"

    @property
    def job_prefix(self) -> str:
        return f"orchestrator-{self.place[:8]}-{self._run_word}-"

    @property
    def _run_word(self) -> str:
        """The run's id, in letters that names and tags may have."""
        return re.sub(r"[^A-Za-z0-9_-]", "_", self.run)

    def job_name(self, digest: str) -> str:
        return f"{self.job_prefix}{digest[:16]}"

    def tags(self, keys: Sequence[JobKey]) -> dict[str, str]:
        """Of one job, or of an array, whose jobs cannot have different ones."""
        tags = {f"{LABEL}.run": self._run_word, f"{LABEL}.work-dir": self.place}
        if len(keys) == 1:
            return tags | {f"{LABEL}.task": keys[0].task, f"{LABEL}.attempt": str(keys[0].attempt)}
        return tags | {f"{LABEL}.jobs": str(len(keys))}


def place_name(work_dir: Path) -> str:
    """Names a work directory among those of all machines that share a bucket."""
    return hashlib.sha256(place_of(work_dir).encode()).hexdigest()[:12]


def place_objects(prefix: str, place: str) -> str:
    """What the names of all objects of a work directory begin with."""
    return f"{prefix.strip('/')}/{place}/".removeprefix("/")


def place_settings(settings: BatchSettings) -> dict[str, str]:
    """The settings that say where a run's jobs and objects are, by name."""
    names = ("batch_region", "batch_job_queue", "batch_s3_bucket", "batch_s3_prefix")
    return {name: getattr(settings, name).strip("/") for name in names}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where jobs go, and what each may have beyond its definition: None leaves that as it is."""

    queue: str
    definition: str
    vcpus: float | None = None
    memory_mib: int | None = None

    @property
    def resources(self) -> list[dict[str, str]]:
        found = []
        if self.vcpus is not None:
            found.append({"type": "VCPU", "value": f"{self.vcpus:g}"})
        if self.memory_mib is not None:
            found.append({"type": "MEMORY", "value": str(self.memory_mib)})
        return found


def wanted_of(settings: BatchSettings) -> Wanted:
    memory = settings.batch_memory
    return Wanted(
        queue=settings.batch_job_queue,
        definition=settings.batch_job_definition,
        vcpus=settings.batch_vcpus,
        memory_mib=max(1, size_bytes(memory) // 1024**2) if memory else None,
    )


def build_submission(
    wanted: Wanted, place: RunPlace, uri: PackUri, keys: Sequence[JobKey], timeout_s: float
) -> dict[str, Any]:
    """The request of SubmitJob for one job, or for an array of several.

    What a job works on is told by one URI: all else would be too long, and visible to others.
    """
    overrides: dict[str, Any] = {"command": ["python", f"{CODE}/batch_executor.py", str(uri)]}
    if wanted.resources:
        overrides["resourceRequirements"] = wanted.resources
    limit_s = max(LEAST_TIMEOUT_S, math.ceil(timeout_s + TIMEOUT_MARGIN_S))
    submission = {
        "jobName": place.job_name(uri.pack.digest),
        "jobQueue": wanted.queue,
        "jobDefinition": wanted.definition,
        "containerOverrides": overrides,
        "retryStrategy": RETRIES,
        "timeout": {"attemptDurationSeconds": limit_s},
        "tags": place.tags(keys),
        "propagateTags": True,
    }
    if len(keys) > 1:
        submission["arrayProperties"] = {"size": len(keys)}
    return submission


def native_ids(job_id: str, count: int) -> list[str]:
    """The ids of the jobs of one submission."""
    return [job_id] if count == 1 else [f"{job_id}:{number}" for number in range(count)]


def array_of(native: str) -> str:
    """The id of the array that a job belongs to; empty for a job of its own."""
    array, colon, _ = native.rpartition(":")
    return array if colon else ""


def is_id(text: str) -> bool:
    """Whether it could be the id of a job; DescribeJobs wants no others."""
    return _ID.fullmatch(text) is not None


def chunks(ids: Iterable[str], size: int = MOST_DESCRIBED) -> list[list[str]]:
    """Each id once, in lists of at most `size`."""
    different = list(dict.fromkeys(ids))
    return [different[at : at + size] for at in range(0, len(different), size)]


@dataclass(frozen=True, slots=True)
class JobDescription:
    """A job as one description tells it. `stream` is its log stream, `earlier` those of attempts
    before; `elsewhere` says that its worker found another job at work on the same."""

    status: JobStatus
    stream: str = ""
    group: str = ""
    earlier: tuple[str, ...] = ()
    elsewhere: bool = False


def parse_job(detail: Mapping[str, Any]) -> JobDescription:
    """What a JobDetail says."""
    container = detail.get("container") or {}
    attempts = [(a.get("container") or {}) for a in detail.get("attempts") or ()]
    streams = [str(a["logStreamName"]) for a in attempts if a.get("logStreamName")]
    stream = str(container.get("logStreamName") or (streams[-1] if streams else ""))
    options = (container.get("logConfiguration") or {}).get("options") or {}
    status = judge(detail)
    return JobDescription(
        status,
        stream,
        str(options.get("awslogs-group") or ""),
        tuple(s for s in dict.fromkeys(streams) if s != stream),
        elsewhere=status.state is JobState.FAILED and status.exit_code == CLAIMED,
    )


def judge(detail: Mapping[str, Any]) -> JobStatus:
    """The status that a JobDetail stands for."""
    state, why = str(detail.get("status") or ""), _said(detail.get("statusReason"))
    if state in ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING"):
        return _judge_waiting(state, why)
    if state == "RUNNING":
        return JobStatus(JobState.RUNNING)
    if state == "SUCCEEDED":
        return JobStatus(JobState.SUCCEEDED, exit_code=0)
    if state == "FAILED":
        return _judge_failed(detail, why)
    return JobStatus(JobState.UNKNOWN, message=f"AWS Batch calls it {state or 'nothing'}")


def _judge_waiting(state: str, why: str) -> JobStatus:
    kind, _, rest = why.partition(":")
    if state != "RUNNABLE" or kind != "MISCONFIGURATION":
        return JobStatus(JobState.QUEUED, message=why)
    help_text = next((text for name, text in _STUCK.items() if rest.startswith(name)), "")
    return JobStatus(
        JobState.QUEUED, Reason.UNSCHEDULABLE, message="; ".join(_some(why, help_text))
    )


def _judge_failed(detail: Mapping[str, Any], why: str) -> JobStatus:
    container = detail.get("container") or {}
    attempts = detail.get("attempts") or [{}]
    last = attempts[-1].get("container") or {}
    code = container.get("exitCode", last.get("exitCode"))
    reason = _said(container.get("reason") or last.get("reason"))
    told = "; ".join(_some(why, reason))
    if why == TERMINATED or detail.get("isTerminated") or detail.get("isCancelled"):
        message = "" if why == TERMINATED else f"terminated by somebody: {told}"
        return JobStatus(JobState.CANCELLED, exit_code=code, message=message)
    # a worker that is told to stop ends with STOPPED whoever told it: the service knows who
    if why.startswith("Host EC2"):
        return JobStatus(JobState.FAILED, Reason.NODE_LOST, code, told)
    if why.startswith("Your Spot Task was interrupted"):
        return JobStatus(JobState.FAILED, Reason.PREEMPTED, code, told)
    if why.startswith("Job attempt duration exceeded timeout"):
        return JobStatus(JobState.FAILED, Reason.TIMEOUT, code, told)
    if reason.startswith("OutOfMemory") or "OutOfMemoryError" in why:
        return JobStatus(JobState.FAILED, Reason.OOM, code, f"{told}; --batch-memory gives more")
    if reason.startswith(_NOT_STARTED) or why.startswith(_NOT_STARTED):
        return JobStatus(JobState.FAILED, Reason.LAUNCH, code, told)
    if code == STOPPED:
        return JobStatus(JobState.CANCELLED, exit_code=code, message=told)
    if code == OUTDATED:
        return JobStatus(JobState.FAILED, Reason.OUTDATED, code, f"{told}; {_REBUILD}")
    if code == _KILLED:
        told = "; ".join(_some(told, "killed from outside, or out of memory"))
    return JobStatus(JobState.FAILED, Reason.EXIT, code, told)


def _said(text: object) -> str:
    return " ".join(str(text or "").split()).rstrip(".")


def _some(*texts: str) -> list[str]:
    """Those that say something, each once."""
    return [text for text in dict.fromkeys(texts) if text]

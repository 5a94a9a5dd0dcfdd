"""States, reasons and exit codes of Slurm's jobs as those of this program. Pure."""

import re
from dataclasses import dataclass

from backends.shared.output import cause_first
from core.job import JobState, JobStatus, Reason
from core.worker.exit_codes import CLAIMED

# https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES
_WAITING = "CONFIGURING PENDING POWER_UP_NODE REQUEUED REQUEUE_FED REVOKED"
_HELD = "REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT"
# COMPLETING: cancelled jobs too, with exit code 0
_RUNNING = "COMPLETING RESIZING RUNNING SIGNALING STAGE_OUT STOPPED SUSPENDED"
STATES: dict[str, tuple[JobState, Reason | None]] = {
    **dict.fromkeys(_WAITING.split(), (JobState.QUEUED, None)),
    **dict.fromkeys(_HELD.split(), (JobState.QUEUED, Reason.UNSCHEDULABLE)),
    **dict.fromkeys(_RUNNING.split(), (JobState.RUNNING, None)),
    "COMPLETED": (JobState.SUCCEEDED, None),
    "CANCELLED": (JobState.CANCELLED, None),
    "BOOT_FAIL": (JobState.FAILED, Reason.NODE_LOST),
    "NODE_FAIL": (JobState.FAILED, Reason.NODE_LOST),
    "RECONFIG_FAIL": (JobState.FAILED, Reason.NODE_LOST),
    "DEADLINE": (JobState.FAILED, Reason.TIMEOUT),
    "TIMEOUT": (JobState.FAILED, Reason.TIMEOUT),
    "FAILED": (JobState.FAILED, Reason.EXIT),
    "LAUNCH_FAILED": (JobState.FAILED, Reason.LAUNCH),
    "OUT_OF_MEMORY": (JobState.FAILED, Reason.OOM),
    "PREEMPTED": (JobState.FAILED, Reason.PREEMPTED),
}

# https://slurm.schedmd.com/resource_limits.html and job_reason_codes.html
_TEMPORARY_REASONS = {
    "Resources": "waiting for free nodes",
    "Priority": "jobs of higher priority run first",
    "BeginTime": "requeued; it starts a little later",
    "JobArrayTaskLimit": "the array's limit of running jobs is reached",
    "ReqNodeNotAvail": "a node it needs is down, reserved or drained",
    "Reservation": "waiting for its reservation",
    "Licenses": "waiting for a license",
    "Prolog": "its node is being prepared",
    "Cleaning": "files of its previous start are being removed",
    "Nodes required for job are DOWN": "the nodes it needs are down, drained or reserved",
    "NodeDown": "a node it needs is down",
    "REVOKED": "another cluster of the federation runs it",
}
_PERMANENT_REASONS = {
    "PartitionDown": "the partition is down; see sinfo -p",
    "PartitionInactive": "the partition is inactive; see sinfo -p",
    "BadConstraints": "no node satisfies its constraints",
    "PartitionConfig": "it requests more than the partition's nodes have",
    "PartitionNodeLimit": "it requests more nodes than the partition allows, or they are down",
    "PartitionTimeLimit": "--slurm-time exceeds the partition's limit",
    "AccountNotAllowed": "the account may not use this partition",
    "QOSNotAllowed": "this quality of service is not allowed here",
    "InvalidAccount": "the account does not exist",
    "InvalidQOS": "the quality of service does not exist",
    "JobHeldUser": "held by a user; release it with scontrol release",
    "JobHeldAdmin": "held by an administrator",
    "JobHoldMaxRequeue": "requeued too often",
    "job requeued in held state": "requeued and held; release it with scontrol release",
    "job requeued in special exit state": "requeued for its exit code and held; release it with"
    " scontrol release",
    "launch failed requeued held": "its node could not start it; retry with scontrol release",
    "user env retrieval failed requeued held": "its node could not read your login environment;"
    " retry with scontrol release",
    "launch failure limit exceeded requeued held": "nodes failed to start it too often",
    "ReservationDeleted": "its reservation was deleted",
    "ReservationInvalid": "its reservation is invalid",
    "MaxMemPerLimit": "it requests more memory than a job may have here",
    "DependencyNeverSatisfied": "its dependency can never be satisfied",
}
PENDING_REASONS = {**_TEMPORARY_REASONS, **_PERMANENT_REASONS}
# Waiting does not change a limit on one job or on its time.
_LIMIT_OF_ONE_JOB = re.compile(r"(Assoc|QOS)(Max\w*(PerJob|PerNode|Wall\w*)|Min)\w*")
_LIMIT = re.compile(r"(Assoc|QOS)\w+")

_SIGNALS = range(1, 128)  # wait statuses below that of exit code 1
_NO_OUTPUT = 53
_PRECEDENCE = {JobState.RUNNING: 3, JobState.QUEUED: 2, JobState.SUCCEEDED: 1}


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as squeue or sacct lists it.

    A job outside an array has its own id as `array_id`, and `array_index` 0. `exit_status` is that
    of wait(2), None when it is unknown.
    """

    array_id: str
    array_index: int
    state: str
    exit_status: int | None = None
    reason: str = ""
    comment: str = ""
    run_dir: str = ""
    script: str = ""
    is_array: bool = False
    name: str = ""

    @property
    def native_id(self) -> str:
        """The id that scancel takes."""
        return f"{self.array_id}_{self.array_index}" if self.is_array else self.array_id

    @property
    def lost_claim(self) -> bool:
        """Whether its worker exited because another job had claimed the attempt."""
        return has_failed(self) and exit_code(self.exit_status) == CLAIMED

    @property
    def precedence(self) -> tuple[int, int]:
        """Which of several jobs of one key counts: one that runs, then one that waits, then the
        latest that ended and had the attempt."""
        rank = -1 if self.lost_claim else _PRECEDENCE.get(job_state(self.state), 0)
        return rank, int(self.array_id)


def job_state(state: str) -> JobState:
    return STATES.get(state, (JobState.UNKNOWN, None))[0]


def has_failed(record: JobRecord) -> bool:
    """Whether it ended without success."""
    state = job_state(record.state)
    return state.final and state is not JobState.SUCCEEDED


def failed_to_launch(record: JobRecord) -> bool:
    """Whether the script never started, usually because its output file could not be opened.

    Recent versions of Slurm report that as signal 53, older ones as the reason.
    """
    launch_failure = record.reason == "JobLaunchFailure" and record.exit_status not in _SIGNALS
    return record.state == "FAILED" and (launch_failure or record.exit_status == _NO_OUTPUT)


def has_exited(record: JobRecord) -> bool:
    """Whether its script, or the worker in its place, ended by itself and without success."""
    return record.state == "FAILED" and (record.exit_status or 0) > max(_SIGNALS)


def job_status(record: JobRecord, output: str = "") -> JobStatus:
    """The status of a listed job; `output` is the end of what a failed job printed."""
    state, reason = STATES.get(record.state, (JobState.UNKNOWN, None))
    if state is JobState.UNKNOWN:
        return JobStatus(state, message=f"Slurm reports {record.state}")
    if state is JobState.QUEUED:
        stuck = reason is not None or never_starts(record.reason)
        blocked = Reason.UNSCHEDULABLE if stuck else None
        return JobStatus(state, blocked, message=explain_pending(record))
    if state is JobState.RUNNING:
        return JobStatus(state)
    if state is JobState.SUCCEEDED:
        return JobStatus(state, exit_code=0)
    if reason is Reason.EXIT and "oom_kill" in output.replace("-", "_").lower():
        reason = Reason.OOM
    message = _failure_message(record, reason, cause_first(output))
    return JobStatus(state, reason, exit_code(record.exit_status), message)


def _failure_message(record: JobRecord, reason: Reason | None, output: str) -> str:
    if reason is Reason.OOM:
        return "raise --slurm-mem"
    if reason is Reason.TIMEOUT:
        return "raise --slurm-time"
    cause = f"Slurm reports {record.state}" if reason is not Reason.EXIT else ""
    if record.reason == "JobLaunchFailure" and record.exit_status in _SIGNALS:
        cause = f"ended by signal {record.exit_status}"  # Slurm 22.05, of a job that had started
    elif record.reason not in ("", "None", "NonZeroExitCode"):
        cause = f"Slurm reports {record.state} ({record.reason})"
    return "; ".join(filter(None, (output, cause)))


def never_starts(reason: str) -> bool:
    """Whether a pending job with this reason waits until somebody changes something."""
    name = _reason_name(reason)
    return name in _PERMANENT_REASONS or _LIMIT_OF_ONE_JOB.fullmatch(name) is not None


def explain_pending(record: JobRecord) -> str:
    """Slurm's name of the reason, and what it means where that is known."""
    unnamed = record.reason in ("", "None")
    name = record.state if unnamed else _reason_name(record.reason)
    meaning = PENDING_REASONS.get(name, "")
    if not meaning and _LIMIT.fullmatch(name):
        meaning = "a limit of the account or the quality of service is reached"
    return f"{name}: {meaning}" if meaning else name


def _reason_name(reason: str) -> str:
    """Without details (ReqNodeNotAvail, UnavailableNodes:...) and underscores within a phrase."""
    return reason.partition(",")[0].strip("() ").replace("_", " ")


def exit_code(status: int | None) -> int | None:
    """The exit code as a shell reports it, from a status of wait(2)."""
    if not status:
        return status
    return status >> 8 if status > 0xFF else 128 + (status & 0x7F)

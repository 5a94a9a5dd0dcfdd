"""What Slurm says of a job, as ours: states, reasons and exit codes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.job import JobState, JobStatus, Reason
from core.worker.exit_codes import CLAIMED

# https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES
STATES: dict[str, tuple[JobState, Reason | None]] = {
    "BOOT_FAIL": (JobState.FAILED, Reason.NODE_LOST),
    "CANCELLED": (JobState.CANCELLED, None),
    "COMPLETED": (JobState.SUCCEEDED, None),
    "COMPLETING": (JobState.RUNNING, None),  # also what was cancelled, with exit code 0 so far
    "CONFIGURING": (JobState.QUEUED, None),  # its node boots
    "DEADLINE": (JobState.FAILED, Reason.TIMEOUT),
    "FAILED": (JobState.FAILED, Reason.EXIT),
    "LAUNCH_FAILED": (JobState.FAILED, Reason.LAUNCH),
    "NODE_FAIL": (JobState.FAILED, Reason.NODE_LOST),
    "OUT_OF_MEMORY": (JobState.FAILED, Reason.OOM),
    "PENDING": (JobState.QUEUED, None),
    "POWER_UP_NODE": (JobState.QUEUED, None),
    "PREEMPTED": (JobState.FAILED, Reason.PREEMPTED),
    "RECONFIG_FAIL": (JobState.FAILED, Reason.NODE_LOST),
    "REQUEUED": (JobState.QUEUED, None),
    "REQUEUE_FED": (JobState.QUEUED, None),
    "REQUEUE_HOLD": (JobState.QUEUED, Reason.UNSCHEDULABLE),
    "RESIZING": (JobState.RUNNING, None),
    "RESV_DEL_HOLD": (JobState.QUEUED, Reason.UNSCHEDULABLE),
    "REVOKED": (JobState.QUEUED, None),  # another cluster of the federation has it, or had
    "RUNNING": (JobState.RUNNING, None),
    "SIGNALING": (JobState.RUNNING, None),
    "SPECIAL_EXIT": (JobState.QUEUED, Reason.UNSCHEDULABLE),
    "STAGE_OUT": (JobState.RUNNING, None),
    "STOPPED": (JobState.RUNNING, None),
    "SUSPENDED": (JobState.RUNNING, None),
    "TIMEOUT": (JobState.FAILED, Reason.TIMEOUT),
}

# https://slurm.schedmd.com/resource_limits.html and job_reason_codes.html: what is told to people
PENDING_REASONS = {
    "Resources": "it waits for free nodes",
    "Priority": "jobs of higher priority come first",
    "BeginTime": "it was put back into the queue and starts a little later",
    "JobArrayTaskLimit": "as many jobs of its array run as may",
    "ReqNodeNotAvail": "a node that it needs is down, reserved or drained",
    "Reservation": "it waits for its reservation",
    "Licenses": "it waits for a licence",
    "Prolog": "its node is being prepared",
    "Cleaning": "what it left when it ran before is being removed",
    "Nodes required for job are DOWN": "nodes that it needs are down, drained or reserved",
    "NodeDown": "a node that it needs is down",
    "PartitionDown": "the partition is down; sinfo -p tells",
    "PartitionInactive": "the partition is inactive; sinfo -p tells",
    "BadConstraints": "no node has what it asks for",
    "PartitionConfig": "it asks for more than the partition's nodes have",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows, or they are down",
    "PartitionTimeLimit": "--slurm-time is more than the partition allows",
    "AccountNotAllowed": "the account may not use this partition",
    "QOSNotAllowed": "the quality of service may not be used here",
    "InvalidAccount": "there is no such account",
    "InvalidQOS": "there is no such quality of service",
    "JobHeldUser": "somebody holds it: scontrol release lets it go",
    "JobHeldAdmin": "an administrator holds it",
    "JobHoldMaxRequeue": "it was put back into the queue too often",
    "job requeued in held state": "somebody put it back and holds it: scontrol release lets it go",
    "launch failed requeued held": "its node could not start it; scontrol release tries again",
    "user env retrieval failed requeued held": "its node could not read your login environment;"
    " scontrol release tries again",
    "launch failure limit exceeded requeued held": "its node could not start it, again and again",
    "ReservationDeleted": "its reservation is gone",
    "ReservationInvalid": "its reservation cannot be used",
    "MaxMemPerLimit": "it asks for more memory than a job may have here",
    "REVOKED": "another cluster of the federation has it",
    "DependencyNeverSatisfied": "what it depends on will never come about",
}
_NEVER_BY_ITSELF = frozenset(
    {"PartitionDown", "PartitionInactive", "BadConstraints", "PartitionConfig"}
    | {"PartitionNodeLimit"}
    | {"PartitionTimeLimit", "AccountNotAllowed", "QOSNotAllowed", "InvalidAccount", "InvalidQOS"}
    | {"JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "DependencyNeverSatisfied"}
    | {"ReservationDeleted", "ReservationInvalid", "MaxMemPerLimit"}
    | {"user env retrieval failed requeued held", "launch failure limit exceeded requeued held"}
    | {"launch failed requeued held", "job requeued in special exit state"}
    | {"job requeued in held state"}
)
# A limit on one job, or on its time, is one that waiting does not change.
_LIMIT_OF_ONE = re.compile(r"(Assoc|QOS)(Max\w*(PerJob|PerNode|Wall\w*)|Min)\w*")
_LIMIT = re.compile(r"(Assoc|QOS)\w+")


_SIGNALS = range(1, 128)  # an exit status below that of the first exit code
_NO_OUTPUT = 53
_RANKS = {JobState.RUNNING: 3, JobState.QUEUED: 2, JobState.SUCCEEDED: 1}


@dataclass(frozen=True, slots=True)
class Row:
    """One job as squeue or sacct lists it. `array_id` and `place` are those of an array's job, or
    the job's own id and 0. `exit_status` is as wait(2) has it, None where it is not told."""

    array_id: str
    place: int
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
        """As scancel takes it."""
        return f"{self.array_id}_{self.place}" if self.is_array else self.array_id

    @property
    def found_taken(self) -> bool:
        """Whether its worker left at once, since another job's had the attempt."""
        return has_failed(self) and exit_code(self.exit_status) == CLAIMED

    @property
    def order(self) -> tuple[int, int]:
        """Of several jobs of one key: the one that runs tells, then one that waits, then the last
        one that ended and had the attempt."""
        rank = -1 if self.found_taken else _RANKS.get(job_state(self.state), 0)
        return rank, int(self.array_id)


def job_state(state: str) -> JobState:
    return STATES.get(state, (JobState.UNKNOWN, None))[0]


def has_failed(row: Row) -> bool:
    """Whether it has ended, and not well."""
    state = job_state(row.state)
    return state.final and state is not JobState.SUCCEEDED


def did_not_begin(row: Row) -> bool:
    """Whether the script was not even started, mostly since its output could not be opened: later
    Slurms say that by the signal 53, earlier ones by the reason."""
    failed_launch = row.reason == "JobLaunchFailure" and row.exit_status not in _SIGNALS
    return row.state == "FAILED" and (failed_launch or row.exit_status == _NO_OUTPUT)


def judge(row: Row, said: str = "") -> JobStatus:
    """The status that a row tells; `said` is the end of what a failed job printed."""
    state, reason = STATES.get(row.state, (JobState.UNKNOWN, None))
    if state is JobState.UNKNOWN:
        return JobStatus(state, message=f"Slurm says {row.state}")
    if state is JobState.QUEUED:
        never = reason is not None or never_starts(row.reason)
        return JobStatus(
            state, Reason.UNSCHEDULABLE if never else None, message=explain_pending(row)
        )
    if state is JobState.RUNNING:
        return JobStatus(state)
    if state is JobState.SUCCEEDED:
        return JobStatus(state, exit_code=0)
    code = exit_code(row.exit_status)
    if reason is Reason.EXIT and "oom_kill" in said.replace("-", "_").lower():
        reason = Reason.OOM
    return JobStatus(state, reason, code, _ending(row, reason, said))


def _ending(row: Row, reason: Reason | None, said: str) -> str:
    if reason is Reason.OOM:
        return "--slurm-mem asks for more"
    if reason is Reason.TIMEOUT:
        return "--slurm-time asks for more"
    told = f"Slurm says {row.state}" if reason is not Reason.EXIT else ""
    if row.reason == "JobLaunchFailure" and row.exit_status in _SIGNALS:
        told = f"ended by signal {row.exit_status}"  # after it had run: so Slurm 22.05 puts it
    elif row.reason not in ("", "None", "NonZeroExitCode"):
        told = f"Slurm says {row.state} ({row.reason})"
    return "; ".join(part for part in (told, said) if part)


def never_starts(reason: str) -> bool:
    """Whether a pending job with this reason waits for somebody to change something."""
    word = _word(reason)
    return word in _NEVER_BY_ITSELF or _LIMIT_OF_ONE.fullmatch(word) is not None


def explain_pending(row: Row) -> str:
    """The reason, in Slurm's word and ours."""
    word = _word(row.reason) if row.reason not in ("", "None") else row.state
    more = PENDING_REASONS.get(word, "")
    if not more and _LIMIT.fullmatch(word):
        more = "a limit of the account or the quality of service is reached"
    return f"{word}: {more}" if more else word


def _word(reason: str) -> str:
    """Without what follows it (ReqNodeNotAvail, UnavailableNodes:...); scontrol and some versions
    of squeue write a phrase with underscores."""
    return reason.partition(",")[0].strip("() ").replace("_", " ")


def exit_code(status: int | None) -> int | None:
    """As a shell reports it, from what wait(2) gave."""
    if not status:
        return status
    return status >> 8 if status > 0xFF else 128 + (status & 0x7F)

"""What Slurm's words mean for a job: every state, every reason to wait, every way to end."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.slurm.states import (
    PENDING_REASONS,
    STATES,
    JobRecord,
    exit_code,
    explain_pending,
    job_state,
    job_status,
    never_starts,
)
from core.job import JobState, Reason
from engine.scheduling.job_end import end_of
from engine.scheduling.retry_policy import RULES

ROW = JobRecord("7", 0, "PENDING")

# https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES, of 22.05 and 24.05
WAITS = "CONFIGURING PENDING POWER_UP_NODE REQUEUED REQUEUE_FED REVOKED"
HELD = "REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT"
RUNS = "COMPLETING RESIZING RUNNING SIGNALING STAGE_OUT STOPPED SUSPENDED"
FAILS = {
    "BOOT_FAIL": Reason.NODE_LOST,
    "DEADLINE": Reason.TIMEOUT,
    "FAILED": Reason.EXIT,
    "LAUNCH_FAILED": Reason.LAUNCH,
    "NODE_FAIL": Reason.NODE_LOST,
    "OUT_OF_MEMORY": Reason.OOM,
    "PREEMPTED": Reason.PREEMPTED,
    "RECONFIG_FAIL": Reason.NODE_LOST,
    "TIMEOUT": Reason.TIMEOUT,
}


@pytest.mark.parametrize("word", WAITS.split())
def test_a_job_that_waits_is_queued_and_may_start_by_itself(word: str) -> None:
    status = job_status(JobRecord("7", 0, word))
    assert (status.state, status.reason, status.exit_code) == (JobState.QUEUED, None, None)
    assert word in status.message


@pytest.mark.parametrize("word", HELD.split())
def test_a_job_that_is_held_waits_for_somebody(word: str) -> None:
    status = job_status(JobRecord("7", 0, word))
    assert (status.state, status.reason) == (JobState.QUEUED, Reason.UNSCHEDULABLE)


@pytest.mark.parametrize("word", RUNS.split())
def test_a_job_that_has_started_and_not_ended_runs(word: str) -> None:
    assert job_status(JobRecord("7", 0, word, exit_status=0)).state is JobState.RUNNING


@pytest.mark.parametrize(("word", "reason"), FAILS.items())
def test_a_job_that_failed_says_why_and_whether_it_pays_to_try_again(
    word: str, reason: Reason
) -> None:
    status = job_status(JobRecord("7", 0, word, exit_status=9))
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, reason, 137)
    assert end_of(status, None).cause in RULES


def test_a_job_that_somebody_cancelled_is_retried_as_preempted() -> None:
    status = job_status(JobRecord("7", 0, "CANCELLED", exit_status=15))
    assert (status.state, status.reason, status.exit_code) == (JobState.CANCELLED, None, 143)
    assert end_of(status, None).cause == Reason.PREEMPTED


def test_a_job_that_completed_succeeded() -> None:
    assert job_status(JobRecord("7", 0, "COMPLETED", exit_status=0)).state is JobState.SUCCEEDED


def test_no_state_was_forgotten_here() -> None:
    expected = {*WAITS.split(), *HELD.split(), *RUNS.split(), *FAILS, "CANCELLED", "COMPLETED"}
    assert expected == set(STATES)


@given(st.text())
def test_a_word_that_nobody_knows_is_reported_and_never_final(word: str) -> None:
    if word not in STATES:
        status = job_status(JobRecord("7", 0, word, exit_status=0))
        assert status.state is job_state(word) is JobState.UNKNOWN
        assert word in status.message


# -- why a job waits


@pytest.mark.parametrize(
    "reason",
    [
        *("BadConstraints", "JobHeldUser", "JobHeldAdmin", "JobHoldMaxRequeue", "PartitionDown"),
        *("PartitionInactive", "PartitionConfig", "PartitionNodeLimit", "PartitionTimeLimit"),
        *(
            "AccountNotAllowed",
            "QOSNotAllowed",
            "InvalidAccount",
            "InvalidQOS",
            "DependencyNeverSatisfied",
        ),
        *("job requeued in held state", "job_requeued_in_held_state"),
        *("launch failed requeued held", "launch_failed_requeued_held"),
        "(job requeued in special exit state)",
        *("user_env_retrieval_failed_requeued_held", "ReservationDeleted", "ReservationInvalid"),
        *("launch failure limit exceeded requeued held", "MaxMemPerLimit"),
        # limits on one job, which no other job's end changes
        *("QOSMaxCpuPerJobLimit", "QOSMaxNodePerJobLimit", "QOSMaxWallDurationPerJobLimit"),
        *("QOSMaxCpuMinutesPerJobLimit", "QOSMaxMemoryPerJob", "QOSMaxGRESPerNode"),
        *("AssocMaxCpuPerJobLimit", "AssocMaxWallDurationPerJobLimit", "AssocMaxMemPerNode"),
        *("QOSMinCpuNotSatisfied", "QOSMinGRES", "QOSMinNode"),
    ],
)
def test_a_reason_that_waiting_does_not_change_makes_a_job_unschedulable(reason: str) -> None:
    assert never_starts(reason)
    status = job_status(replace(ROW, reason=reason))
    assert (status.state, status.reason) == (JobState.QUEUED, Reason.UNSCHEDULABLE)


@pytest.mark.parametrize(
    "reason",
    [
        *("", "None", "Resources", "Priority", "BeginTime", "JobArrayTaskLimit", "NodeDown"),
        *("ReqNodeNotAvail, UnavailableNodes:n[1-3]", "Reservation", "Licenses", "Prolog"),
        # limits that other jobs fill
        *("QOSMaxJobsPerUserLimit", "QOSMaxCpuPerUserLimit", "QOSGrpCpuLimit", "QOSGrpWallLimit"),
        *("AssocGrpCpuLimit", "AssocMaxJobsLimit", "AssocGrpCPUMinutesLimit", "QOSGrpGRES"),
        "SomethingThatAlaterSlurmSays",
    ],
)
def test_a_reason_that_passes_is_only_told(reason: str) -> None:
    assert not never_starts(reason)
    assert job_status(replace(ROW, reason=reason)).reason is None


@pytest.mark.parametrize("word", PENDING_REASONS)
def test_a_reason_is_reported_in_slurms_word_and_in_ours(word: str) -> None:
    assert explain_pending(replace(ROW, reason=word)) == f"{word}: {PENDING_REASONS[word]}"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("", "PENDING"),
        ("None", "PENDING"),
        ("(Resources)", "Resources: waiting for free nodes"),
        ("ReqNodeNotAvail, UnavailableNodes:n1", "ReqNodeNotAvail: a node it needs"),
        ("QOSGrpCpuLimit", "QOSGrpCpuLimit: a limit of the account or the quality of service"),
        ("AssocMaxJobsLimit", "AssocMaxJobsLimit: a limit of the account"),
        ("NobodyKnows", "NobodyKnows"),
    ],
)
def test_a_reason_in_any_dress_is_explained(reason: str, expected: str) -> None:
    explained = explain_pending(replace(ROW, reason=reason))
    assert explained.startswith(expected)
    assert ": " in explained or explained == expected


# -- how a job ended


@given(st.integers(0, 255))
def test_an_exit_code_is_that_of_the_process(code: int) -> None:
    assert exit_code(code << 8) == code


@given(st.integers(1, 64), st.booleans())
def test_a_signal_is_reported_as_a_shell_tells_it(number: int, dumped: bool) -> None:
    status = number | (0x80 if dumped else 0)
    assert exit_code(status) == 128 + number == 128 - os.waitstatus_to_exitcode(status)


def test_a_status_that_was_not_told_is_none() -> None:
    assert exit_code(None) is None
    assert job_status(JobRecord("7", 0, "FAILED")).exit_code is None


@pytest.mark.parametrize(
    "output",
    [
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=5.batch.",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=5.batch.",
    ],
)
def test_a_failed_job_that_was_out_of_memory_is_known_by_what_slurm_printed(output: str) -> None:
    status = job_status(
        JobRecord("7", 0, "FAILED", exit_status=9, reason="NonZeroExitCode"), output
    )
    assert status.reason is Reason.OOM
    assert "--slurm-mem" in status.message
    assert (
        job_status(JobRecord("7", 0, "FAILED", exit_status=256), "tom-killer").reason is Reason.EXIT
    )


def test_a_worker_that_a_signal_ended_was_launched() -> None:
    status = job_status(JobRecord("7", 0, "FAILED", exit_status=9, reason="JobLaunchFailure"))
    assert (status.exit_code, status.message) == (137, "ended by signal 9")
    status = job_status(JobRecord("7", 0, "FAILED", exit_status=4021, reason="JobLaunchFailure"))
    assert "JobLaunchFailure" in status.message


def test_what_a_failed_job_said_last_is_reported_and_nothing_made_up() -> None:
    row = JobRecord("7", 0, "FAILED", exit_status=256, reason="NonZeroExitCode")
    assert job_status(row, "a greeting\nerror: it broke.").message == "it broke; a greeting"
    assert job_status(row).message == ""
    launched = job_status(replace(row, reason="JobLaunchFailure"), "no such user")
    assert launched.message == "no such user; Slurm reports FAILED (JobLaunchFailure)"
    assert job_status(JobRecord("7", 0, "NODE_FAIL")).message == "Slurm reports NODE_FAIL"


def test_a_time_limit_names_the_option_that_raises_it() -> None:
    assert "--slurm-time" in job_status(JobRecord("7", 0, "TIMEOUT", exit_status=0)).message


# -- which job tells


def test_of_several_jobs_of_one_key_the_one_that_can_still_change_tells_first() -> None:
    rows = [
        JobRecord("12", 0, "FAILED"),
        JobRecord("11", 0, "COMPLETED"),
        JobRecord("10", 0, "PENDING"),
        JobRecord("9", 0, "RUNNING"),
        JobRecord("13", 0, "CANCELLED"),
    ]
    ordered = sorted(rows, key=lambda row: row.precedence, reverse=True)
    assert [row.array_id for row in ordered] == ["9", "10", "11", "13", "12"]


def test_a_job_that_found_the_attempt_taken_tells_last() -> None:
    taken, worked = JobRecord("12", 0, "FAILED", 75 << 8), JobRecord("11", 0, "TIMEOUT", 15)
    assert (taken.lost_claim, worked.lost_claim) == (True, False)
    assert max(taken, worked, key=lambda row: row.precedence) is worked
    assert not JobRecord("12", 0, "RUNNING", 75 << 8).lost_claim


def test_a_later_job_counts_as_a_number_and_not_as_a_text() -> None:
    assert (
        max(
            JobRecord("9", 0, "FAILED"), JobRecord("10", 0, "FAILED"), key=lambda r: r.precedence
        ).array_id
        == "10"
    )


def test_an_arrays_job_is_named_as_scancel_takes_it() -> None:
    assert JobRecord("7", 3, "RUNNING", is_array=True).native_id == "7_3"
    assert JobRecord("7", 0, "RUNNING", is_array=True).native_id == "7_0"
    assert JobRecord("7", 0, "RUNNING").native_id == "7"

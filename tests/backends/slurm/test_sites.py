"""What clusters and sites do differently, on a cluster of fake commands that behave."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle import write_result
from core.job import JobState, Outcome, Reason, TaskResult
from tests.fakes.slurm import fake_slurm_run
from tests.live.slurm_clusters import cluster_of_its_own
from tests.live.slurm_run import slurm_run

OVER_A_LIMIT = (
    "QOSMaxSubmitJobPerUserLimit\nallocation failure: Job violates accounting/QOS policy"
    " (job submit limit, user's size and/or time limits)"
)
UNAVAILABLE = "allocation failure: Requested node configuration is not available"


def test_a_job_in_a_hidden_partition_is_seen(tmp_path: Path) -> None:
    """squeue and sinfo leave such partitions out for all but root, unless asked for all."""
    with fake_slurm_run(
        tmp_path,
        options={"slurm_partition": "secret"},
        sinfo="debug*|up|1\nsecret|up|1\n",
        hidden=["secret"],
    ) as live:
        assert live.backend.preflight() == []
        [handle] = live.submit("slow-a")
        live.wait_running(handle)


def test_a_job_that_another_cluster_of_a_federation_has_ends_with_its_result(
    tmp_path: Path,
) -> None:
    with fake_slurm_run(tmp_path, holds=True) as live:
        [handle] = live.submit("fast-01")
        live.slurm.change(handle, state="REVOKED")
        [status] = live.poll(handle)
        assert status.state is JobState.QUEUED
        assert "another cluster" in status.message
        write_result(live.attempt(handle), TaskResult(handle.key, Outcome.OK, "written"))
        assert live.poll(handle)[0].state is JobState.SUCCEEDED


# -- what a site's plugin changes


def test_a_job_whose_name_a_site_has_changed_is_seen_and_submitted_once(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, job_name="site-default", comment="project=physics") as live:
        handles = live.submit("slow-a", "fast-01")
        live.wait_running(handles[0])
        live.wait_ended(handles[1])
        live.backend = live.another_backend()
        assert live.submit("slow-a") == [handles[0]]
        assert len(live.slurm.calls("sbatch")) == 1
        assert "Slurm job 1_0 (RUNNING)" in live.backend.leftovers(live.run.run_id)
        live.backend.cancel([handles[0]])
        live.wait_ended(handles[0])


def test_all_jobs_are_listed_only_when_one_is_not_found_by_name(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path) as live:
        [handle] = live.submit("fast-01")
        live.wait_ended(handle)
        named = [any("--name" in part for part in c["argv"]) for c in live.slurm.calls("squeue")]
        assert all(named)


# -- what `sbatch --test-only` complains of though sbatch would take the job


@pytest.mark.parametrize(
    "refusals",
    [
        [UNAVAILABLE, UNAVAILABLE],  # all nodes are drained, down or reserved: the least waits too
        ["allocation failure: Required node not available (down, drained or reserved)"],
        ["allocation failure: Job can not start due to maintenance reservation."],
        ["allocation failure: Requested partition configuration not available now"],
        ["allocation failure: Requested nodes are busy"],
        ["allocation failure: Requested reservation not usable now"],
        ["allocation failure: Licenses currently unavailable"],
    ],
    ids=lambda refusals: str(refusals[0]).removeprefix("allocation failure: ")[:30],
)
def test_jobs_that_would_only_wait_are_no_problem(tmp_path: Path, refusals: list[str]) -> None:
    with fake_slurm_run(tmp_path, sbatch_refuses=refusals) as live:
        assert live.backend.preflight() == []


def test_jobs_that_ask_for_more_than_any_node_has_are_a_problem(tmp_path: Path) -> None:
    with fake_slurm_run(
        tmp_path, options={"slurm_mem": "9T", "slurm_gpus": 64}, sbatch_refuses=[UNAVAILABLE]
    ) as live:
        [problem] = live.backend.preflight()
        assert "Requested node configuration is not available" in problem.what
        least = live.slurm.calls("sbatch")[1]["argv"]
        assert not [part for part in least if part.startswith(("--mem", "--gres"))]


def test_a_limit_that_ones_own_jobs_fill_does_not_keep_a_run_from_being_resumed(
    tmp_path: Path,
) -> None:
    with fake_slurm_run(tmp_path, holds=True) as live:
        live.submit("slow-a", "slow-b")
        live.slurm.set(sbatch_refuses=[OVER_A_LIMIT])
        assert live.another_backend().preflight() == []


def test_a_limit_that_nobody_fills_will_never_pass(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, sbatch_refuses=[OVER_A_LIMIT]) as live:
        [problem] = live.backend.preflight()
        assert "QOSMaxSubmitJobPerUserLimit" in problem.what


def test_a_controller_that_goes_away_during_the_test_is_no_fault_of_the_options(
    tmp_path: Path,
) -> None:
    with fake_slurm_run(tmp_path, sbatch_refuses=["allocation failure: Socket timed out"]) as live:
        [problem] = live.backend.preflight()
        assert problem.what == "Slurm did not answer: allocation failure: Socket timed out."
        assert "scontrol ping" in problem.fix


@pytest.mark.parametrize(
    "stderr",
    [
        "sbatch: error: s_p_parse_file: cannot stat file /etc/slurm/slurm.conf: No such file\n"
        "sbatch: fatal: Unable to process configuration file",
        "sbatch: error: fetch_config: DNS SRV lookup failed\n"
        "sbatch: fatal: Could not establish a configuration source",
    ],
)
def test_a_machine_without_slurm_conf_is_told_so_first(tmp_path: Path, stderr: str) -> None:
    with fake_slurm_run(tmp_path, sbatch_refuses=[stderr]) as live:
        [problem] = live.backend.preflight()
        assert problem.what.startswith("Slurm is not set up here, since its commands found no")
        assert "SLURM_CONF" in problem.fix


# -- a directory that the nodes do not see, or may not write to


@pytest.mark.parametrize(
    ("reason", "status"),
    [("JobLaunchFailure", 15 << 8), ("RaisedSignal:53(Real-time_signal_19)", 53)],
    ids=["22.05", "later"],
)
def test_a_job_that_left_no_log_did_not_begin_and_says_where_to_look(
    tmp_path: Path, reason: str, status: int
) -> None:
    """Slurm cannot open the job's output, so nothing ran and nothing was spent."""
    with fake_slurm_run(tmp_path, holds=True) as live:
        [handle] = live.submit("fast-01")
        live.slurm.change(handle, state="FAILED", reason=reason, status=status)
        [status_] = live.poll(handle)
        assert (status_.state, status_.reason) == (JobState.FAILED, Reason.LAUNCH)
        assert status_.message.startswith(f"no log in {live.run.root}. Put --work-dir on")
        assert "full log" not in status_.message


def test_a_job_that_had_the_attempt_may_have_spent_something_whatever_slurm_says(
    tmp_path: Path,
) -> None:
    with fake_slurm_run(tmp_path, holds=True) as live:
        [handle] = live.submit("fast-01")
        live.attempt(handle).claim.write_text("fake:1#0")
        live.slurm.change(handle, state="FAILED", reason="JobLaunchFailure", status=9)
        [status] = live.poll(handle)
        assert (status.state, status.reason) == (JobState.FAILED, Reason.EXIT)
        assert "full log" in status.message


@pytest.mark.slurm
@pytest.mark.slow
def test_a_drained_cluster_is_one_whose_jobs_wait(tmp_path: Path) -> None:
    with cluster_of_its_own() as own:
        with slurm_run(tmp_path / "greedy", own, options={"slurm_mem": "900T"}) as live:
            [problem] = live.backend.preflight()
            assert problem.what.startswith("Slurm refused such jobs: ")
        own.run("scontrol", "update", f"nodename={own.node}", "state=drain", "reason=test")
        with slurm_run(tmp_path / "modest", own) as live:
            assert live.backend.preflight() == []
            [handle] = live.submit("fast-01")
            live.eventually(lambda: "ReqNodeNotAvail" in live.poll(handle)[0].message, "the reason")


# -- a controller that has lost its state, or a cluster that was made anew, begins to count anew


def test_a_job_of_somebody_elses_with_our_number_is_neither_taken_for_ours_nor_cancelled(
    tmp_path: Path,
) -> None:
    with fake_slurm_run(tmp_path, holds=True) as live:
        [handle] = live.submit("fast-01")
        theirs = {"name": "physics", "comment": "", "chdir": "/data", "command": "/data/x.sh"}
        live.slurm.change(handle, state="RUNNING", **theirs)
        live.backend = live.another_backend()
        [status] = live.poll(handle)
        assert (status.state, status.reason) == (JobState.LOST, Reason.MISSING)
        assert live.backend.reattach(live.run.run_id) == []
        live.backend.cancel([handle])
        assert live.slurm.states() == {"1": "RUNNING"}
        assert live.slurm.calls("scancel") == []


def test_a_job_of_which_only_the_number_is_known_is_cancelled(tmp_path: Path) -> None:
    with fake_slurm_run(tmp_path, holds=True, comment="project=physics") as live:
        handles = live.submit("fast-01", "fast-02")
        live.backend = live.another_backend()
        live.backend.cancel(handles)
        assert set(live.slurm.states().values()) == {"CANCELLED"}

"""What clusters and sites do differently, on a cluster of fake commands that behave."""

from __future__ import annotations

from pathlib import Path

from core.bundle import write_result
from core.job import JobState, Outcome, TaskResult
from tests.fake_slurm import fake_slurm_run


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

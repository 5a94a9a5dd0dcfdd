"""The Slurm that the tests use does what the tests take for granted."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.slurm_clusters import SCRIPT, Cluster, OwnCluster, cluster_of_its_own, service_conf

pytestmark = pytest.mark.slurm


@pytest.fixture
def shared() -> Cluster:
    return Cluster(service_conf())


@pytest.fixture
def own() -> Iterator[OwnCluster]:
    with cluster_of_its_own(min_job_age=2, requeue_wait=5) as cluster:
        yield cluster


def test_a_started_service_is_used_as_it_is() -> None:
    done = subprocess.run([SCRIPT, "start"], capture_output=True, text=True, timeout=100)
    assert done.stdout == f"{service_conf()}\n"
    assert "used as it is" in done.stderr


def test_a_job_runs(shared: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "output"
    job = shared.submit("echo $SLURM_JOB_ID", "--export=NIL", f"--output={output}")
    assert shared.await_states(job, "COMPLETED") == {job: "COMPLETED"}
    assert output.read_text() == f"{job}\n"


def test_no_more_elements_of_an_array_run_than_its_throttle_allows(
    shared: Cluster, tmp_path: Path
) -> None:
    script = f"date +%s.%N > {tmp_path}/$SLURM_ARRAY_TASK_ID; sleep 0.2; date +%s.%N >> "
    job = shared.submit(f"{script}{tmp_path}/$SLURM_ARRAY_TASK_ID", "--array=0-9%5")
    assert len(shared.await_states(job, "COMPLETED", within_s=60)) == 10
    spans = [tuple(map(float, path.read_text().split())) for path in tmp_path.iterdir()]
    events = sorted(itertools.chain.from_iterable([(a, 1), (z, -1)] for a, z in spans))
    assert max(itertools.accumulate(change for _, change in events)) <= 5


@pytest.mark.slow
def test_clusters_run_side_by_side_and_leave_nothing() -> None:
    with cluster_of_its_own() as own:
        with cluster_of_its_own(cpus=3, max_array=7) as other:
            for cluster in (own, other):
                assert cluster.submit("setsid --wait sleep 100") == "1"
                cluster.await_states("1", "RUNNING")
            assert set(other.run("sinfo", "-h", "-o", "%c").split()) == {"3"}
            assert "MaxArraySize            = 7\n" in other.run("scontrol", "show", "config")
            assert processes_of(other)
        assert not other.place.exists()
        assert not processes_of(other)
        assert own.states("1") == {"1": "RUNNING"}


def processes_of(cluster: OwnCluster) -> list[str]:
    """Daemons and jobs: they all know where their slurm.conf is."""
    known = f"SLURM_CONF={cluster.conf}\0".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if known in (process / "environ").read_bytes():
                found.append((process / "comm").read_text().strip())
    return found


def test_a_job_outlives_its_controller(own: OwnCluster, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    job = own.submit(f"until [ -e {go_on} ]; do sleep 0.1; done")
    own.await_states(job, "RUNNING")
    own.stop_controller()
    own.start_controller()
    assert own.states(job) == {job: "RUNNING"}
    go_on.touch()
    own.await_states(job, "COMPLETED")


def test_a_node_that_is_down_ends_jobs_or_queues_them_again(own: OwnCluster) -> None:
    again, once = own.submit("sleep 100"), own.submit("sleep 100", "--no-requeue")
    for job in (again, once):
        own.await_states(job, "RUNNING")
    own.run("scontrol", "update", f"nodename={own.node}", "state=down", "reason=test")
    assert own.states(once) == {once: "NODE_FAIL"}
    assert own.states(again) == {again: "PENDING"}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_jobs_of_a_node_that_lost_its_power_fail_with_it() -> None:
    with cluster_of_its_own(node_timeout=5) as own:
        job = own.submit("sleep 100", "--no-requeue")
        own.await_states(job, "RUNNING")
        own.kill_node()
        own.await_states(job, "NODE_FAIL", within_s=150)
        own.start_node()
        own.await_states(own.submit("true"), "COMPLETED")


def test_an_urgent_job_preempts_one_that_scavenges(own: OwnCluster) -> None:
    job = own.submit("sleep 100", "--partition=scavenge", "--no-requeue")
    own.await_states(job, "RUNNING")
    own.submit("true", "--partition=urgent", "--exclusive")
    own.await_states(job, "PREEMPTED")


@pytest.mark.slow
def test_an_ended_job_is_forgotten(own: OwnCluster) -> None:
    job = own.submit("true")
    own.await_states(job, "COMPLETED")
    own.await_states(job)


@pytest.mark.slow
def test_a_job_past_its_time_times_out() -> None:
    with cluster_of_its_own() as own:
        job = own.submit("sleep 100")
        own.await_states(job, "RUNNING")
        own.end_time_of(job)
        own.await_states(job, "TIMEOUT", within_s=60)

"""The conformance suite on a cluster behind SSH: a real sshd, a real Slurm, and moto's EC2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.bundle import AttemptDir
from core.clock import Clock
from core.credentials import Credentials
from core.job import JobKey
from parallel_task_orchestrator.conformance.live_run import Bounds, LiveRun
from parallel_task_orchestrator.conformance.promises import DurableJobs, ReachableResults
from parallel_task_orchestrator.conformance.suite import BackendConformance
from tests.live.remote_cluster import Maker, RemoteCluster, aws_with_cluster

pytestmark = [pytest.mark.slurm, pytest.mark.sshd, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def aws() -> Iterator[None]:
    with aws_with_cluster():
        yield


@pytest.fixture(scope="class")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, credentials: Credentials, clock: Clock
) -> RemoteCluster:
    shared = tmp_path_factory.mktemp("cluster") / "shared dir"
    return RemoteCluster(shared, credentials=credentials, clock=clock)


class TestParallelCluster(BackendConformance, DurableJobs, ReachableResults):
    backend = "parallelcluster"
    bounds = Bounds(state_s=90, cancel_s=30, look_every_s=0.3)

    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls, cluster: RemoteCluster) -> Maker:
        return cluster.make

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: RemoteCluster) -> None:
        self.cluster = cluster

    def kept_attempt(self, live: LiveRun, key: JobKey) -> AttemptDir:
        return self.cluster.attempt(key)

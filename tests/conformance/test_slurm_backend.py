"""The conformance suite on a real Slurm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from backends import backend_class
from backends.base import Backend, BackendContext, Worker
from core.clock import Clock
from core.credentials import Credentials
from engine.run.rundir import RunDir
from parallel_task_orchestrator.conformance.live_run import Bounds
from parallel_task_orchestrator.conformance.promises import DurableJobs, ReachableResults
from parallel_task_orchestrator.conformance.suite import BackendConformance
from tests.live.docker_run import quiet_environment
from tests.live.slurm_clusters import service_conf

pytestmark = pytest.mark.slurm


class TestSlurm(BackendConformance, DurableJobs, ReachableResults):
    backend = "slurm"
    bounds = Bounds(state_s=90, cancel_s=30, look_every_s=0.2)

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls) -> Mapping[str, Any]:
        return {"slurm_mem": "100M"}

    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(
        cls, credentials: Credentials, clock: Clock, work: Worker, options: Mapping[str, Any]
    ) -> Callable[[RunDir], Backend]:
        environ = quiet_environment(SLURM_CONF=str(service_conf()))
        return lambda run: backend_class(cls.backend).build(
            BackendContext(run.root, credentials, clock, work, options, environ)
        )

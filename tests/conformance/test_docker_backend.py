"""The conformance suite on a real Docker Engine, and what only this backend has to get right."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pytest

from parallel_task_orchestrator.conformance.live_run import Bounds
from parallel_task_orchestrator.conformance.promises import DurableJobs
from parallel_task_orchestrator.conformance.suite import BackendConformance

pytestmark = pytest.mark.docker_engine
IMAGE = os.environ.get("PTO_IMAGE", "parallel-orchestrator:slim")


class TestDocker(BackendConformance, DurableJobs):
    backend = "docker"
    bounds = Bounds(state_s=90, cancel_s=30, look_every_s=0.1)

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls) -> Mapping[str, Any]:
        return {"docker_image": IMAGE, "docker_network": "none", "docker_memory": "512m"}

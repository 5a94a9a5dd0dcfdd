"""The conformance suite on AWS Batch: moto's containers on a real Docker Engine, strict as AWS."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from backends import backend_class
from backends.base import Backend, BackendContext, Worker
from core.clock import Clock
from core.credentials import Credentials
from engine.run.rundir import RunDir
from parallel_task_orchestrator.conformance.fixtures import CANARY
from parallel_task_orchestrator.conformance.live_run import Bounds
from parallel_task_orchestrator.conformance.promises import DurableJobs
from parallel_task_orchestrator.conformance.suite import BackendConformance
from tests.fakes.strict_aws import Cloud, cloud

pytestmark = [
    *(pytest.mark.moto, pytest.mark.docker_engine, pytest.mark.slow),
    pytest.mark.timeout(300),  # eight containers at once, on two cores that others use too
]
IMAGE = os.environ.get("PTO_IMAGE", "parallel-orchestrator:slim")


@pytest.fixture(scope="module")
def place() -> Iterator[Cloud]:
    with cloud(f"conformance-{secrets.token_hex(4)}", IMAGE, dict(os.environ)) as made:
        yield made


class TestAwsBatch(BackendConformance, DurableJobs):
    backend = "batch"
    bounds = Bounds(state_s=180, cancel_s=40, look_every_s=0.3)

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, place: Cloud) -> Mapping[str, Any]:
        return place.options

    @pytest.fixture(scope="class")
    @classmethod
    def credentials(cls) -> Credentials:
        return Credentials(CANARY, aws_access_key_id="testing", aws_secret_access_key="testing")

    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(
        cls,
        credentials: Credentials,
        clock: Clock,
        work: Worker,
        options: Mapping[str, Any],
        place: Cloud,
    ) -> Callable[[RunDir], Backend]:
        return lambda run: backend_class(cls.backend).build(
            BackendContext(run.root, credentials, clock, work, options, place.environ)
        )

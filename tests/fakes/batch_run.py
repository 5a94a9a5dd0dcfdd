"""Runs on the AWS that is in this process, for tests of the Batch backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backends.aws_batch_backend import AwsBatchBackend
from backends.base import BackendContext
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.errors import Problem
from core.plan import Plan
from engine.run.rundir import RunDir, RunFacts, create_run
from parallel_task_orchestrator.conformance.live_run import PROMPT, Bounds, LiveRun, build_plan
from tests.fakes.aws import DEFINITION, QUEUE, REGION, FakeAws
from tests.fakes.aws_calls import BUCKET
from tests.fakes.results import no_work

OPTIONS: Mapping[str, Any] = {
    "batch_job_queue": QUEUE,
    "batch_job_definition": DEFINITION,
    "batch_s3_bucket": BUCKET,
    "batch_region": REGION,
}
CREDENTIALS = Credentials("sk-ant-canary", aws_access_key_id="AK", aws_secret_access_key="SK")


class NoWaiting(SystemClock):
    """Time passes only by sleeping, which takes none."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def site_of(run_dir: Path, clock: Clock, **options: Any) -> BackendContext:
    return BackendContext(run_dir, CREDENTIALS, clock, no_work, {**OPTIONS, **options}, {})


def backend_on(aws: FakeAws, context: BackendContext) -> AwsBatchBackend:
    return AwsBatchBackend(context, aws.client)


def problems(tmp_path: Path, aws: FakeAws, **options: Any) -> list[Problem]:
    context = site_of(tmp_path / "runs" / "doctor", NoWaiting(), **options)
    return backend_on(aws, context).preflight()


def only(found: list[Problem]) -> tuple[str, str]:
    [problem] = found
    return problem.what, problem.fix


@contextmanager
def batch_run(
    place: Path,
    aws: FakeAws,
    *,
    clock: Clock | None = None,
    plan: Plan | None = None,
    run_id: str = "20260101-120000-5555",
    **options: Any,
) -> Iterator[LiveRun]:
    ticking = clock or NoWaiting()

    def make(run: RunDir) -> AwsBatchBackend:
        return backend_on(aws, site_of(run.root, ticking, **options))

    facts = RunFacts(run_id, PROMPT, str(place / "out"), 0.0, {}, True)
    run = create_run(place / "work dir", facts)
    live = LiveRun(run, plan or build_plan(), make, Bounds(), ticking)
    try:
        yield live
    finally:
        live.backend.close()

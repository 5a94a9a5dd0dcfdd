"""Jobs on a real Slurm, for tests: a run directory with a backend, and what is left of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backends.base import BackendContext
from backends.shared.worker_credentials import sent_credentials
from backends.slurm.host import CommandRunner, LocalHost
from backends.slurm.settings import SlurmSettings
from backends.slurm_backend import SlurmBackend
from claude.simulation.server import SimulatedServer
from core.bundle import AttemptDir, Limits, ModelSettings, SimulationSettings
from core.clock import SystemClock
from core.credentials import Credentials
from core.job import JobKey
from core.plan import Plan
from engine.run.attempt_store import DiskStore
from engine.run.rundir import RunDir, RunFacts, create_run
from parallel_task_orchestrator.conformance.live_run import PROMPT, Bounds, LiveRun, build_plan
from tests.fakes.holding_api import HoldingApi
from tests.fakes.plans import make_plan
from tests.fakes.results import no_work
from tests.fakes.simulated import MODELS
from tests.live.slurm_clusters import Cluster

BOUNDS = Bounds(state_s=90, cancel_s=30, look_every_s=0.2)
RUN_ID = "20260101-120000-6666"
OPTIONS: Mapping[str, Any] = {"slurm_partition": "debug", "slurm_mem": "100M"}
KEY = Credentials(anthropic_api_key="sk-ant-canary-on-a-cluster")


class SlurmRun(LiveRun):
    """A LiveRun on a cluster, whose jobs may have another model than the usual one."""

    cluster: Cluster
    options: Mapping[str, Any] = OPTIONS
    credentials = Credentials()
    model: ModelSettings | None = None
    limits = Limits(timeout_s=1200)

    def store(self, simulation: SimulationSettings) -> DiskStore:
        model = self.model or ModelSettings(simulation=simulation)
        return DiskStore(self.run, self.plan, PROMPT, model, self.limits)

    def attempt(self, task: str, number: int = 1) -> AttemptDir:
        return self.run.attempt(JobKey(self.run.run_id, task, number))

    def backend_with(self, execute: CommandRunner) -> SlurmBackend:
        """A backend whose commands are run by `execute`."""
        settings = SlurmSettings.read(self.options)
        return SlurmBackend(
            self.run.root,
            LocalHost(self.run.root, self.cluster.environ, execute),
            settings,
            clock=self.clock,
            credentials=lambda: sent_credentials(self.credentials, settings),
        )


@contextmanager
def slurm_run(
    place: Path,
    cluster: Cluster,
    *,
    options: Mapping[str, Any] | None = None,
    credentials: Credentials = Credentials(),  # noqa: B008 - a frozen value
    model: ModelSettings | None = None,
    plan: Plan | None = None,
    run_id: str = RUN_ID,
) -> Iterator[SlurmRun]:
    """A run below `place`; at its end no job of it waits or runs."""
    clock, all_options = SystemClock(), {**OPTIONS, **(options or {})}

    def make(run: RunDir) -> SlurmBackend:
        return SlurmBackend.build(
            BackendContext(run.root, credentials, clock, no_work, all_options, cluster.environ)
        )

    facts = RunFacts(run_id, PROMPT, str(place / "out"), 0.0, {}, True)
    run = create_run(place / "work dir", facts)
    live = SlurmRun(run, plan or build_plan(), make, BOUNDS, clock)
    live.cluster, live.options, live.credentials, live.model = (
        cluster,
        all_options,
        credentials,
        model,
    )
    try:
        yield live
    finally:
        live.end()


@contextmanager
def held_run(
    place: Path, cluster: Cluster, *, options: Mapping[str, Any] | None = None
) -> Iterator[tuple[SlurmRun, HoldingApi]]:
    """A run whose workers ask a provider on loopback, which lets them wait; its task is `fast`."""
    api = HoldingApi()
    with (
        SimulatedServer(0, api) as server,
        slurm_run(
            place,
            cluster,
            options={"real": True, "provider": "anthropic", **(options or {})},
            credentials=KEY,
            model=ModelSettings(model=MODELS["anthropic"], base_url=server.base_url),
            plan=make_plan({"fast": []}),
        ) as live,
    ):
        try:
            yield live, api
        finally:
            api.released.set()

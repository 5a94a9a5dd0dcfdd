"""What the tests of a conformance suite are given, each thing a fixture to override."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backends import backend_class
from backends.base import Backend, BackendContext, Worker
from core.bundle import AttemptDir
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.plan import Plan
from engine.run.rundir import RunDir, RunFacts, create_run
from executor_agent import ExecutorAgent
from parallel_task_orchestrator.conformance.live_run import PROMPT, Bounds, LiveRun, build_plan

CANARY = "sk-ant-canary-7f3a9c51d2"
AT_ONCE = ("fast-03", "slow-a", "fast-01", "refused", "fast-odd", "fast-02")
"""Enough for an array and a queue, in no order; bench/ has scale."""


class ConformanceFixtures:
    """What a backend's test class gives (`backend`, `bounds`, `options`) and what its tests get."""

    backend: ClassVar[str]
    """A short name, or `module:Class`."""
    bounds: ClassVar[Bounds] = Bounds()

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls) -> Mapping[str, Any]:
        """The backend's settings by name."""
        return {}

    @pytest.fixture(scope="class")
    @classmethod
    def clock(cls) -> Clock:
        return SystemClock()

    @pytest.fixture(scope="class")
    @classmethod
    def credentials(cls) -> Credentials:
        return Credentials(anthropic_api_key=CANARY)

    @pytest.fixture(scope="class")
    @classmethod
    def work(cls, credentials: Credentials) -> Worker:
        """For backends that run jobs in this process."""

        def work(attempt: AttemptDir, claimant: str, clock: Clock) -> object:
            return ExecutorAgent(credentials, clock).run(attempt, claimant)

        return work

    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(
        cls, credentials: Credentials, clock: Clock, work: Worker, options: Mapping[str, Any]
    ) -> Callable[[RunDir], Backend]:
        """How to make an instance of the backend for a run directory."""
        return lambda run: backend_class(cls.backend).build(
            BackendContext(run.root, credentials, clock, work, options)
        )

    @pytest.fixture
    def start_run(
        self, tmp_path: Path, make_backend: Callable[[RunDir], Backend], clock: Clock
    ) -> Iterator[Callable[..., LiveRun]]:
        """Starts a run: its id, and a plan if not the usual one."""
        with ExitStack() as runs:

            def start(run_id: str, plan: Plan | None = None) -> LiveRun:
                facts = RunFacts(run_id, PROMPT, str(tmp_path / "out"), 0.0, {}, True)
                run = create_run(tmp_path / "work dir", facts)
                live = LiveRun(run, plan or build_plan(), make_backend, self.bounds, clock)
                runs.callback(live.end)
                return live

            yield start

    @pytest.fixture
    def live(self, start_run: Callable[..., LiveRun]) -> LiveRun:
        return start_run("20260101-120000-aaaa")

    @pytest.fixture(scope="class")
    @classmethod
    def shared(
        cls,
        tmp_path_factory: pytest.TempPathFactory,
        make_backend: Callable[[RunDir], Backend],
        clock: Clock,
    ) -> Iterator[LiveRun]:
        """A run of all tests that only look: `slow-a` runs, the others of AT_ONCE have ended."""
        place = tmp_path_factory.mktemp("shared")
        facts = RunFacts("20260101-120000-9999", PROMPT, str(place / "out"), 0.0, {}, True)
        run = create_run(place / "work dir", facts)
        live = LiveRun(run, build_plan(), make_backend, cls.bounds, clock)
        try:
            handles = live.submit(*AT_ONCE)
            live.wait_running(live.handles["slow-a"])
            live.wait_ended(*(handle for handle in handles if handle.key.task != "slow-a"))
            yield live
        finally:
            live.end()

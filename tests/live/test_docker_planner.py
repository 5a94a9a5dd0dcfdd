"""Plans that are made in a container: the same as anywhere, told as they grow, and nothing left."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backends.docker.client import DockerHost
from backends.docker.container import PLANNER, RunLabels
from backends.docker.planner import DockerPlanner
from backends.docker.settings import DockerSettings
from claude.client.types import Hooks
from claude.simulation.sample_projects import plan_sample
from core.bundle import Allowance, Limits, ModelSettings, SimulationSettings
from core.clock import SystemClock
from core.credentials import Credentials
from core.errors import BackendError, BudgetExceeded, Interrupted, PlanningFailed
from core.job import Usage
from core.worker.planning import PlanningRequest
from tests.live.docker_run import OPTIONS, left_behind

pytestmark = [pytest.mark.docker_engine, pytest.mark.slow]
RUN_ID = "20260101-120000-7777"
PROMPT = "Build a landing page with contact form"


@dataclass
class Planning:
    """A planner for a work directory below `place`, and what it told."""

    place: Path
    options: dict[str, Any] = field(default_factory=dict)
    usage: list[Usage] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)
    on_progress: Callable[[str], None] = lambda text: None
    host: DockerHost = field(default_factory=lambda: DockerHost(dict(os.environ)))

    @property
    def home(self) -> RunLabels:
        return RunLabels.of(self.place / "work" / "runs" / RUN_ID)

    def plan(self, faults: str = "", speed: float = 0.0, **more: Any) -> Any:
        model = ModelSettings(simulation=SimulationSettings(0, speed, faults))
        request = PlanningRequest(PROMPT, model, Limits(), **more)

        def told(text: str) -> None:
            self.progress.append(text)
            self.on_progress(text)

        planner = DockerPlanner(
            self.host,
            DockerSettings.read({**OPTIONS, **self.options}),
            self.home,
            SystemClock(),
            Credentials,
            Hooks(self.usage.append, told),
        )
        try:
            return planner.plan(request)
        finally:
            assert left_behind(self.place / "work") == []
            self.host.close()


def test_the_plan_is_the_one_that_is_made_on_the_host(tmp_path: Path) -> None:
    planning = Planning(tmp_path)
    made = planning.plan()
    assert made.tasks == plan_sample(PROMPT).tasks
    assert [usage.simulated for usage in planning.usage] == [True, True]  # a short prompt's halves


def test_defects_that_are_mended_are_told_and_paid_for_each_time(tmp_path: Path) -> None:
    planning = Planning(tmp_path)
    with pytest.raises(PlanningFailed):
        planning.plan("bad_plan=1")
    assert len(planning.usage) > 1
    assert planning.progress


def test_a_budget_that_is_too_small_is_the_same_error_as_on_the_host(tmp_path: Path) -> None:
    with pytest.raises(BudgetExceeded):
        Planning(tmp_path).plan(allowance=Allowance(max_tokens=10))


def test_too_little_memory_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanningFailed, match="Raise --docker-memory"):
        Planning(tmp_path, {"docker_memory": "24m"}).plan()


def test_an_image_that_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="No such image"):
        Planning(tmp_path, {"docker_image": "no-such-image:1"}).plan()


def test_a_container_left_by_a_killed_session_is_in_nobodys_way(tmp_path: Path) -> None:
    planning = Planning(tmp_path)
    name = planning.home.name(PLANNER)
    spec = {"Image": OPTIONS["docker_image"], "Cmd": ["sleep", "60"]}
    planning.host.start(planning.host.create(name, spec))
    assert planning.plan().tasks


class _BreakingHost(DockerHost):
    """Does something to the container at its third look."""

    def __init__(self, harm: Callable[[DockerHost, str], None]) -> None:
        super().__init__(dict(os.environ))
        self._harm, self._looks = harm, 0

    def inspect(self, container: str) -> dict[str, Any] | None:
        self._looks += 1
        if self._looks == 3:
            self._harm(self, container)
        return super().inspect(container)


def _interrupt(host: DockerHost, container: str) -> None:
    raise Interrupted("Ctrl-C")


@pytest.mark.parametrize(
    ("harm", "error", "told"),
    [
        (lambda host, c: host.remove(c), PlanningFailed, "removed by another program"),
        (lambda host, c: host.kill(c, "SIGKILL"), PlanningFailed, "exit code 137"),
        (_interrupt, Interrupted, "Ctrl-C"),
    ],
    ids=["removed", "killed", "interrupted"],
)
def test_whatever_happens_to_it_is_told_and_leaves_nothing(
    harm: Callable[[DockerHost, str], None],
    error: type[Exception],
    told: str,
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=told):
        Planning(tmp_path, host=_BreakingHost(harm)).plan(speed=0.01)


def test_an_engine_out_of_reach_for_a_moment_costs_nothing(tmp_path: Path) -> None:
    def lose(host: DockerHost, container: str) -> None:
        raise BackendError("It is gone.")

    assert Planning(tmp_path, host=_BreakingHost(lose)).plan(speed=20).tasks

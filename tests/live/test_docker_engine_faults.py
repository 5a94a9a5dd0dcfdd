"""What can happen to the engine itself: restarted, killed, its disk full, while a run goes on.

All on an engine of the test's own.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.bundle import SimulationSettings
from core.errors import BackendError
from core.events import Event, Kind
from core.job import JobState, Outcome, Reason, TaskState
from engine.scheduling.job_end import end_of
from tests.conformance.scheduled_run import merged_files, schedule
from tests.fakes.events import data_of
from tests.fakes.plans import make_plan
from tests.live.docker_engines import OwnEngine, own_engine
from tests.live.docker_run import IMAGE, LOST_SOCKETS, DockerRun, docker_run, left_behind

pytestmark = [
    pytest.mark.docker_engine,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    LOST_SOCKETS,
]


@pytest.fixture(autouse=True)
def _no_lost_sockets() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def engine() -> Iterator[OwnEngine]:
    with own_engine(IMAGE) as engine:
        yield engine


@pytest.fixture
def live(engine: OwnEngine, tmp_path: Path) -> Iterator[DockerRun]:
    """Three tasks of some seconds each, one after two others."""
    plan = make_plan({"left": [], "right": [], "last": ["left", "right"]})
    with docker_run(tmp_path, environ=engine.environ, plan=plan) as live:
        yield live


class Heard:
    """A sink that keeps what it hears."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def running(self) -> set[str]:
        told = [e for e in self.events if e.kind is Kind.JOB_STATE]
        return {e.task for e in told if data_of(e)["state"] == JobState.RUNNING}

    def notices(self) -> list[str]:
        return [data_of(e)["text"] for e in self.events if e.kind is Kind.NOTICE]

    def causes(self) -> Counter[str]:
        return Counter(data_of(e)["cause"] for e in self.events if e.kind is Kind.JOB_ENDED)


def break_in_the_middle(live: DockerRun, *harm: Callable[[], None]) -> Heard:
    """Run the plan to its end, and well; the harm is done once two jobs run."""
    heard = Heard()
    with ThreadPoolExecutor(1) as other:
        running = other.submit(schedule, live, SimulationSettings(speed=4), listeners=[heard])
        live.eventually(lambda: len(heard.running()) == 2, "two jobs running")
        for act in harm:
            act()
        outcome, _ = running.result(150)
    assert set(outcome.states.values()) == {TaskState.SUCCEEDED}, outcome.messages
    assert set(merged_files(live.run, outcome)) == {f"{t}/README.md" for t in outcome.states}
    return heard


@pytest.mark.parametrize("end", [OwnEngine.stop, OwnEngine.kill], ids=["restarted", "killed"])
def test_a_run_goes_on_when_its_engine_was(
    engine: OwnEngine, live: DockerRun, tmp_path: Path, end: Callable[[OwnEngine], None]
) -> None:
    heard = break_in_the_middle(
        live, lambda: end(engine), lambda: live.clock.sleep(2.0), engine.start
    )
    assert heard.causes()[Outcome.OK] == 3
    assert len(heard.notices()) == 1, "out of reach is said once"
    if end is OwnEngine.stop:  # a killed one lets its containers come to their end
        assert heard.causes()[Reason.PREEMPTED] >= 1
    live.backend.cleanup(live.run.run_id)
    assert left_behind(tmp_path / "work dir", engine.environ) == []


def test_what_still_runs_when_a_killed_engine_comes_back_is_stopped_and_worth_another_try(
    engine: OwnEngine, tmp_path: Path
) -> None:
    with docker_run(tmp_path, environ=engine.environ) as live:
        [handle] = live.submit("slow-a")
        live.wait_running(handle)
        engine.kill()
        with pytest.raises(BackendError, match="Docker Engine"):
            live.poll(handle)
        engine.start()
        [status] = live.wait_ended(handle)
        assert (status.state, status.exit_code) == (JobState.CANCELLED, 143)
        assert end_of(status, None).cause == Reason.PREEMPTED


@pytest.fixture
def full_disk(engine: OwnEngine) -> Iterator[Callable[[int], None]]:
    """Leaves so many bytes of the engine's disk; at the end all of it is there again."""
    yield engine.fill_disk
    engine.free_disk()


def test_a_worker_whose_volume_is_full_says_so_and_what_it_spent(
    engine: OwnEngine, full_disk: Callable[[int], None], tmp_path: Path
) -> None:
    with docker_run(tmp_path, environ=engine.environ) as live:
        [handle] = live.submit("spending")
        live.eventually(lambda: '"usage"' in "".join(live.read_log(handle)[0]), "the first usage")
        engine.pause(handle.native_id)  # or it may be done before the disk is full
        full_disk(0)
        engine.go_on(handle.native_id)
        live.wait_ended(handle)
        engine.free_disk()
        result = live.result(handle)
        assert result.outcome is Outcome.DEFECT
        assert "No space left on device" in result.message
        assert result.usage
        assert result.manifest.entries == ()


def test_an_engine_without_room_starts_nothing_and_the_job_runs_once_there_is_some(
    engine: OwnEngine, full_disk: Callable[[int], None], tmp_path: Path
) -> None:
    """Its words are those of whichever write fails first, and few of them name the disk."""
    with docker_run(tmp_path, environ=engine.environ) as live:
        full_disk(0)
        job = live.prepare("fast-01")
        with pytest.raises(BackendError, match="The Docker Engine failed: ") as refused:
            live.backend.submit([job])
        assert "docker system df" in refused.value.remedy
        assert live.backend.reattach(live.run.run_id) == []
        engine.free_disk()
        [handle] = live.submit_jobs(job)
        assert live.wait_ended(handle)[0].state is JobState.SUCCEEDED
        assert live.result(handle).outcome is Outcome.OK
    assert left_behind(tmp_path / "work dir", engine.environ) == []


def test_little_room_for_volumes_is_found_before_a_run_starts(
    engine: OwnEngine, full_disk: Callable[[int], None], tmp_path: Path
) -> None:
    with docker_run(tmp_path, environ=engine.environ) as live:
        assert live.backend.preflight() == []
        full_disk(500 * 1024**2)
        [problem] = live.backend.preflight()
        assert "MiB left for volumes" in problem.what
        assert "docker system df" in problem.fix

"""What a bad line does to a run on a cluster behind SSH: nothing lost, nothing twice, told once."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backends.slurm.commands import build_squeue, job_name, parse_squeue
from core.bundle import SimulationSettings
from core.clock import SystemClock
from core.events import Event, Kind
from core.job import TaskState
from core.plan import Plan
from engine.run.rundir import RunDir, RunFacts, create_run
from engine.scheduling.types import RunOutcome
from parallel_task_orchestrator.conformance.live_run import PROMPT, Bounds, LiveRun, build_plan
from tests.conformance.scheduled_run import schedule
from tests.fakes.events import data_of
from tests.live.remote_cluster import Cut, RemoteCluster, Sshd, aws_with_cluster
from tests.live.slurm_clusters import Cluster, service_conf

pytestmark = [pytest.mark.slurm, pytest.mark.sshd, pytest.mark.slow, pytest.mark.timeout(180)]
BOUNDS = Bounds(state_s=90, cancel_s=30, look_every_s=0.3)
RUN_ID = "20260101-120000-7777"


def small_plan() -> Plan:
    """Two tasks, one after the other, and one beside them."""
    whole = build_plan()
    tasks = tuple(t for t in whole.tasks if t.id in ("fast-odd", "fast-last", "fast-01"))
    return whole.model_copy(update={"tasks": tasks})


class Listener:
    """What a person is told; and something to be done once at the first event of a kind."""

    def __init__(self, when: Kind | None = None, do: Callable[[], None] | None = None) -> None:
        self.notices: list[str] = []
        self._when, self._do = when, do

    def emit(self, event: Event) -> None:
        if event.kind is Kind.NOTICE:
            self.notices.append(str(data_of(event)["text"]))
        if event.kind is self._when and (do := self._do) is not None:
            self._do = None
            do()


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    with aws_with_cluster():
        yield


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What ends with the test, the last first."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(tmp_path: Path, stack: ExitStack) -> Callable[[RemoteCluster], LiveRun]:
    def start(cluster: RemoteCluster) -> LiveRun:
        facts = RunFacts(RUN_ID, PROMPT, str(tmp_path / "out"), 0.0, {}, True)
        run = create_run(tmp_path / "work", facts)
        live = LiveRun(run, small_plan(), cluster.make, BOUNDS, SystemClock())
        stack.callback(live.end)
        return live

    return start


def jobs_below(shared: Path) -> list[tuple[str, int]]:
    """Array and index of every job that Slurm has seen of a run, ended or not."""
    listed = Cluster(service_conf()).run(*build_squeue(job_name(RUN_ID)))
    rows = [row for row in parse_squeue(listed) if row.run_dir.startswith(str(shared))]
    return [(row.comment, row.array_index) for row in rows]


def check_all_went_well(live: LiveRun, outcome: RunOutcome, shared: Path) -> None:
    assert set(outcome.states.values()) == {TaskState.SUCCEEDED}, outcome.messages
    assert set(outcome.succeeded.values()) == {1}, "some task was tried again"
    jobs = jobs_below(shared)
    assert len(set(jobs)) == len(jobs) == len(live.plan.tasks)


@pytest.mark.parametrize(
    ("words", "methods"),
    [
        ([b'"once": "slurm', b'"op": "fetch"'], ["submit", "collect"]),
        ([b'"command": ["squeue"'], ["poll"]),
        ([b'"await_news": {'], []),
    ],
    ids=["submit and collect", "poll", "wait for news"],
)
def test_a_connection_that_is_cut_loses_and_doubles_nothing(
    start: Callable[[RemoteCluster], LiveRun],
    tmp_path: Path,
    words: list[bytes],
    methods: list[str],
) -> None:
    cut = Cut([*words])
    live = start(RemoteCluster(tmp_path / "shared", cut=cut))
    listener = Listener()
    outcome, _ = schedule(live, SimulationSettings(speed=0), listeners=[listener])
    check_all_went_well(live, outcome, tmp_path / "shared")
    assert cut.words == []
    if methods:  # a wait is told of only by what else was cut with it
        for method, notice in zip(methods, listener.notices, strict=True):
            lost = rf"parallelcluster {method}: The connection to \S+ was lost\."
            assert re.match(lost, notice)


def cutting_sbatch(place: Path, script: str) -> str:
    """A folder with an sbatch that first does something to its own connection."""
    fakes = place / "fakes"
    fakes.mkdir()
    sbatch = fakes / "sbatch"
    sbatch.write_text(f"#!/bin/bash\n{CUT}\n{script}\n", encoding="utf-8")
    sbatch.chmod(0o755)
    return str(fakes)


# Ends the sshd of the session that this is a part of, once.
CUT = """
here="$(dirname "$0")"
cut() {
  [ -e "$here/done" ] && return
  touch "$here/done"
  p=$PPID
  while [ "$(cat /proc/$p/comm)" != sshd ]; do p=$(awk '{print $4}' /proc/$p/stat); done
  kill -9 $p
}
"""


@pytest.mark.parametrize(
    "script",
    ['out="$(/usr/bin/sbatch "$@")"; cut; echo "$out"', 'cut; sleep 3; exec /usr/bin/sbatch "$@"'],
    ids=["after sbatch", "before it"],
)
def test_an_answer_of_sbatch_that_is_lost_is_found_again(
    start: Callable[[RemoteCluster], LiveRun], stack: ExitStack, tmp_path: Path, script: str
) -> None:
    path = cutting_sbatch(tmp_path, script)
    sshd = stack.enter_context(Sshd.of_its_own(tmp_path / "sshd", path).running())
    live, listener = start(RemoteCluster(tmp_path / "shared", sshd)), Listener()
    outcome, _ = schedule(live, SimulationSettings(speed=0), listeners=[listener])
    check_all_went_well(live, outcome, tmp_path / "shared")
    assert len(listener.notices) == 1


def test_a_head_node_that_is_away_for_a_while_is_reported_once(
    start: Callable[[RemoteCluster], LiveRun], stack: ExitStack, tmp_path: Path
) -> None:
    sshd = stack.enter_context(Sshd.of_its_own(tmp_path / "sshd").running())
    live = start(RemoteCluster(tmp_path / "shared", sshd))

    def away() -> None:
        sshd.control("stop")
        threading.Timer(6.0, sshd.control, ["start"]).start()

    listener = Listener(Kind.JOB_SUBMITTED, away)
    outcome, _ = schedule(live, SimulationSettings(speed=0), listeners=[listener])
    check_all_went_well(live, outcome, tmp_path / "shared")
    assert len(listener.notices) == 1, listener.notices
    assert "its port is closed" in listener.notices[0] or "lost" in listener.notices[0]


def test_another_process_goes_on_with_only_the_directory_here(
    start: Callable[[RemoteCluster], LiveRun], tmp_path: Path
) -> None:
    live = start(RemoteCluster(tmp_path / "shared"))
    [handle] = live.submit("fast-01")
    live.backend.close()
    moved = tmp_path / "another laptop" / "runs" / RUN_ID
    moved.parent.mkdir(parents=True)
    live.run.root.rename(moved)
    live.run = RunDir(moved)
    live.backend = live.another_backend()
    [found] = live.backend.reattach(RUN_ID)
    assert found.key == handle.key
    live.wait_ended(found)
    live.result(found)
    live.backend.cleanup(RUN_ID)
    assert list((tmp_path / "shared" / ".parallel-orchestrator" / "runs").iterdir()) == []

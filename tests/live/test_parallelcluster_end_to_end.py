"""Whole runs on a cluster behind SSH, as a person starts them, and what they leave there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from backends.slurm.commands import build_squeue, parse_squeue
from claude.simulation.server import serve
from core.bundle import SimulationSettings, build_manifest
from core.clock import SystemClock
from core.credentials import Credentials
from core.job import JobState, Manifest, TaskResult
from core.plan import Plan
from engine.run.rundir import RunFacts, create_run
from parallel_task_orchestrator.conformance.fixtures import CANARY
from parallel_task_orchestrator.conformance.live_run import PROMPT, Bounds, LiveRun, build_plan
from parallel_task_orchestrator.conformance.reading import files_holding
from tests.fakes.quick_worker import FILES
from tests.live.existing_code import change_repository
from tests.live.remote_cluster import (
    NAME,
    REGION,
    ROOT,
    RemoteCluster,
    Sshd,
    add_head_node,
    aws_client,
    aws_with_cluster,
)
from tests.live.slurm_clusters import Cluster, service_conf

pytestmark = [pytest.mark.slurm, pytest.mark.sshd, pytest.mark.slow, pytest.mark.timeout(240)]
SMALL = "Write a script that prints the first ten primes"
TASKS = 40


@pytest.fixture(scope="module")
def aws() -> Iterator[Mapping[str, str]]:
    """The environment of one who may ask a loopback EC2, in which the cluster is."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environ = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "of-the-laptop",
    }
    add_head_node(aws_client(environ), NAME)
    yield environ
    server.stop()


def orchestrate(place: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    place.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [sys.executable, str(ROOT / "orchestrator.py"), *args],
        cwd=place,
        env={**Sshd().environ(), **environ},
        capture_output=True,
        text=True,
        timeout=200,
    )


def options(cluster: RemoteCluster) -> list[str]:
    found = cluster.options()
    return [
        *("--parallelcluster", "--aws-cluster-name", NAME, "--aws-region", REGION),
        *("--aws-shared-dir", found["aws_shared_dir"], "--slurm-partition", "debug"),
        *("--slurm-mem", "100M", "--slurm-setup", str(found["slurm_setup"])),
    ]


def tree_on_threads(place: Path) -> Manifest:
    done = orchestrate(place, SMALL, "--sim-speed", "0", "--quiet", "--output-dir", "out")
    assert done.returncode == 0, done.stderr
    return build_manifest(place / "out")


def test_a_real_run_gives_the_tree_of_threads_after_a_repair_and_leaves_nothing(
    aws: Mapping[str, str], tmp_path: Path
) -> None:
    """What it is answered has a fault, which the first repair mends."""
    sshd, cluster = Sshd(), RemoteCluster(tmp_path / "cluster")
    before = len(sshd.log)
    simulation = SimulationSettings(speed=0, faults="broken_code=1")
    with serve(0, simulation, SystemClock()) as server:
        done = orchestrate(
            tmp_path / "laptop",
            *(SMALL, "--real", "--output-dir", "out", "--max-executors", "20"),
            *options(cluster),
            **aws,
            ANTHROPIC_API_KEY=CANARY,
            ANTHROPIC_BASE_URL=server.base_url,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert build_manifest(tmp_path / "laptop" / "out") == tree_on_threads(tmp_path / "threads")
    said = " ".join(done.stdout.split())
    assert "1 of 1 passed, in a sandbox of bubblewrap, as a job of parallelcluster" in said
    assert "repaired round 1: word_count.py (task build)" in said
    assert cluster.runs() == []
    assert files_holding(tmp_path, CANARY) == []
    assert files_holding(sshd.place / "home", CANARY) == []
    assert CANARY not in sshd.log[before:] + done.stdout + done.stderr
    slurm = Cluster(service_conf())
    listed = parse_squeue(slurm.run(*build_squeue()))
    ours = [row.array_id for row in listed if row.run_dir.startswith(str(cluster.shared))]
    assert len(ours) == 4  # the task and the repair, each with its checks
    assert CANARY not in slurm.run("scontrol", "show", "job", ours[0])
    assert files_holding(service_conf().parent / "state", CANARY) == []


@pytest.mark.bubblewrap
def test_existing_code_is_changed_as_on_threads(aws: Mapping[str, str], tmp_path: Path) -> None:
    """Its archive is sent once, and both tasks and checks find it on the cluster's disk."""
    cluster = RemoteCluster(tmp_path / "cluster")

    def on(here: Path, *more: str) -> str:
        def run(*wish: str) -> str:
            done = orchestrate(here, *wish, *more, **aws)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        return change_repository(here, run)

    assert on(tmp_path / "laptop", *options(cluster)) == on(tmp_path / "threads")
    assert cluster.runs() == []


def test_an_unknown_cluster_stops_a_run_before_it_begins(
    aws: Mapping[str, str], tmp_path: Path
) -> None:
    args = ("--parallelcluster", "--aws-cluster-name", "another", "--output-dir", "out")
    done = orchestrate(tmp_path, SMALL, *args, **aws)
    assert done.returncode == 3
    assert "The cluster 'another' was not found in eu-central-1." in done.stderr
    assert f"Clusters there: {NAME}." in done.stderr
    assert not (tmp_path / "out").exists()


def test_doctor_probes_a_node(aws: Mapping[str, str], tmp_path: Path) -> None:
    cluster = RemoteCluster(tmp_path / "cluster")
    with serve(0, SimulationSettings(speed=0), SystemClock()) as server:
        environ = {**aws, "ANTHROPIC_BASE_URL": server.base_url, "ANTHROPIC_API_KEY": "x"}
        done = orchestrate(tmp_path, "doctor", "--probe", *options(cluster), **environ)
    assert "backend parallelcluster: usable" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
    assert list((cluster.root / "runs").iterdir()) == []
    assert not (tmp_path / ".orchestrator").exists()


# -- how much is asked for


def wide_plan() -> Plan:
    """Tasks that all have the same number of files."""
    whole = build_plan()
    pattern = whole.task("fast-00")
    names = [f"fast-{n:03}" for n in range(TASKS)]
    tasks = tuple(
        pattern.model_copy(
            update={"id": n, "owns": tuple(f"many/{n}-{f:02}.md" for f in range(FILES))}
        )
        for n in names
    )
    criteria = whole.acceptance_criteria[0].model_copy(update={"served_by": (names[0],)})
    return whole.model_copy(update={"tasks": tasks, "acceptance_criteria": (criteria,)})


def quick_setup(place: Path) -> Path:
    """A setup whose python3 is a worker of a moment."""
    place.mkdir()
    python = place / "python3"
    script = ROOT / "tests" / "fakes" / "quick_worker.py"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {script} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    setup = place / "quick.sh"
    setup.write_text(f'export PATH="{place}:$PATH"\n', encoding="utf-8")
    return setup


def test_forty_tasks_take_one_connection_and_one_session_for_each_call(tmp_path: Path) -> None:
    with Sshd.of_its_own(tmp_path / "sshd").running() as sshd:
        check_forty_tasks(tmp_path, sshd)


def check_forty_tasks(tmp_path: Path, sshd: Sshd) -> None:
    more = {"slurm_setup": quick_setup(tmp_path / "bin"), "slurm_mem": "10M"}
    cluster = RemoteCluster(tmp_path / "cluster", sshd, more=more)
    facts = RunFacts("20260101-120000-8888", PROMPT, str(tmp_path / "out"), 0.0, {}, True)
    run = create_run(tmp_path / "work", facts)
    bounds = Bounds(state_s=120, look_every_s=1)
    with aws_with_cluster():
        live = LiveRun(run, wide_plan(), cluster.make, bounds, SystemClock())
        jobs = [live.prepare(task.id) for task in live.plan.tasks]
        rounds, sign_ins = (jobs[:25], jobs[25:]), sshd.sign_ins  # those are of sshd.sh
        assert live.backend.preflight() == []
        assert sshd.sign_ins == sign_ins + 1
        counts = [sshd.sessions]
        handles = []
        for some in rounds:
            handles += live.submit_jobs(*some)
            counts.append(sshd.sessions)
        before = len(live.said)
        assert {s.state for s in live.wait_ended(*handles)} == {JobState.SUCCEEDED}
        polls = (len(live.said) - before) // TASKS
        counts.append(sshd.sessions)
        found = live.backend.collect(handles, run.tasks)
        counts.append(sshd.sessions)
        assert sshd.sign_ins == sign_ins + 1
        live.end()
    assert all(isinstance(result, TaskResult) for result in found.values())
    files = sum(len(r.manifest.entries) for r in found.values() if isinstance(r, TaskResult))
    assert files == TASKS * FILES
    *submits, polled, collect = (after - before for before, after in pairwise(counts))
    assert (submits, collect) == ([1, 1], 1)
    assert 1 <= polls <= polled <= polls + 2, "beside squeue, sinfo is asked once a minute"


def test_a_key_lies_in_a_file_for_its_owner_alone_until_the_end(tmp_path: Path) -> None:
    cluster = RemoteCluster(
        tmp_path / "cluster",
        credentials=Credentials(anthropic_api_key=CANARY),
        more={"real": True, "slurm_setup": quick_setup(tmp_path / "bin")},
    )
    facts = RunFacts("20260101-120000-9999", PROMPT, str(tmp_path / "out"), 0.0, {}, True)
    run = create_run(tmp_path / "work", facts)
    with aws_with_cluster():
        live = LiveRun(run, wide_plan(), cluster.make, Bounds(look_every_s=0.5), SystemClock())
        live.wait_ended(*live.submit("fast-000"))
        [held] = files_holding(tmp_path, CANARY)
        assert cluster.runs()[0] in held.parents
        assert stat.S_IMODE(held.stat().st_mode) == 0o600
        live.end()
    assert files_holding(tmp_path, CANARY) == []
    assert os.listdir(cluster.root / "runs") == []

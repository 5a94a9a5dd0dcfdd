"""Whole runs with `--slurm`, as a person starts them, and what they leave on the cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from claude.simulation.server import serve
from core.bundle import SimulationSettings, build_manifest
from core.clock import SystemClock
from core.job import Manifest
from core.plan import Plan, Task, render_plan
from parallel_task_orchestrator.conformance.live_run import eventually
from tests.engine.repository.repos import git, make_repository
from tests.fakes.plans import make_plan
from tests.fakes.scripted_model import delete, model_that, write
from tests.live.docker_run import ROOT, WHOLE, orchestrate, quiet_environment
from tests.live.existing_code import (
    FAILING,
    MENDED_BY_ONE,
    WISH,
    check_reproduced,
    make_failing,
)
from tests.live.slurm_clusters import service_conf

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(240)]
PROGRAM = (sys.executable, str(ROOT / "orchestrator.py"))
SLURM = ("--slurm", "--slurm-mem", "100M")
OUT = ("--output-dir", "out", "--no-verify")
FAST = ("--sim-speed", "0", "--quiet", "--max-executors", "6", *OUT)
SLOW = ("--sim-speed", "0.05", "--quiet", "--max-executors", "2", *OUT)
SMALL = "Write a script that prints the first ten primes"
KEY = "sk-ant-canary-slurm-5c1d"


def call(place: Path, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return orchestrate(place, [*PROGRAM, *args], SLURM_CONF=str(service_conf()), **environ)


def on_threads(place: Path, *wish: str) -> Manifest:
    """The tree of the same run without a cluster."""
    place.mkdir()
    done = call(place, *wish, *FAST)
    assert done.returncode == 0, done.stderr
    return build_manifest(place / "out")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The tree of SMALL, which has one task."""
    return on_threads(tmp_path_factory.mktemp("threads") / "small", SMALL)


def left_in_queue(place: Path) -> list[str]:
    """Jobs of runs below `place` that wait or run."""
    listing = ["squeue", "-h", "-r", "-t", "PD,R,CG,S", "--me", "-O", "JobID:|,WorkDir:"]
    environ = quiet_environment(SLURM_CONF=str(service_conf()))
    done = subprocess.run(
        listing, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    return [line for line in done.stdout.splitlines() if f"|{place}/" in line]


def test_a_cluster_gives_the_tree_of_threads_and_keeps_nothing(tmp_path: Path) -> None:
    expected = on_threads(tmp_path / "threads", *WHOLE)
    done = call(tmp_path, *WHOLE, *SLURM, *FAST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert build_manifest(tmp_path / "out") == expected
    [run] = (tmp_path / ".orchestrator" / "runs").glob("*/slurm")
    arrays = [path for path in run.iterdir() if (path / "job-ids").exists()]
    assert 1 < len(arrays) < len(list(run.parent.glob("tasks/*"))), "no array was made"
    assert sorted(run.iterdir()) == sorted(arrays), "credentials or code were left"
    assert left_in_queue(tmp_path) == []


def test_a_real_run_over_loopback_gives_the_simulations_tree(
    small: Manifest, tmp_path: Path
) -> None:
    with serve(0, SimulationSettings(speed=0), SystemClock()) as server:
        access = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.base_url}
        done = call(tmp_path, SMALL, *SLURM, *FAST, "--real", **access)
    assert done.returncode == 0, done.stdout + done.stderr
    assert build_manifest(tmp_path / "out") == small
    holding = [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    assert holding == []


def test_checks_run_on_a_node_where_nothing_is_in_their_reach(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.joinpath("key").write_text(KEY)
    with serve(0, SimulationSettings(speed=0), SystemClock()) as server:
        port = urlsplit(server.base_url).port
        connect = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3)"
        hostile = (
            f"cat {home}/key",
            f"touch {tmp_path}/escaped",
            f"grep -rqs {KEY[:12]}.*{KEY[12:]} {tmp_path}/.orchestrator",
            "env | grep ANTHROPIC",
            "cat /proc/*/environ | grep -a ANTHROPIC",
            f'python3 -c "{connect}"',
        )
        plan = make_plan({"a": []})
        task = plan.tasks[0].model_copy(update={"checks": tuple(f"! {c}" for c in hostile)})
        wish = tmp_path / "plan.json"
        wish.write_text(render_plan(plan.model_copy(update={"tasks": (task,)})))
        access = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.base_url}
        access["HOME"] = str(home)
        options = ("--plan", str(wish), "--real", "--output-dir", "out")
        done = call(tmp_path, *SLURM, *options, **access)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "6 of 6 passed, in a sandbox of bubblewrap, as a job of slurm" in said
    assert not (tmp_path / "escaped").exists()
    assert left_in_queue(tmp_path) == []


CHANGED = ("app/sum.py", "app/new.py", "app/old.py")
SHOWS = "test -e LICENSE && ! test -e app/old.py -a -e app/new.py && ! grep -rn BROKEN app"


def test_existing_code_that_collides_is_merged_and_what_fails_is_repaired(tmp_path: Path) -> None:
    """Tasks may leave what they own, and delete it; a repair may delete what a task has written."""
    files = {name: f"{name}\n" for name in ("greet.txt", "LICENSE", "app/sum.py", "app/old.py")}
    repo = make_repository(tmp_path / "repo", files)
    change = (write("greet.txt", "hello from one\n"), delete("app/old.py"))
    spoil = tuple(write(f"app/{name}.py", "BROKEN = 1\n") for name in ("sum", "new"))
    by_task = {
        "one": (*change, *spoil),
        "two": (write("greet.txt", "hello from two\n"),),
        "merge-1": (write("greet.txt", "hello from one and two\n"),),
        "repair-1": (delete("app/new.py"), write("app/sum.py", "SUM = 2\n")),
    }
    one, two = (
        Task(id=name, title=name, instructions="Do it.", owns=owns, checks=checks)
        for name, owns, checks in (
            ("one", ("greet.txt", *CHANGED), (SHOWS,)),
            ("two", ("greet.txt", "LICENSE"), ()),
        )
    )
    plan = Plan(title="Greet", tasks=(one, two), shared=("greet.txt",))
    (tmp_path / "plan.json").write_text(render_plan(plan))
    with model_that(by_task=by_task) as (_, server):
        access = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.url}
        options = ("--plan", "plan.json", "--into", "repo", "--real", "--max-retries", "1")
        done = call(tmp_path, "Greet", *SLURM, *options, **access)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 passed, in a sandbox of bubblewrap, as a job of slurm" in done.stdout
    [branch] = git(repo, "for-each-ref", "--format=%(refname)", "refs/heads/orchestrator").split()
    log = git(repo, "log", "--reverse", "--format=%s", f"main..{branch}").splitlines()
    assert log == ["one", "Merge: Greet", "Repair: Greet"]
    assert git(repo, "ls-tree", "-r", "--name-only", branch).split() == [
        "LICENSE",
        "app/sum.py",
        "greet.txt",
    ]
    assert git(repo, "show", f"{branch}:greet.txt") == "hello from one and two"
    assert git(repo, "show", f"{branch}:app/sum.py") == "SUM = 2"
    git(repo, "fsck", "--strict")
    assert left_in_queue(tmp_path) == []


def test_of_large_code_a_job_gets_a_part_and_the_checks_the_whole(tmp_path: Path) -> None:
    repo = make_repository(tmp_path / "repo", {"app.py": "X = 1\n"})
    blob = git(repo, "hash-object", "-w", "--stdin", stdin=b"one of many\n")
    many = "".join(f"100644 {blob}\tmany/f{n}.txt\n" for n in range(10_001))
    git(repo, "update-index", "--index-info", stdin=many.encode())
    git(repo, "commit", "--quiet", "-m", "many")
    check = "test $(find . -name 'f*.txt' | wc -l) -eq 10001 && grep Simulated app.py"
    task = Task(id="t", title="t", instructions="Do it.", owns=("app.py",), checks=(check,))
    (tmp_path / "plan.json").write_text(render_plan(Plan(title="Change", tasks=(task,))))
    done = call(tmp_path, *WISH, *SLURM, "--no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join((done.stderr + done.stdout).split())
    assert "executors get 1 file of it that the plan needs" in said
    assert "of 10,001 only the names." in said
    assert "1 of 1 passed, in a sandbox of bubblewrap, as a job of slurm" in said
    [run] = (tmp_path / ".orchestrator" / "runs").glob("2*")
    with tarfile.open(run / "base.tar.gz") as archive:
        assert archive.getnames() == ["/unsent.json", "app.py"]
    [branch] = git(repo, "for-each-ref", "--format=%(refname)", "refs/heads/orchestrator").split()
    assert git(repo, "diff", "--name-only", "main", branch) == "app.py"


def test_a_reported_failure_is_tried_once_whatever_kills_the_run(tmp_path: Path) -> None:
    make_failing(tmp_path)
    with begun(tmp_path, *FAILING, *MENDED_BY_ONE, *SLURM) as process:
        process.kill()
        process.wait()
    done = call(tmp_path, "resume", "last", "--no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    check_reproduced(done.stderr + done.stdout, "a sandbox of bubblewrap, as a job of slurm")
    [tried] = tmp_path.glob(".orchestrator/runs/*/tasks/reproduce-1/*")
    assert tried.name == "1", "the job of the killed process was not taken"
    assert left_in_queue(tmp_path) == []


def test_the_probe_finds_what_a_node_cannot_reach_and_leaves_nothing(tmp_path: Path) -> None:
    with serve(0, SimulationSettings(speed=0), SystemClock()) as server:
        access = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.base_url}
        done = call(tmp_path, "doctor", *SLURM, "--probe", "--json", **access)
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    assert [c["message"] for c in checks if c["subject"] == "backend slurm"] == [
        "usable; a test job ran"
    ]
    assert done.returncode == 0, done.stdout
    access["ANTHROPIC_BASE_URL"] = "http://127.0.0.1:9"  # the port for what is thrown away
    done = call(tmp_path, "doctor", *SLURM, "--probe", **access)
    assert done.returncode == 3
    assert "cannot reach 127.0.0.1:9" in " ".join(done.stdout.split())
    assert list(tmp_path.iterdir()) == []
    assert left_in_queue(tmp_path) == []


@cache
def small_plan() -> str:
    """The same for each run, since the planner of a slow simulation is slow too."""
    return orchestrate(ROOT, [*PROGRAM, "plan", SMALL, "--sim-speed", "0", "--json"]).stdout


@contextmanager
def running(place: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A run whose executors take long, once one of them is handed over."""
    (place / "plan.json").write_text(small_plan())
    with begun(place, SMALL, *SLURM, *args, "--plan", "plan.json") as process:
        yield process


@contextmanager
def begun(place: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A run of which a job is handed over."""
    process = subprocess.Popen(
        [*PROGRAM, *args],
        cwd=place,
        env=quiet_environment(SLURM_CONF=str(service_conf())),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            eventually(
                lambda: process.poll() is not None or has_begun(place),
                "a job is handed over",
                within_s=90,
                every_s=0.1,
                clock=SystemClock(),
            )
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            yield process
        finally:
            process.kill()


def has_begun(place: Path) -> bool:
    journals = list(place.glob(".orchestrator/runs/*/journal.jsonl"))
    return any('"job_submitted"' in journal.read_text() for journal in journals)


def test_after_a_kill_clean_says_what_was_left_and_removes_it(tmp_path: Path) -> None:
    with running(tmp_path, *SLOW) as process:
        process.kill()
        process.wait()
    assert left_in_queue(tmp_path), "there was nothing to remove"
    [facts] = tmp_path.glob(".orchestrator/runs/*/run.json")
    listed = call(tmp_path, "clean", facts.parent.name)
    assert "Slurm job " in listed.stdout
    assert left_in_queue(tmp_path), "nothing goes without --yes"
    done = call(tmp_path, "clean", facts.parent.name, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert left_in_queue(tmp_path) == []
    assert not facts.exists()


def test_jobs_of_a_run_whose_directory_is_gone_are_found_by_their_name(tmp_path: Path) -> None:
    later = "--slurm-arg=--begin=now+1hour"  # a job that runs would miss its directory
    with running(tmp_path, *SLOW, later) as process:
        process.kill()
        process.wait()
    [facts] = tmp_path.glob(".orchestrator/runs/*/run.json")
    facts.parent.rename(tmp_path / "moved away")
    listed = call(tmp_path, "clean", "--backend", "slurm")
    assert facts.parent.name in listed.stdout
    done = call(tmp_path, "clean", "--backend", "slurm", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    eventually(
        lambda: left_in_queue(tmp_path) == [],
        "the jobs are gone",
        within_s=60,
        every_s=0.5,
        clock=SystemClock(),
    )


def test_after_a_kill_resume_takes_the_jobs_up_again(small: Manifest, tmp_path: Path) -> None:
    with running(tmp_path, *SLOW[2:], "--sim-speed", "10") as process:
        process.kill()
        process.wait()
    assert left_in_queue(tmp_path)
    done = call(tmp_path, "resume", "last", "--sim-speed", "0", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert build_manifest(tmp_path / "out") == small
    events = [json.loads(line) for line in done.stdout.splitlines()]
    ended = [(e["task"], e["attempt"]) for e in events if e["kind"] == "job_ended"]
    assert [attempt for _, attempt in ended] == [1], "the job of the killed process was not taken"
    assert left_in_queue(tmp_path) == []

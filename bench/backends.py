"""The same run on every backend, beside each other: how long it takes, how long finished work lies
idle, and what the backend is asked for meanwhile.

The whole program is started, as a person does it, on the services of the tests (tests/services):
a Docker Engine, Slurm, an AWS on loopback, and a head node behind sshd. `idle` is from the moment
that a result was stored to the scheduler's knowing it, and `next` on to a task that was handed over
because of that; `start` is the least time from a task's intent to its stored result at
`--sim-speed 0`, where the work takes nothing: a worker's own start. The calls are counted on their
way: requests to the engine, commands of Slurm, calls to AWS but those of workers, ssh sessions.

    python -m bench.backends [--on threads docker slurm batch parallelcluster] [--speeds 0 1]
                             [--repeat 2] [--program ../before/orchestrator.py] [--quiet]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from moto.server import ThreadedMotoServer

from backends.docker.connection import open_engine
from backends.docker.container import ATTEMPT, TASK
from tests.fakes.aws_calls import Call
from tests.fakes.strict_aws import cloud
from tests.live.docker_run import quiet_environment
from tests.live.remote_cluster import NAME, REGION, RemoteCluster, Sshd, add_head_node, aws_client
from tests.live.slurm_clusters import service_conf

PROMPT = "Build a todo list app with add/delete/complete"
SLURM_COMMANDS = ("squeue", "sacct", "sbatch", "scontrol", "scancel", "sinfo")
BY_WORKERS = re.compile(r"PutObject .*/(claims|results)/|GetObject .*/(requests|claims)/")
REQUEST_LINE = re.compile(rb"^(GET|POST|PUT|DELETE|HEAD) (?:/v[0-9.]+)?(/\w+)(?:/[^/ ?]+)?(/\w+)?")
LOOK_S = 0.02
SAME_ROUND_S = 0.5
"""So soon after an end, what starts does so because of it."""
WAITS = attrgetter("idle_s"), attrgetter("next_s")


@dataclass
class Place:
    """A backend for one run: what the program gets, and what was seen meanwhile.

    `stored` is when (time.time) each attempt's result was there, by task and attempt."""

    options: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    stored: dict[tuple[str, int], float] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)


@contextmanager
def on_threads(place: Path, image: str) -> Iterator[Place]:  # noqa: ARG001 - as the others
    found = Place()
    with results_below(found, place / ".orchestrator" / "runs"):
        yield found


@contextmanager
def on_docker(place: Path, image: str) -> Iterator[Place]:
    address = str(place / "engine.sock")
    options = ("--docker", "--docker-image", image, "--docker-network", "none")
    found = Place((*options, "--docker-memory", "512m"), {"DOCKER_HOST": f"unix://{address}"})
    engine = open_engine(dict(os.environ))
    stream = engine.events(filters={"type": "container", "event": ["die"]}, decode=True)

    def hear() -> None:
        for event in stream:
            labels = event["Actor"]["Attributes"]
            if TASK in labels:
                found.stored[labels[TASK], int(labels[ATTEMPT])] = event["timeNano"] / 1e9

    threading.Thread(target=hear, daemon=True).start()
    with counting_engine(address, found.calls):
        yield found
    stream.close()


@contextmanager
def on_slurm(place: Path, image: str) -> Iterator[Place]:  # noqa: ARG001 - as the others
    log = counted_commands(place / "bin")
    environ = {"SLURM_CONF": str(service_conf()), "PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
    found = Place(("--slurm", "--slurm-mem", "100M"), environ)
    with results_below(found, place / ".orchestrator" / "runs"):
        yield found
    found.calls += Counter(log.read_text().split())


@contextmanager
def on_batch(place: Path, image: str) -> Iterator[Place]:  # noqa: ARG001 - as the others
    with cloud(f"bench-{secrets.token_hex(4)}", image, dict(os.environ)) as made:
        options = ("--batch", "--batch-job-queue", made.queue, "--batch-s3-bucket", made.bucket)
        found = Place((*options, "--batch-job-definition", made.definition), made.environ)

        def hear(call: Call) -> None:
            if call.action == "PutObject" and "/results/" in call.path:
                task, attempt = call.path.split("/")[-2:]
                found.stored[task, int(attempt)] = time.time()

        made.aws.after = hear
        before = len(made.aws.calls)
        yield found
        for call in made.aws.calls[before:]:
            if not BY_WORKERS.match(f"{call.action} {call.path}"):
                found.calls[call.action] += 1


@contextmanager
def on_parallelcluster(place: Path, image: str) -> Iterator[Place]:  # noqa: ARG001 - as the others
    log = counted_commands(place / "bin")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    aws = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", **keys}
    add_head_node(aws_client(aws), NAME)
    cluster = RemoteCluster(place / "cluster", Sshd.of_its_own(place / "sshd", str(place / "bin")))
    given = cluster.options()
    options = ("--parallelcluster", "--aws-cluster-name", NAME, "--aws-region", REGION)
    shared = ("--aws-shared-dir", str(cluster.shared), "--slurm-setup", str(given["slurm_setup"]))
    more = ("--slurm-partition", "debug", "--slurm-mem", "100M")
    with cluster.sshd.running() as sshd:
        found = Place((*options, *shared, *more), {**aws, **sshd.environ()})
        before = sshd.sessions
        with results_below(found, cluster.root / "runs"):
            yield found
        found.calls += Counter(log.read_text().split())
        found.calls["ssh session"] = sshd.sessions - before
    server.stop()


PLACES: dict[str, Callable[[Path, str], Any]] = {
    "threads": on_threads,
    "docker": on_docker,
    "slurm": on_slurm,
    "batch": on_batch,
    "parallelcluster": on_parallelcluster,
}


@contextmanager
def results_below(found: Place, runs: Path) -> Iterator[None]:
    """Sees results on a disk as they come, since what is on a cluster is removed at the end."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_S):
            for path in runs.glob("*/tasks/*/*/result/result.json"):
                key = path.parts[-4], int(path.parts[-3])
                if key not in found.stored:
                    with suppress(OSError):
                        found.stored[key] = path.stat().st_mtime

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def counted_commands(folder: Path) -> Path:
    """Slurm's commands in `folder`, each of which leaves its name in the log that is returned."""
    folder.mkdir()
    log = folder / "log"
    log.touch()
    for name in SLURM_COMMANDS:
        if real := shutil.which(name):
            script = folder / name
            script.write_text(f'#!/bin/sh\necho {name} >>{log}\nexec {real} "$@"\n')
            script.chmod(0o755)
    return log


@contextmanager
def counting_engine(address: str, calls: Counter[str]) -> Iterator[None]:
    """The engine at another socket, on which requests are counted by what they ask for."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)

    def pass_on(source: socket.socket, sink: socket.socket, *, count: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if count and (found := REQUEST_LINE.match(data)):
                    calls[b"".join(part or b"" for part in found.groups()).decode()] += 1
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect("/var/run/docker.sock")
                for source, sink, count in ((client, engine, True), (engine, client, False)):
                    one = threading.Thread(
                        target=pass_on, args=(source, sink), kwargs={"count": count}, daemon=True
                    )
                    one.start()

    threading.Thread(target=accept, daemon=True).start()
    yield
    listener.close()


@dataclass(frozen=True)
class Run:
    """Seconds of one run."""

    wall_s: float
    starts_s: list[float]
    idle_s: list[float]
    next_s: list[float]
    chain: int
    """Jobs of the longest chain."""
    calls: Counter[str]


def measure(where: str, speed: str, asked: argparse.Namespace) -> Run:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="b-", dir="/tmp")))
        os.chmod(folder, 0o755)
        place = stack.enter_context(PLACES[where](folder, asked.image))
        how = ("--max-executors", str(asked.executors), "--sim-speed", speed, *asked.more)
        done = subprocess.run(
            [sys.executable, asked.program, PROMPT, *how, "--output-dir", "out", *place.options],
            cwd=folder,
            env={**quiet_environment(), **place.environ},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        [journal] = folder.glob(".orchestrator/runs/*/journal.jsonl")
        [plan] = folder.glob(".orchestrator/runs/*/plan.json")
        events = [json.loads(line) for line in journal.read_text().splitlines()]
        needs = {t["id"]: t["depends_on"] for t in json.loads(plan.read_text())["tasks"]}
    return read_run(events, needs, place)


def read_run(events: list[dict[str, Any]], needs: dict[str, list[str]], place: Place) -> Run:
    at: dict[str, dict[str, float]] = {}
    for event in events:
        at.setdefault(event["kind"], {})[event["task"]] = event["at"]
    stored = {task: when for (task, _), when in place.stored.items()}
    ended, handed = at["job_ended"], at["job_submitted"]
    nexts = []
    for task, intended in at["job_intended"].items():
        before = {when: name for name, when in ended.items() if when <= intended}
        if before and intended - max(before) < SAME_ROUND_S:
            nexts.append(handed[task] - stored[before[max(before)]])

    def chain(task: str) -> int:
        return 1 + max(map(chain, needs[task]), default=0)

    return Run(
        at["run_ended"][""] - at["run_started"][""],
        [stored[task] - at["job_intended"][task] for task in stored],
        [ended[task] - stored[task] for task in stored],
        nexts,
        max(map(chain, needs)),
        place.calls,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--on", nargs="+", choices=PLACES, default=list(PLACES))
    parser.add_argument("--speeds", nargs="+", default=["0", "1"])
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--executors", type=int, default=5)
    parser.add_argument("--image", default="parallel-orchestrator:slim")
    parser.add_argument("--program", default=str(Path(__file__).parents[1] / "orchestrator.py"))
    parser.add_argument("--quiet", dest="more", action="store_const", const=["--quiet"], default=[])
    asked = parser.parse_args()
    print("speed backend           run s  start s chain  idle: median, most  next: median, most")
    for speed in asked.speeds:
        for where in asked.on:
            runs = [measure(where, speed, asked) for _ in range(asked.repeat)]
            best = min(runs, key=lambda run: run.wall_s)
            idle, nexts = ([s for run in runs for s in of(run)] for of in WAITS)
            shown = " ".join(
                f"{statistics.median(some):>9.2f} {max(some):>7.2f}" for some in (idle, nexts)
            )
            start = min(s for run in runs for s in run.starts_s)
            head = f"{speed:>5} {where:<16} {best.wall_s:>6.1f} {start:>8.2f} {best.chain:>5}"
            print(f"{head} {shown}   load {os.getloadavg()[0]:.1f}")
            print(f"      {best.calls.total()} calls: {dict(best.calls.most_common())}", flush=True)


if __name__ == "__main__":
    main()

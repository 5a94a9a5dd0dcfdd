"""What the Docker backend costs a job beyond its worker's own time, next to a bare `docker run`.

The same image, command and bundle for both: a worker that leaves a result at once. Its own time,
from start to die in the engine's events, is subtracted. The goal: at most 2 times what
`docker run --rm` takes, at 1, 4 and 8 jobs at once.

    python -m bench.docker_overhead [--image IMAGE] [--rounds 5] [--at-once 1 4 8] [--steps]

--steps shows where the backend's time goes, call by call. Needs the image of this program.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import tarfile
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.errors import APIError

from backends.base import BackendContext
from backends.docker.client import DockerHost
from backends.docker.connection import open_engine
from backends.docker.container import BUNDLE, VOLUME, WORKER_UID, RunLabels
from backends.docker_backend import DockerBackend
from backends.shared.worker_image import CODE_DIR
from core.bundle import AttemptDir, Limits, ModelSettings, SimulationSettings
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.errors import BackendError
from core.job import Job, JobHandle, JobKey, TaskResult
from engine.run.attempt_store import DiskStore, write_contracts
from engine.run.rundir import RunDir, RunFacts, create_run
from tests.fakes.plans import make_plan

RUN = "20260101-120000-be7c"
BENCH_IMAGE = "parallel-orchestrator-bench:overhead"
COMMAND = ["python", f"{CODE_DIR}/docker_executor.py", f"{VOLUME}/{BUNDLE}"]
# Reads the bundle as a worker does, and leaves a whole result without having done anything.
WORKER = """\
import json, os, sys
place = sys.argv[1]
key = json.load(open(place + "/request/task.json"))["key"]
os.makedirs(place + "/result", exist_ok=True)
print(json.dumps({"kind": "progress", "text": "done"}), flush=True)
with open(place + "/result/result.json", "w") as result:
    json.dump({"key": key, "outcome": "REFUSED", "message": "bench"}, result)
"""


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds of one job: from the call to its result, and of that the worker's own."""

    total_s: float
    own_s: float

    @property
    def beyond_s(self) -> float:
        return self.total_s - self.own_s


class TimedHost(DockerHost):
    """Keeps how long each kind of call took."""

    def __init__(self, spent: dict[str, list[float]]) -> None:
        super().__init__(dict(os.environ))
        self._spent = spent
        for name in ("create", "put", "start", "inspect", "containers", "log", "remove"):
            setattr(self, name, self._timed(name, getattr(self, name)))

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **more: Any) -> Any:
            begun = time.perf_counter()
            try:
                return call(*args, **more)
            finally:
                self._spent[name].append(time.perf_counter() - begun)

        return timed

    @contextmanager
    def archive(self, container: str, path: str) -> Iterator[Iterator[bytes] | None]:
        begun = time.perf_counter()
        with super().archive(container, path) as chunks:
            yield chunks
        self._spent["archive"].append(time.perf_counter() - begun)


class OwnTimes:
    """Hears from the engine how long each container ran, by its name."""

    def __init__(self) -> None:
        self._engine = open_engine(dict(os.environ))
        self._started: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        filters = {"type": "container", "event": ["start", "die"]}
        self._stream = self._engine.events(filters=filters, decode=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for event in self._stream:
            name, at = event["Actor"]["Attributes"]["name"], event["timeNano"]
            if event["Action"] == "start":
                self._started[name] = at
            elif name in self._started:
                self.seconds[name] = (at - self._started[name]) / 1e9

    def of(self, name: str) -> float:
        while name not in self.seconds:
            time.sleep(0.005)
        return self.seconds[name]


def make_image(image: str) -> None:
    """The image with another docker_executor.py in the place of ours."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        member = tarfile.TarInfo("docker_executor.py")
        member.size, member.mode = len(WORKER), 0o644
        tar.addfile(member, io.BytesIO(WORKER.encode()))
    stream.seek(0)
    host = DockerHost(dict(os.environ))
    container = host.create(f"bench-{os.getpid()}", {"Image": image, "Cmd": COMMAND})
    try:
        host.put(container, CODE_DIR, stream)
        name, _, tag = BENCH_IMAGE.partition(":")
        with open_engine_of() as engine:
            engine.commit(container, name, tag)
    finally:
        host.remove(container)
        host.close()


@contextmanager
def open_engine_of() -> Iterator[Any]:
    engine = open_engine(dict(os.environ))
    try:
        yield engine
    finally:
        engine.close()


def bare(jobs: Sequence[Job], own: OwnTimes) -> list[Timed]:
    """One `docker run --rm` a job, all at once, the bundle in a bind mount."""

    def run(job: Job) -> Timed:
        name = f"bench-{job.key.task}-{job.key.attempt}-{os.getpid()}"
        for path in [job.attempt_dir, *job.attempt_dir.rglob("*")]:
            os.chown(path, WORKER_UID, WORKER_UID)
        mount = f"{job.attempt_dir}:{VOLUME}/{BUNDLE}"
        options = ["--rm", "--name", name, "--network", "none", "-v", mount, "--entrypoint", ""]
        command = ["docker", "run", *options, BENCH_IMAGE, *COMMAND]
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        total_s = time.perf_counter() - begun
        assert AttemptDir(job.attempt_dir).result_json.exists()
        return Timed(total_s, own.of(name))

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def with_backend(
    backend: DockerBackend, run: RunDir, jobs: Sequence[Job], own: OwnTimes
) -> list[Timed]:
    """Submit, wait for the wake, poll and collect, as the scheduler does."""
    woken, done = threading.Event(), dict[JobKey, float]()
    backend.on_change(lambda *_: woken.set())
    begun = time.perf_counter()
    handles = {h.key: h for h in backend.submit(jobs) if isinstance(h, JobHandle)}
    assert len(handles) == len(jobs)
    while waiting := [h for key, h in handles.items() if key not in done]:
        woken.wait(backend.pace.first_s)
        woken.clear()
        states = backend.poll(waiting)
        if ended := [h for h in waiting if states[h.key].state.final]:
            for key, result in backend.collect(ended, run.tasks).items():
                assert isinstance(result, TaskResult), result
                done[key] = time.perf_counter()
    home = RunLabels.of(run.root)
    return [Timed(at - begun, own.of(home.job_name(key))) for key, at in done.items()]


def measure(
    at_once: int, rounds: int, place: Path, own: OwnTimes, spent: dict[str, list[float]]
) -> tuple[list[Timed], list[Timed]]:
    """The jobs of both ways, in turns, so that a busy moment hits both."""
    facts = RunFacts(RUN, "bench", str(place / "out"), 0.0, {}, True)
    run = create_run(place / f"work-{at_once}", facts)
    plan = make_plan({f"j{n}": [] for n in range(at_once)})
    write_contracts(run, plan.contracts)
    store = DiskStore(
        run, plan, "bench", ModelSettings(simulation=SimulationSettings(speed=0)), Limits()
    )

    def prepare(number: int) -> list[Job]:
        return [store.prepare(t, JobKey(RUN, t.id, number), "", {}) for t in plan.tasks]

    options = {"docker_image": BENCH_IMAGE, "docker_network": "none"}
    context = BackendContext(
        run.root, Credentials(), SystemClock(), _no_work, options, dict(os.environ)
    )
    backend = DockerBackend.build(context)
    backend._host = TimedHost(spent)
    bare_times: list[Timed] = []
    backend_times: list[Timed] = []
    try:
        with_backend(backend, run, prepare(1), own)  # connections and caches
        spent.clear()
        for number in range(2, 2 * rounds + 2, 2):
            bare_times += bare(prepare(number), own)
            backend_times += with_backend(backend, run, prepare(number + 1), own)
    finally:
        backend.cleanup(RUN)
        backend.close()
    return bare_times, backend_times


def _no_work(attempt: AttemptDir, claimant: str, clock: Clock) -> None:  # noqa: ARG001 - a Worker
    raise AssertionError("no job runs in this process")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--image", default="parallel-orchestrator:slim")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--steps", action="store_true", help="where the backend's time goes")
    asked = parser.parse_args()
    try:
        make_image(asked.image)
    except (BackendError, APIError) as exc:
        print(f"Left out, since it needs a Docker Engine and {asked.image}: {exc}")
        return
    own = OwnTimes()
    print("at once  bare run     own   backend     own   beyond: bare, backend")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        for at_once in asked.at_once:
            spent: dict[str, list[float]] = defaultdict(list)
            bare_times, times = measure(at_once, asked.rounds, Path(directory), own, spent)
            print_line(at_once, bare_times, times)
            if asked.steps:
                print_steps(spent)


def print_line(at_once: int, bare_times: list[Timed], times: list[Timed]) -> None:
    def median(of: list[Timed], field: str) -> float:
        return float(statistics.median(getattr(timed, field) for timed in of))

    one, other = median(bare_times, "beyond_s"), median(times, "beyond_s")
    columns = [(bare_times, "total_s"), (bare_times, "own_s"), (times, "total_s"), (times, "own_s")]
    shown = "".join(f" {median(of, field):>7.2f} s" for of, field in columns)
    print(f"{at_once:>7}{shown} {one:>12.2f} s {other:>6.2f} s {other / one:>6.2f} x", flush=True)


def print_steps(spent: dict[str, list[float]]) -> None:
    for name, times in spent.items():
        print(f"{name:>18} {len(times):>4} times, median {statistics.median(times) * 1000:6.1f} ms")


if __name__ == "__main__":
    main()

"""What the Slurm backend costs, next to a hand-written job array and to submitit on the same Slurm.

The same work for all three: a Python that reads a bundle and leaves a result at once. A figure is
the time from handing the jobs over to having all results proven (backend), unpickled (submitit) or
seen on disk (array, looked at every 20 ms, which is the least that anybody can wait).

    python -m bench.slurm_overhead [--partition NAME] [--rounds 5] [--at-once 1 8 32] [--mem 100M]

Needs a Slurm whose nodes share this machine's temporary directory, or --place on one that they do.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from backends.base import BackendContext
from backends.slurm_backend import SlurmBackend
from core.bundle import AttemptDir, Limits, ModelSettings, SimulationSettings
from core.clock import Clock, SystemClock
from core.credentials import Credentials
from core.errors import BackendError
from core.job import Job, JobHandle, JobKey, TaskResult
from engine.run.attempt_store import DiskStore, write_contracts
from engine.run.rundir import RunDir, RunFacts, create_run
from tests.fakes.plans import make_plan

LOOK_S = 0.02
# Finds its attempt as batch_executor.py does, and leaves a whole result without having done more.
WORKER = """\
import json, os, sys
batch, place = sys.argv[1], int(sys.argv[2])
attempt = json.load(open(batch + "/index.json"))["attempts"][place]
place = os.path.join(batch, "..", "..", attempt)
key = json.load(open(place + "/request/task.json"))["key"]
os.makedirs(place + "/result", exist_ok=True)
with open(place + "/result/part", "w") as result:
    json.dump({"key": key, "outcome": "REFUSED", "message": "bench"}, result)
os.rename(place + "/result/part", place + "/result/result.json")
"""


def leave_result(place: str) -> str:
    """What WORKER does, as a function for submitit."""
    with open(f"{place}/request/task.json") as request:
        key = json.load(request)["key"]
    os.makedirs(f"{place}/result", exist_ok=True)
    with open(f"{place}/result/part", "w") as result:
        json.dump({"key": key, "outcome": "REFUSED", "message": "bench"}, result)
    os.rename(f"{place}/result/part", f"{place}/result/result.json")
    return place


def by_array(place: Path, jobs: Sequence[Job], wishes: Sequence[str]) -> None:
    """One sbatch of a script as people write it."""
    batch = place / "slurm" / f"array-{jobs[0].key.attempt}"
    batch.mkdir(parents=True)
    attempts = [str(job.attempt_dir.relative_to(place)) for job in jobs]
    (batch / "index.json").write_text(json.dumps({"attempts": attempts}))
    (batch / "worker.py").write_text(WORKER)
    python, folder = shlex.quote(sys.executable), shlex.quote(str(batch))
    script = batch / "job.sh"
    script.write_text(
        f'#!/bin/bash\nexec {python} {folder}/worker.py {folder} "$SLURM_ARRAY_TASK_ID"\n'
    )
    array, log = f"--array=0-{len(jobs) - 1}", f"--output={batch}/%a.log"
    command = ["sbatch", "--parsable", array, log, *wishes, str(script)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    results = [AttemptDir(job.attempt_dir).result_json for job in jobs]
    while not all(path.exists() for path in results):
        time.sleep(LOOK_S)


def by_submitit(place: Path, jobs: Sequence[Job], asked: argparse.Namespace) -> None:
    import submitit

    logging.getLogger("submitit").setLevel(logging.ERROR)  # it misses sacct where there is none
    executor = submitit.AutoExecutor(folder=place / "submitit", cluster="slurm")
    partition = {"slurm_partition": asked.partition} if asked.partition else {}
    executor.update_parameters(
        slurm_mem=asked.mem, timeout_min=10, slurm_use_srun=False, **partition
    )
    submitted = executor.map_array(leave_result, [str(job.attempt_dir) for job in jobs])
    for job in submitted:
        job.result()


def by_backend(backend: SlurmBackend, run: RunDir, jobs: Sequence[Job]) -> None:
    """Submit, wait for the wake or the pace, poll and collect, as the scheduler does."""
    woken = threading.Event()
    backend.on_change(lambda *_: woken.set())
    handles = [h for h in backend.submit(jobs) if isinstance(h, JobHandle)]
    assert len(handles) == len(jobs)
    pause_s = backend.pace.first_s
    while handles:
        woken.wait(pause_s)
        woken.clear()
        states = backend.poll(handles)
        ended = [h for h in handles if states[h.key].state.final]
        for result in backend.collect(ended, run.tasks).values():
            assert isinstance(result, TaskResult), result
        handles = [h for h in handles if not states[h.key].state.final]
        pause_s = backend.pace.first_s if ended else min(backend.pace.most_s, pause_s * 2)


class Bench:
    """A run directory with bundles, and the three ways to have them worked on."""

    def __init__(self, place: Path, at_once: int, asked: argparse.Namespace) -> None:
        self._asked = asked
        run_id = f"20260101-120000-{at_once:04x}"
        facts = RunFacts(run_id, "bench", str(place / "out"), 0.0, {}, True)
        self._run = create_run(place / f"work-{at_once}", facts)
        self._plan = make_plan({f"j{n}": [] for n in range(at_once)})
        write_contracts(self._run, self._plan.contracts)
        model = ModelSettings(simulation=SimulationSettings(speed=0))
        self._store = DiskStore(self._run, self._plan, "bench", model, Limits())
        options = {"slurm_partition": asked.partition, "slurm_mem": asked.mem}
        environ = dict(os.environ)
        self.backend = SlurmBackend.build(
            BackendContext(self._run.root, Credentials(), SystemClock(), _no_work, options, environ)
        )
        code = Path(self.backend._host.worker_code())
        code.mkdir(parents=True)
        (code / "batch_executor.py").write_text(WORKER)
        self._attempt = 0

    def ways(self) -> dict[str, Callable[[Sequence[Job]], None]]:
        asked, root = self._asked, self._run.root
        wishes = [f"--mem={asked.mem}", *([f"-p{asked.partition}"] if asked.partition else [])]
        return {
            "array": lambda jobs: by_array(root, jobs, wishes),
            "submitit": lambda jobs: by_submitit(root, jobs, asked),
            "backend": lambda jobs: by_backend(self.backend, self._run, jobs),
        }

    def prepare(self) -> list[Job]:
        self._attempt += 1
        return [
            self._store.prepare(task, JobKey(self._run.run_id, task.id, self._attempt), "", {})
            for task in self._plan.tasks
        ]

    def measure(self, rounds: int) -> dict[str, float]:
        """The median seconds of each way, in turns, so that a busy moment hits all."""
        times: dict[str, list[float]] = {name: [] for name in self.ways()}
        for number in range(rounds + 1):
            for name, way in self.ways().items():
                jobs = self.prepare()
                begun = time.perf_counter()
                way(jobs)
                if number:  # the first is for caches
                    times[name].append(time.perf_counter() - begun)
        return {name: statistics.median(found) for name, found in times.items()}


def _no_work(attempt: AttemptDir, claimant: str, clock: Clock) -> Any:  # noqa: ARG001 - a Worker
    raise AssertionError("no job runs in this process")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--partition", default="")
    parser.add_argument("--mem", default="100M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--place", type=Path, help="a directory that the nodes share")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.place) as directory:
        print("jobs      array   submitit    backend   a job beyond the array: submitit, backend")
        for at_once in asked.at_once:
            bench = Bench(Path(directory), at_once, asked)
            try:
                if problems := bench.backend.preflight():
                    print(f"Left out, since it needs a Slurm: {problems[0].what}")
                    return
                found = bench.measure(asked.rounds)
            except BackendError as exc:
                print(f"Left out: {exc}")
                return
            finally:
                bench.backend.close()
            beyond = {n: (found[n] - found["array"]) / at_once for n in ("submitit", "backend")}
            print(
                f"{at_once:>4}"
                + "".join(f" {found[n]:>8.2f} s" for n in ("array", "submitit", "backend"))
                + "".join(f" {beyond[n] * 1000:>11.0f} ms" for n in beyond),
                flush=True,
            )


if __name__ == "__main__":
    main()

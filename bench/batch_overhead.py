"""What the AWS Batch backend costs: calls to AWS and time, by task, for few and many jobs at once.

The jobs go through the real backend and boto3's real client to the AWS of the tests, in this
process. Workers leave a result at once, and their time is left out. Each call of the orchestrator
takes --latency more, as a network would make it, so that what is done side by side shows.

    python -m bench.batch_overhead [--at-once 1 8 32 500] [--rounds 3] [--latency 30] [--calls]

--calls lists the calls of the last round by their names. Needs the development packages, no AWS.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.bundle import Limits, ModelSettings, SimulationSettings
from core.clock import SystemClock
from core.job import Job, JobHandle, JobKey, TaskResult
from engine.run.attempt_store import DiskStore, write_contracts
from engine.run.rundir import RunFacts, create_run
from tests.fakes.aws import FakeAws, InlineRunner, leave_result
from tests.fakes.aws_calls import Call
from tests.fakes.batch_run import backend_on, site_of
from tests.fakes.plans import make_plan
from tests.fakes.strict_batch import NativeJob, StrictBatch


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of each step, and who called what how often."""

    submit_s: float
    poll_s: float
    collect_s: float
    calls: Counter[str]
    worker_calls: Counter[str]

    @property
    def total_s(self) -> float:
        return self.submit_s + self.poll_s + self.collect_s


class TimedRunner(InlineRunner):
    """Runs workers while SubmitJob is answered, and knows how long that took."""

    def __init__(self, aws: FakeAws) -> None:
        super().__init__(aws, leave_result, lazy=False)
        self.busy_s = 0.0
        aws.runner, aws.batch = self, StrictBatch(self)

    def start(self, job: NativeJob) -> str:
        begun = time.perf_counter()
        try:
            return super().start(job)
        finally:
            self.busy_s += time.perf_counter() - begun


class Bench:
    """A run directory, its plan, and an AWS at a distance of `latency_s`."""

    def __init__(self, place: Path, at_once: int, latency_s: float) -> None:
        facts = RunFacts(f"20260101-120000-{at_once:04x}", "bench", str(place), 0.0, {}, True)
        self._run = create_run(place / f"work-{at_once}", facts)
        self._plan = make_plan({f"j{n}": [] for n in range(at_once)})
        write_contracts(self._run, self._plan.contracts)
        model = ModelSettings(simulation=SimulationSettings(speed=0))
        self._store = DiskStore(self._run, self._plan, "bench", model, Limits())
        self._latency_s = latency_s
        self._attempt = 0

    def measure(self) -> Round:
        """One submission of all, until all results are proven; each round by a new backend, as of
        another process, and on an empty AWS."""
        self._attempt += 1
        jobs, aws = self._prepared(), FakeAws()
        workers = TimedRunner(aws)
        aws.after = self._far
        backend = backend_on(aws, site_of(self._run.root, SystemClock()))
        begun = time.perf_counter()
        handles = [h for h in backend.submit(jobs) if isinstance(h, JobHandle)]
        submitted = time.perf_counter()
        states = backend.poll(handles)
        polled = time.perf_counter()
        results = backend.collect(handles, self._run.tasks)
        collected = time.perf_counter()
        backend.close()
        assert len(handles) == len(jobs)
        assert all(status.state.final for status in states.values()), states
        assert all(isinstance(result, TaskResult) for result in results.values()), results
        return Round(
            submitted - begun - workers.busy_s,
            polled - submitted,
            collected - polled,
            Counter(call.action for call in aws.calls if not call.by_worker),
            Counter(call.action for call in aws.calls if call.by_worker),
        )

    def _prepared(self) -> list[Job]:
        run = self._run.run_id
        return [
            self._store.prepare(task, JobKey(run, task.id, self._attempt), "", {})
            for task in self._plan.tasks
        ]

    def _far(self, call: Call) -> None:
        if not call.by_worker:
            time.sleep(self._latency_s)


def print_line(at_once: int, rounds: Sequence[Round]) -> None:
    def median(field: str) -> float:
        return float(statistics.median(getattr(one, field) for one in rounds))

    last = rounds[-1]
    steps = "".join(f" {median(f):>7.2f} s" for f in ("submit_s", "poll_s", "collect_s"))
    each_ms = median("total_s") / at_once * 1000
    ours, theirs = last.calls.total() / at_once, last.worker_calls.total() / at_once
    print(f"{at_once:>4}{steps} {each_ms:>8.1f} ms {ours:>8.2f} {theirs:>8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8, 32, 500])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=30.0, help="milliseconds of each call")
    parser.add_argument("--calls", action="store_true", help="which calls were made")
    asked = parser.parse_args()
    print("jobs    submit      poll   collect        a task    calls a task: ours, its worker's")
    with tempfile.TemporaryDirectory() as directory:
        for at_once in asked.at_once:
            bench = Bench(Path(directory), at_once, asked.latency / 1000)
            bench.measure()  # for caches
            rounds = [bench.measure() for _ in range(asked.rounds)]
            print_line(at_once, rounds)
            if asked.calls:
                print(f"     ours: {dict(rounds[-1].calls)}")
                print(f"     workers': {dict(rounds[-1].worker_calls)}")


if __name__ == "__main__":
    main()

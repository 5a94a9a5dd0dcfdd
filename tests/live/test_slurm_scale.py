"""Thirty tasks with thirty executors on a real Slurm: what its controller is asked.

Scheduler, backend, arrays and Slurm are real. The jobs' python3 comes from a setup file and does
what a worker does with the bundle (claim, files, manifest, result), without asking a model: so
many whole workers at once would keep a machine of two cores busy for long.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from backends.slurm.host import CommandResult, run_command
from core.bundle import SimulationSettings
from core.events import Broadcast
from core.job import TaskState
from engine.run.journal import Journal
from engine.scheduling.calls import ThreadedCalls
from engine.scheduling.retry_policy import RetryPolicy
from engine.scheduling.scheduler import Scheduler
from engine.scheduling.types import Pacing, RunOutcome
from tests.fakes.plans import make_plan
from tests.live.slurm_clusters import Cluster, service_conf
from tests.live.slurm_run import SlurmRun, slurm_run

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

TASKS = 30
WORKER = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]).parent))
from core.bundle import build_manifest, claim, read_request, write_result
from core.job import Outcome, TaskResult
from core.worker.job_index import BatchDir, read_index
batch = BatchDir(Path(sys.argv[2]))
attempt = batch.attempt(read_index(batch), int(sys.argv[3]))
assert claim(attempt, sys.argv[4])
request = read_request(attempt)
for name in request.task.owns:
    (attempt.files / name).mkdir(parents=True)
    (attempt.files / name / "done.txt").write_text(str(request.key))
manifest = build_manifest(attempt.files)
write_result(attempt, TaskResult(request.key, Outcome.OK, "It is done.", manifest=manifest))
"""


class CountingRun:
    """Runs commands, and keeps what was run."""

    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []

    def __call__(
        self, command: Sequence[str], environ: Mapping[str, str], stdin: str
    ) -> CommandResult:
        self.commands.append(command)
        return run_command(command, environ=environ, stdin=stdin)

    def count(self) -> Counter[str]:
        return Counter(command[0] for command in self.commands)


def run_wide(live: SlurmRun) -> RunOutcome:
    """The plan of `live`, with an executor for each task."""
    calls, journal = ThreadedCalls(live.clock), Journal(live.run.journal)
    scheduler = Scheduler(
        live.run.run_id,
        live.plan,
        backend=live.backend,
        store=live.store(SimulationSettings(speed=0)),
        sink=Broadcast([journal]),
        calls=calls,
        clock=live.clock,
        policy=RetryPolicy(1, random.Random(0)),
        pacing=Pacing(max_executors=TASKS),
        commit=journal.commit,
    )
    try:
        return scheduler.run()
    finally:
        calls.close()
        journal.close()


def light_setup(place: Path) -> Path:
    """A setup file whose python3 runs WORKER."""
    program, python = place / "worker.py", place / "bin" / "python3"
    python.parent.mkdir()
    program.write_text(WORKER)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -E "{program}" "$@"\n')
    python.chmod(0o755)
    setup = place / "setup.sh"
    setup.write_text(f"export PATH={python.parent}:$PATH\n")
    return setup


@pytest.mark.timeout(300)
def test_what_slurm_is_asked_grows_with_rounds_and_time_and_not_with_tasks(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    first = [f"fast-{n:03}" for n in range(TASKS - 1)]
    plan = make_plan({**dict.fromkeys(first, ()), "last": first})
    counting, options = CountingRun(), {"slurm_setup": light_setup(tmp_path)}
    with slurm_run(tmp_path, Cluster(service_conf()), plan=plan, options=options) as live:
        live.backend = live.backend_with(counting)
        began = live.clock.monotonic()
        outcome = run_wide(live)
        took_s = live.clock.monotonic() - began
        assert set(outcome.states.values()) == {TaskState.SUCCEEDED}, outcome.messages
        asked = counting.count()
        live.backend.close()
    record_property("asked", dict(asked) | {"seconds": round(took_s, 1)})
    assert asked["sbatch"] == 2, "one array for all that is ready, one job for what comes after"
    assert asked["scontrol"] == 1
    assert asked["scancel"] == asked["sacct"] == 0
    # once a second at its pace, and at most twice a second because results have come
    assert asked["squeue"] <= 3 * took_s + 5
    longest = max(len(" ".join(c)) for c in counting.commands if c[0] == "squeue")
    assert longest < 250, "no list of jobs is in it"

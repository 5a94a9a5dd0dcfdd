"""What an attempt on existing code costs this machine beside the model: CPU time to pack the base
once for the run, and of a whole simulated attempt that changes one file of it.

    python -m bench.existing_code [--files 5200] [--repeat 3] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from core.bundle import (
    BASE_NAME,
    AttemptDir,
    BaseRef,
    Limits,
    ModelSettings,
    Request,
    SimulationSettings,
    build_manifest,
    write_request,
)
from core.clock import SystemClock
from core.credentials import Credentials
from core.job import JobKey, Outcome
from core.plan import Task
from core.workspace.base_tree import pack_base
from executor_agent import ExecutorAgent

FILES_IN_DIRECTORY = 25
MEAN_BYTES = 10_000
TASK = Task(id="change", title="Change", instructions="Change it.", owns=("d0/f0.py",))


def write_base(root: Path, files: int) -> None:
    """Files of words, as source code compresses."""
    chance = random.Random(7)
    words = [f"name_{number}" for number in range(2_000)]
    for number in range(files):
        path = root / f"d{number // FILES_IN_DIRECTORY}" / f"f{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        count = 1 + int(chance.expovariate(1) * MEAN_BYTES / 9)
        path.write_text("\n".join(chance.choices(words, k=count)))


def attempt_in(run: Path, number: int, base: BaseRef) -> AttemptDir:
    attempt = AttemptDir(run / "tasks" / TASK.id / str(number))
    model = ModelSettings(simulation=SimulationSettings(speed=0))
    key = JobKey("r1", TASK.id, number)
    request = Request(key, "Change it", "", TASK, (), model, Limits(), base=base)
    write_request(attempt, request)
    return attempt


def work(attempt: AttemptDir) -> None:
    result = ExecutorAgent(Credentials(), SystemClock()).run(attempt, "bench")
    assert result is not None
    assert result.outcome is Outcome.OK, result.message


def timed(do: Callable[[], object]) -> tuple[float, float]:
    """Seconds of CPU and of wall time."""
    wall, cpu = time.perf_counter(), time.process_time()
    do()
    return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=5_200)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = Path(place)
        write_base(run / "base", wish.files)
        manifest = build_manifest(run / "base")
        packed = timed(lambda: pack_base(run / "base", manifest, run / BASE_NAME))
        base = pack_base(run / "base", manifest, run / BASE_NAME)
        work(attempt_in(run, 1, base))  # imports, and what the system keeps in memory
        attempts = [attempt_in(run, number + 2, base) for number in range(wish.repeat)]
        found = min(timed(lambda a=attempt: work(a)) for attempt in attempts)  # type: ignore[misc]
        print(f"{wish.files} files, {sum(e.size for e in manifest.entries) / 1e6:.1f} MB,")
        print(f"{base.size / 1e6:.1f} MB packed in {packed[0]:.2f} s of CPU time")
        print(f"an attempt: {found[0]:.2f} s of CPU time, {found[1]:.2f} s of wall time")
        if wish.profile:
            profile = cProfile.Profile()
            profile.runcall(work, attempt_in(run, wish.repeat + 2, base))
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()

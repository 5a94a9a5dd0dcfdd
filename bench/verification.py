"""What proof takes: the checks of the todo sample in a shell, and as a verification.

python -m bench.verification [ROUNDS]

The least of the rounds, in seconds: from start to end, and of CPU time, which tells more on a
machine that does other work.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import ChainMap
from collections.abc import Callable, Mapping
from pathlib import Path

from claude.simulation.sample_projects import SampleProject, load_sample
from core.check_request import Check, CheckRequest
from core.checks.runner import Checker
from core.checks.sandbox import Bare, Places, Sandbox, environment_of, find_bubblewrap
from core.clock import SystemClock
from core.events import CheckBegun, CheckEnded, Proof
from engine.verification.commands import planned_commands

Commands = Mapping[str, tuple[str, ...]]


def by_hand(places: Places, commands: Commands) -> None:
    path = [str(places.tools), os.environ["PATH"]]
    for command in commands:
        subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=places.project,
            env=environment_of(path, str(places.home)),
            capture_output=True,
            check=True,
        )


def verified(sandbox: Sandbox) -> Callable[[Places, Commands], None]:
    def run(places: Places, commands: Commands) -> None:
        def tell(data: CheckBegun | CheckEnded) -> None:
            if isinstance(data, CheckEnded) and data.state is not Proof.PASSED:
                raise SystemExit(f"{data.command}: {data.reason}")

        setup = SAMPLE.plan.setup.model_copy(update={"start": ""})
        request = CheckRequest(setup, tuple(Check(*item) for item in commands.items()))
        checker = Checker(request, sandbox, places, SystemClock(), tell)
        checker.check(checker.install())

    return run


def lay_out(sample: SampleProject, project: Path) -> None:
    texts = {contract.path: contract.content for contract in sample.plan.contracts}
    for path, text in ChainMap(*map(dict, sample.files.values()), texts).items():
        project.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        project.joinpath(path).write_text(text, encoding="utf-8")


def measure(run: Callable[[Places, Commands], None]) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as root:
        places = Places.below(Path(root) / "places")
        places.make()
        lay_out(SAMPLE, places.project)
        wall, cpu = time.perf_counter(), cpu_seconds()
        run(places, planned_commands(SAMPLE.plan))
        return time.perf_counter() - wall, cpu_seconds() - cpu


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def main(rounds: int) -> None:
    bubblewrap = find_bubblewrap(["python3"])
    if isinstance(bubblewrap, str):
        raise SystemExit(bubblewrap)
    ways = {"by hand": by_hand, "no sandbox": verified(Bare()), "bubblewrap": verified(bubblewrap)}
    times = [[measure(run) for run in ways.values()] for _ in range(rounds)]
    least = [[min(part) for part in zip(*way, strict=True)] for way in zip(*times, strict=True)]
    for name, (wall, cpu) in zip(ways, least, strict=True):
        factors = f"({wall / least[0][0]:.2f}, {cpu / least[0][1]:.2f} times)"
        print(f"{name:12} wall {wall:.2f}  cpu {cpu:.2f}  {factors}")


SAMPLE = load_sample("todo")

if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 3)

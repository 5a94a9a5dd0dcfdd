"""The engine beside schedulers of other people, on the same graphs of tasks, in one go.

    python -m bench.peers [--repeat 3] [--dir DIR] [--only NAME ...]

Each peer gets an environment of its own in build/peers, with the packages that PEERS names. The
systems take turns, so that a busy moment of the machine meets all of them; of `--repeat` runs the
best counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers.workload import Workload, chain, layered

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Peer:
    """`packages` is what pip installs; none for what needs nothing."""

    program: str
    packages: tuple[str, ...] = ()


PEERS = {
    "a futures loop": Peer("futures_loop.py"),
    "Dask": Peer("dask_graph.py", ("distributed==2026.8.0", "dask==2026.8.0")),
    "Parsl": Peer("parsl_apps.py", ("parsl==2026.10.26",)),
}

WIDTHS = (8, 32, 128)
SLEEPS = [layered(200, layers, width, sleeps=True) for layers in (10, 20) for width in WIDTHS]
NO_OPS = [chain(300), *(layered(1000, 50, width, sleeps=False) for width in WIDTHS)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.formatter_class = argparse.RawTextHelpFormatter
    parser.add_argument("--repeat", type=int, default=3, help="runs of each")
    parser.add_argument("--dir", type=Path, help="where to work (the system's temporary directory)")
    parser.add_argument("--only", nargs="+", default=["the engine", *PEERS], metavar="NAME")
    asked = parser.parse_args()
    commands = {name: command(name) for name in asked.only}
    with tempfile.TemporaryDirectory(dir=asked.dir) as folder:
        compare(commands, asked.repeat, Path(folder))


def compare(commands: dict[str, list[str]], repeat: int, folder: Path) -> None:
    print("Sleeping tasks: how often the lower bound the whole took.")
    for workload in SLEEPS:
        found = best(workload, commands, repeat, folder)
        bound = workload.lower_bound_s()
        ideal = f"list scheduling {workload.list_schedule_s() / bound:.3f}"
        ratios = [f"{name} {run['seconds'] / bound:.3f}" for name, run in found.items()]
        print(row(workload, [f"bound {bound:.2f} s", ideal, *ratios]), flush=True)
    print("Tasks that do nothing: milliseconds a task.")
    for workload in NO_OPS:
        found, count = best(workload, commands, repeat, folder), len(workload.tasks)
        cells = [per_task(name, run, count) for name, run in found.items()]
        print(row(workload, cells), flush=True)


def row(workload: Workload, cells: Sequence[str]) -> str:
    return f"  {workload.name}, {workload.executors} executors: {'; '.join(cells)}"


def per_task(name: str, run: dict[str, float], count: int) -> str:
    own = f"{name} {run['seconds'] / count * 1e3:.2f}"
    if "fsync_s" not in run:
        return own
    return f"{own} (of it fsync {run['fsync_s'] / count * 1e3:.2f})"


def best(
    workload: Workload, commands: dict[str, list[str]], repeat: int, folder: Path
) -> dict[str, dict[str, float]]:
    """What each system found in its shortest run."""
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    path = folder / "workload.json"
    workload.write(path)
    for _ in range(repeat):
        for name, program in commands.items():
            done = subprocess.run(
                [*program, str(path)],
                cwd=folder if name in PEERS else ROOT,
                env={**os.environ, "TMPDIR": str(folder)},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr}")
            runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    return {name: min(found, key=lambda run: run["seconds"]) for name, found in runs.items()}


def command(name: str) -> list[str]:
    """What runs the system, once its environment is there."""
    if name not in PEERS:
        return [sys.executable, "-m", "bench.peers.engine"]
    peer = PEERS[name]
    python = environment(peer) if peer.packages else sys.executable
    return [python, str(PROGRAMS / peer.program)]


def environment(peer: Peer) -> str:
    """The Python of an environment that has exactly the peer's packages."""
    folder = ROOT / "build" / "peers" / Path(peer.program).stem
    python, mark = folder / "bin" / "python", folder / "packages"
    wanted = "\n".join(peer.packages)
    if not mark.exists() or mark.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *peer.packages], check=True)
        mark.write_text(wanted)
    return str(python)


if __name__ == "__main__":
    main()

"""An executor in a container: the attempt's directory in, its result beside it.

    docker_executor.py ATTEMPT_DIR    run the attempt that lies there
    docker_executor.py --check DIR ENGINE
                                      say in JSON whether one could be run, with DIR as its place

Each line of events.jsonl is also printed, for whoever follows the container's log.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.bundle import WIRE_VERSION, AttemptDir
from core.clock import Clock
from core.errors import Problem
from core.worker.process import claimant, echo, run_worker, take_credentials


def work(attempt: AttemptDir, clock: Clock) -> None:
    credentials = take_credentials(attempt.root)  # before anything that takes time
    from executor_agent import ExecutorAgent

    agent = ExecutorAgent(credentials, clock, contained=True, echo=echo)
    agent.run(attempt, claimant())


def check(place: Path, engine: str, environ: Mapping[str, str]) -> dict[str, object]:
    """What a probe wants to know; see backends.docker.preflight.Probed."""
    from claude.engines.cli_setup import find_cli

    disk = os.statvfs(place)
    cli = find_cli(environ) if engine == "claude-code" else None
    missing = cli if isinstance(cli, Problem) else Problem("", "")
    return {
        "wire": WIRE_VERSION,
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "claude_problem": missing.what,
        "claude_fix": missing.fix,
    }


def main(argv: Sequence[str]) -> int:
    if argv[1:2] == ["--check"]:
        place, engine = argv[2:]
        echo(json.dumps(check(Path(place), engine, os.environ)))
        return 0
    [place] = argv[1:]
    return run_worker(lambda clock: work(AttemptDir(Path(place)), clock))


if __name__ == "__main__":
    sys.exit(main(sys.argv))

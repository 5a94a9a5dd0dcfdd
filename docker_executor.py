"""An executor in a container: runs the attempt in a directory, and leaves the result there.

    docker_executor.py ATTEMPT_DIR    run the attempt in that directory
    docker_executor.py --check DIR ENGINE
                                      print in JSON whether one could run in DIR
    docker_executor.py --checks DIR PHASE ...
                                      install and check the project in DIR: core.checks.worker

Each line of events.jsonl is also printed, since the container's log is followed.
"""

import os
import sys

if __name__ == "__main__":  # also with PYTHONSAFEPATH
    sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from core.startup import Imports

with Imports(1):
    import json
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from core.bundle import WIRE_VERSION, AttemptDir
    from core.clock import Clock
    from core.errors import Problem
    from core.worker.process import claimant, echo, run_process, run_worker, take_credentials


def work(attempt: AttemptDir, clock: Clock) -> None:
    credentials = take_credentials(attempt.root)  # before anything that takes time
    from executor_agent import ExecutorAgent

    ExecutorAgent(credentials, clock, contained=True, echo=echo).run(attempt, claimant())


def check(directory: Path, engine: str, environ: Mapping[str, str]) -> dict[str, object]:
    """See backends.docker.preflight.ProbeResult."""
    from claude.engines.cli_setup import find_cli
    from core.checks.toolchain import installed_programs

    disk = os.statvfs(directory)
    cli = find_cli(environ) if engine == "claude-code" else None
    missing = cli if isinstance(cli, Problem) else Problem("", "")
    return {
        "wire": WIRE_VERSION,
        "free_bytes": disk.f_bavail * disk.f_frsize,
        "claude_problem": missing.what,
        "claude_fix": missing.fix,
        "programs": installed_programs(),
    }


def main(argv: Sequence[str]) -> int:
    if argv[1:2] == ["--check"]:
        directory, engine = argv[2:]
        echo(json.dumps(check(Path(directory), engine, os.environ)))
        return 0
    if argv[1:2] == ["--checks"]:
        from core.checks.worker import run_phases

        directory, *phases = argv[2:]
        return run_worker(lambda clock: run_phases(Path(directory), phases, clock, echo), {})
    [directory] = argv[1:]
    return run_worker(lambda clock: work(AttemptDir(Path(directory)), clock))


if __name__ == "__main__":
    run_process(main)

"""A planner in a container: reads a planning request, and leaves the plan or the error.

    docker_planner.py DIR    see core.worker.planning.PlanningDir

Usage and progress are printed, a line of JSON each, since the container's log is followed.
"""

import os
import sys

if __name__ == "__main__":  # also with PYTHONSAFEPATH
    sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from core.startup import Imports

with Imports(1):
    import json
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from core.clock import Clock
    from core.credentials import Credentials
    from core.errors import Interrupted, ModelError, PlanningFailed
    from core.events import Kind
    from core.plan import Plan, render_plan
    from core.wire import encode, plain, write_atomic
    from core.worker.planning import PlanningDir, PlanningFailure, PlanningRequest, read_planning
    from core.worker.process import echo, run_process, run_worker, take_credentials


def work(directory: PlanningDir, clock: Clock) -> None:
    credentials = take_credentials(directory.root)  # before anything that takes time
    request = read_planning(directory)
    directory.result.mkdir(exist_ok=True)
    try:
        write_atomic(directory.plan_json, render_plan(make_plan(request, credentials, clock)))
    except (PlanningFailed, ModelError, Interrupted) as exc:
        message, remedy = map(credentials.mask, (exc.message, exc.remedy))
        failure = PlanningFailure(type(exc).__name__, message, remedy)
        write_atomic(directory.failure_json, encode(failure))


def make_plan(request: PlanningRequest, credentials: Credentials, clock: Clock) -> Plan:
    from claude.client.types import Hooks
    from claude.limits.governor import Governor
    from planner_agent import ask_for_plan

    hooks = Hooks(
        on_usage=lambda usage: report(Kind.PROGRESS, usage=plain(usage)),
        on_progress=lambda text: report(Kind.PROGRESS, text=credentials.mask(text)),
        on_answering=lambda progress: report(Kind.ANSWER_PROGRESS, **plain(progress)),
    )
    return ask_for_plan(request, credentials, Governor(), clock, hooks)


def report(kind: Kind, **data: Any) -> None:
    echo(json.dumps({"kind": str(kind), **data}))


def main(argv: Sequence[str]) -> int:
    [directory] = argv[1:]
    return run_worker(lambda clock: work(PlanningDir(Path(directory)), clock))


if __name__ == "__main__":
    run_process(main)

"""A planner in a container: a planning request in, the plan or what kept it from being made out.

    docker_planner.py DIR    see core.worker.planning.PlanningDir

What it uses and how it gets on is printed, a line of JSON each, for whoever follows the log.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.bundle import Limits, ModelSettings
from core.clock import Clock
from core.credentials import Credentials
from core.errors import Interrupted, ModelError, PlanningFailed
from core.events import Kind
from core.plan import Plan, render_plan
from core.wire import encode, plain, write_atomic
from core.worker.planning import PlanningDir, PlanningFailure, PlanningRequest, read_planning
from core.worker.process import echo, run_worker, take_credentials


def work(place: PlanningDir, clock: Clock) -> None:
    credentials = take_credentials(place.root)  # before anything that takes time
    request = read_planning(place)
    place.result.mkdir(exist_ok=True)
    try:
        write_atomic(place.plan_json, render_plan(make_plan(request, credentials, clock)))
    except (PlanningFailed, ModelError, Interrupted) as exc:
        masked = PlanningFailure(
            type(exc).__name__, credentials.mask(exc.message), credentials.mask(exc.remedy)
        )
        write_atomic(place.failure_json, encode(masked))


def make_plan(request: PlanningRequest, credentials: Credentials, clock: Clock) -> Plan:
    from claude.client.types import Hooks
    from claude.limits.governor import Governor
    from planner_agent import ask_for_plan

    hooks = Hooks(
        on_usage=lambda usage: tell(usage=plain(usage)),
        on_progress=lambda text: tell(text=credentials.mask(text)),
    )
    asked = (request.prompt, _Wishes(request), credentials, Governor(), clock, hooks)
    return ask_for_plan(*asked, request.allowance, request.spent)


class _Wishes:
    """A request as the planner wants its settings."""

    def __init__(self, request: PlanningRequest) -> None:
        self._request = request

    def model_settings(self) -> ModelSettings:
        return self._request.model

    def limits(self) -> Limits:
        return self._request.limits


def tell(**data: Any) -> None:
    echo(json.dumps({"kind": str(Kind.PROGRESS), **data}))


def main(argv: Sequence[str]) -> int:
    [place] = argv[1:]
    return run_worker(lambda clock: work(PlanningDir(Path(place)), clock))


if __name__ == "__main__":
    sys.exit(main(sys.argv))

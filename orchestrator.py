"""The command line: from a prompt to a project. Options and wiring, exit codes, and the one catch.

Only here is it known which concrete classes were chosen. Each command imports what it needs, so
that --help and a wrong option are answered at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

try:
    from config import LoadedSettings, Settings
    from core.clock import SystemClock
    from core.plan import Plan, render_plan
    from core.wire import write_atomic
    from engine.cleanup.run_backends import RunBackends, check_place, kept_settings
    from engine.cli.options import DoctorOptions, Handlers, Surroundings, build_cli, run_cli
    from engine.cli.signals import all_raise
    from engine.views.console import called_as, say, start_log, tell, tell_error, tell_warnings
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}.\n  Use .venv/bin/python after 'make setup', or 'pip install .'.")

if TYPE_CHECKING:
    from core.events import EventSink
    from engine.planning.preflight import Work
    from engine.run.session import Session
    from engine.views.plain import View
    from engine.views.plan import Forecast

VERSION = "0.1.0"
CLOCK = SystemClock()


def run(loaded: LoadedSettings, prompt: str) -> int:
    from engine.pipeline import read_plan
    from engine.planning.preflight import prepare
    from engine.run.rundir import RunDir, RunFacts, create_run, new_run_id, slug

    settings = loaded.settings
    given = read_plan(settings.plan) if settings.plan else None
    prompt = prompt or ((given.prompt or given.summary) if given else "")
    run_id = new_run_id(CLOCK.time())
    target = settings.output_dir or Path.cwd() / "outputs" / f"{slug(prompt)}-{run_id}"
    facts = RunFacts(run_id, prompt, str(target), CLOCK.time(), loaded.kept(), not settings.real)
    directory = RunDir(settings.work_dir / "runs" / run_id)
    with closing(prepare(loaded, facts, directory, os.environ, CLOCK)) as work:
        create_run(settings.work_dir, facts)
        if given:
            write_atomic(work.directory.plan, render_plan(given), durable=True)
        return carry_out(work)


def resume(given: LoadedSettings, name: str) -> int:
    from engine.cleanup.cancel import leave_others
    from engine.planning.preflight import prepare
    from engine.run.rundir import find_run

    directory = find_run(given.settings.work_dir, name)
    facts = directory.read_facts()
    loaded = kept_settings(given, os.environ, Path.cwd(), facts)
    settings, target = loaded.settings, str(loaded.settings.output_dir or facts.target)
    check_place(directory, facts, settings)
    facts = replace(facts, target=target, settings=loaded.kept(), simulated=not settings.real)
    others = RunBackends(given, os.environ, Path.cwd(), CLOCK)
    with closing(prepare(loaded, facts, directory, os.environ, CLOCK)) as work:
        leave_others(directory, others, settings.backend, tell)
        return carry_out(work)


def plan(loaded: LoadedSettings, prompt: str, output: Path | None) -> int:
    from backends.base import BackendContext
    from claude.client.types import Hooks
    from claude.limits.governor import Governor
    from claude.prices import pricing
    from core.bundle import Allowance
    from core.worker.planning import PlanningRequest
    from engine.pipeline import check_plan_file
    from engine.planning.preflight import choose_planner
    from engine.run.rundir import new_run_id
    from engine.views.plan import render_plan_view
    from engine.views.summary import telling_spend
    from executor_agent import ThreadWorker
    from planner_agent import plan_alone

    settings, credentials = loaded.settings, loaded.settings.credentials(os.environ)
    tell_warnings(loaded.warnings)
    check_plan_file(output)
    run_dir = settings.work_dir / "runs" / new_run_id(CLOCK.time())  # of no run: never made
    worker = ThreadWorker(credentials, Governor())
    context = BackendContext(run_dir, credentials, CLOCK, worker, settings.model_dump(), os.environ)
    ask = choose_planner(settings, context)
    aside = (lambda _: None) if settings.quiet or settings.json_lines else tell
    model, caps = settings.model_settings(), Allowance(settings.max_tokens, settings.max_cost)
    request, price = PlanningRequest(prompt, model, settings.limits(), caps), pricing(model)
    with telling_spend(price, aside, simulated=not settings.real) as charge:
        made = plan_alone(request, credentials, CLOCK, Hooks(charge, aside), tell, ask)
    text = render_plan(made)
    if output is not None:
        write_atomic(output, text)
    say(text if settings.json_lines else render_plan_view(made, foresee(settings, made)))
    return 0


def runs(loaded: LoadedSettings) -> int:
    from claude.prices import kept_pricing
    from engine.run.rundir import runs_in
    from engine.views.listing import list_runs, render_runs

    rows = list_runs(runs_in(loaded.settings.work_dir), kept_pricing)
    say(render_runs(rows, as_json=loaded.settings.json_lines, verbose=loaded.settings.verbose))
    return 0


def cancel(loaded: LoadedSettings, name: str) -> int:
    from engine.cleanup.cancel import cancel_named

    return cancel_named(name, RunBackends(loaded, os.environ, Path.cwd(), CLOCK), say)


def clean(loaded: LoadedSettings, name: str, older_than_s: float, yes: bool) -> int:
    from engine.cleanup.clean import clean_named

    reopening = RunBackends(loaded, os.environ, Path.cwd(), CLOCK)
    return clean_named(name, reopening, say, older_than_s, yes=yes)


def simulated_api(loaded: LoadedSettings, port: int) -> int:
    from claude.simulation.server import serve_until_stopped

    return serve_until_stopped(port, loaded.settings.model_settings().simulation, CLOCK, say)


def doctor(loaded: LoadedSettings, wishes: DoctorOptions) -> int:
    from engine.cli.doctor import report

    tell_warnings(loaded.warnings)
    return report(loaded.settings, os.environ, CLOCK, say, wishes)


def carry_out(work: Work) -> int:
    from claude.prices import pricing
    from engine.run.run_view import RunView
    from engine.run.session import open_session
    from engine.views.plain import make_view
    from engine.views.summary import render_end

    settings, price = work.settings, pricing(work.settings.model_settings())
    run_view = RunView(price)
    try:
        with ExitStack() as stack:
            view = make_view(settings, sys.stdout, os.environ, price, CLOCK)
            sinks: list[EventSink] = [run_view, stack.enter_context(view)]
            stack.callback(work.close)  # before the end is told
            opened = open_session(work.facts, work.directory, sinks, CLOCK)
            return go(stack.enter_context(opened), work, view)
    finally:
        if not settings.json_lines and run_view.ended is not None:
            say(render_end(run_view, called_as(sys.argv[0]), brief=settings.quiet))


def go(session: Session, work: Work, view: View) -> int:
    """The run itself: make the plan, approve, execute, merge, and say how it ended."""
    from claude.client.types import Hooks
    from claude.prices import pricing
    from core.worker.planning import PlanningRequest
    from engine.cleanup.outstanding_jobs import Asking, release
    from engine.money.budget import open_budget
    from engine.pipeline import announce, deliver, exit_code, run_plan, settle_plan, tell_forecast
    from engine.run.session import end_session, ending
    from engine.views.approval import approved
    from engine.views.plan import render_plan_view

    settings, model = work.settings, work.settings.model_settings()
    price = pricing(model)
    announce(session, settings.backend, settings.model, settings.max_executors)
    with ending(session):
        budget = open_budget(settings.max_tokens, settings.max_cost, session.history, price)
        hooks = Hooks(budget.charging(session.spent), session.progress)
        for usage in work.spent:
            hooks.on_usage(usage)
        asked = PlanningRequest(work.facts.prompt, model, settings.limits(), budget.left())
        reached = work.credentials, work.governor, CLOCK, hooks
        made = settle_plan(session, lambda: work.ask(asked, *reached))
        figures = foresee(settings, made)
        if settings.approve and not approved(view, render_plan_view(made, figures)):
            return end_session(session, 1, "not approved")
        tell_forecast(session, figures)
        outcome = run_plan(session, made, work.backend, settings, budget)
        release(session, work.backend, Asking(CLOCK))
        delivery = deliver(session, made, outcome, Path(work.facts.target))
        return end_session(session, exit_code(outcome, delivery), why=outcome.stop)


def foresee(settings: Settings, made: Plan) -> Forecast:
    from claude.prices import pricing
    from claude.simulation.latency import usual_pace
    from engine.planning.forecast import forecast

    model = settings.model_settings()
    pace, price = usual_pace(model.simulation), pricing(model)
    return forecast(made, settings.max_executors, speed=pace, price=price, model=model)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; the one place where errors are caught."""
    args = list(sys.argv[1:] if argv is None else argv)
    handlers = Handlers(run, plan, resume, runs, simulated_api, doctor, cancel, clean)
    around = Surroundings(os.environ, Path.cwd(), sys.stdin.buffer if sys.stdin else None)
    start_log(debug="--debug" in args)
    try:
        with all_raise():
            return run_cli(build_cli(handlers, around, VERSION), args, Path(sys.argv[0]).name)
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001 - the program's end: one message
        return tell_error(exc, debug="--debug" in args)


if __name__ == "__main__":
    sys.exit(main())

"""The command line: from a prompt to a project. Options and wiring, exit codes, and the one catch.

Only here is it known which concrete classes were chosen. Each command imports what it needs, so
that --help and a wrong option are answered at once.
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

try:
    from config import LoadedSettings, Settings, load_settings
    from core.clock import SystemClock
    from core.credentials import Credentials
    from core.errors import OrchestratorError, RunInterrupted, UsageError, refuse_if
    from core.plan import Plan, render_plan
    from core.wire import write_atomic
    from engine.cli_options import Handlers, Surroundings, build_cli, run_cli
    from engine.interrupts import all_raise
    from engine.streams import called_as, say, tell, tell_error
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}.\n  Use .venv/bin/python after 'make setup', or 'pip install .'.")

if TYPE_CHECKING:
    from backends.base import Backend
    from claude.client import Hooks
    from claude.governor import Governor
    from core.events import EventSink
    from engine.rundir import RunDir, RunFacts
    from engine.session import Session
    from engine.ui import View

VERSION = "0.1.0"
CLOCK = SystemClock()
OUTCOMES = {0: "succeeded", 1: "finished with problems", 4: "stopped", 130: "interrupted"}


@dataclass(frozen=True)
class Work:
    """One run as this process will carry it out; made by `prepare`, before anything is written."""

    settings: Settings
    facts: RunFacts
    directory: RunDir
    credentials: Credentials
    governor: Governor
    backend: Backend


def run(loaded: LoadedSettings, prompt: str) -> int:
    from engine.rundir import RunDir, RunFacts, create_run, new_run_id, slug
    from engine.steps import read_plan

    settings = loaded.settings
    given = read_plan(settings.plan) if settings.plan else None
    prompt = prompt or ((given.prompt or given.summary) if given else "")
    run_id = new_run_id(CLOCK.time())
    target = settings.output_dir or Path.cwd() / "outputs" / f"{slug(prompt)}-{run_id}"
    facts = RunFacts(run_id, prompt, str(target), CLOCK.time(), loaded.kept(), not settings.real)
    work = prepare(loaded, facts, RunDir(settings.work_dir / "runs" / run_id))
    create_run(settings.work_dir, facts)
    if given is not None:
        write_atomic(work.directory.plan, render_plan(given))
    return carry_out(work)


def resume(loaded: LoadedSettings, name: str) -> int:
    from engine.rundir import find_run

    directory = find_run(loaded.settings.work_dir, name)
    facts = directory.read_facts()
    loaded = load_settings(
        loaded.given, os.environ, Path.cwd(), saved=facts.settings, saved_by=facts.run
    )
    target = str(loaded.settings.output_dir or facts.target)
    real = loaded.settings.real
    facts = replace(facts, target=target, settings=loaded.kept(), simulated=not real)
    return carry_out(prepare(loaded, facts, directory))


def plan(loaded: LoadedSettings, prompt: str, output: Path | None) -> int:
    from claude.client import Hooks
    from claude.governor import Governor
    from claude.preflight import find_problems

    settings, credentials = loaded.settings, loaded.settings.credentials(os.environ)
    warn(loaded)
    refuse_if(find_problems(settings.model_settings(), credentials))
    if output is not None and not output.absolute().parent.is_dir():
        raise UsageError(f"The directory {output.parent} does not exist.", "Make it first.")
    hooks = Hooks() if settings.quiet or settings.json_lines else Hooks(on_progress=tell)
    made = ask_for_plan(settings, credentials, Governor(), prompt, hooks)
    if output is not None:
        write_atomic(output, render_plan(made))
    say(render_plan(made) if settings.json_lines else plan_text(settings, made))
    return 0


def runs(loaded: LoadedSettings) -> int:
    from claude.prices import price_usd
    from engine.listing import list_runs, render_runs
    from engine.rundir import runs_in

    rows = list_runs(runs_in(loaded.settings.work_dir), price_usd)
    say(render_runs(rows, as_json=loaded.settings.json_lines))
    return 0


def simulated_api(loaded: LoadedSettings, port: int) -> int:
    from claude.simulation.server import serve

    simulation = loaded.settings.model_settings().simulation
    if simulation is None:
        raise UsageError("The simulated API cannot be real.", "Leave out --real.")
    with suppress(KeyboardInterrupt), serve(port, simulation, CLOCK) as server:
        say(f"The simulated Claude listens on {server.base_url}; Ctrl-C ends it.\n")
        while True:
            CLOCK.sleep(3600)
    return 0


def prepare(loaded: LoadedSettings, facts: RunFacts, directory: RunDir) -> Work:
    """Everything that can be known to be wrong is found here; nothing is written."""
    from backends import backend_class
    from backends.base import Site
    from claude.governor import Governor
    from claude.preflight import find_problems
    from engine.approval import check_can_ask
    from engine.delivery import check_target
    from engine.steps import last_delivery
    from executor_agent import ThreadWorker

    settings, credentials = loaded.settings, loaded.settings.credentials(os.environ)
    warn(loaded)
    if settings.approve:
        check_can_ask(sys.stdin)
    check_target(Path(facts.target), last_delivery(directory, facts), settings.work_dir)
    governor = Governor()  # one for the planner and all executors of this process
    worker = ThreadWorker(credentials, governor)
    site = Site(directory.root, credentials, CLOCK, worker, settings.model_dump())
    backend = backend_class(settings.backend).build(site)
    refuse_if([*find_problems(settings.model_settings(), credentials), *backend.preflight()])
    return Work(settings, facts, directory, credentials, governor, backend)


def carry_out(work: Work) -> int:
    from claude.prices import price_usd
    from engine.session import open_session
    from engine.summary import render_end
    from engine.tally import Tally
    from engine.ui import make_view

    tally, settings = Tally(price_usd), work.settings
    try:
        with ExitStack() as stack:
            view = make_view(settings, sys.stdout, os.environ, price_usd, CLOCK)
            sinks: list[EventSink] = [tally, stack.enter_context(view)]
            stack.callback(work.backend.close)
            opened = open_session(work.facts, work.directory, sinks, CLOCK)
            return go(stack.enter_context(opened), work, view)
    finally:
        if not settings.json_lines and tally.ended is not None:
            say(render_end(tally, called_as(sys.argv[0]), brief=settings.quiet))


def go(session: Session, work: Work, view: View) -> int:
    """The run itself: make the plan, approve, execute, merge, and say how it ended."""
    from claude.client import Hooks
    from engine.approval import approved
    from engine.session import end_session
    from engine.steps import announce, deliver, exit_code, run_plan, settle_plan

    settings = work.settings
    hooks = Hooks(session.spent, session.progress)
    ask = partial(ask_for_plan, settings, work.credentials, work.governor, work.facts.prompt, hooks)
    announce(session, settings.backend, settings.model, settings.max_executors)
    try:
        made = settle_plan(session, ask)
        if settings.approve and not approved(view, plan_text(settings, made)):
            end_session(session, 0, "not approved")
            return 0
        outcome = run_plan(session, made, work.backend, settings)
        delivery = deliver(session, made, outcome, Path(work.facts.target))
        code = exit_code(outcome, delivery)
        end_session(session, code, OUTCOMES[code], outcome.stop.message if outcome.stop else "")
        return code
    except KeyboardInterrupt:
        end_session(session, 130, OUTCOMES[130])
        raise
    except OrchestratorError as exc:
        end_session(session, exc.exit_code, "failed", exc.message)
        raise


def ask_for_plan(
    settings: Settings, credentials: Credentials, governor: Governor, prompt: str, hooks: Hooks
) -> Plan:
    from claude.client import connect
    from planner_agent import PlannerAgent

    model, limits = settings.model_settings(), settings.limits()
    with connect(
        model, credentials, clock=CLOCK, governor=governor, limits=limits, hooks=hooks
    ) as claude:
        return PlannerAgent(claude, on_progress=hooks.on_progress).plan(prompt)


def plan_text(settings: Settings, made: Plan) -> str:
    from claude.prices import price_usd
    from claude.simulation.latency import FIRST_TOKEN_S, TOKENS_PER_S
    from engine.approval import show_plan
    from engine.forecast import Speed

    times = 1.0 if settings.real else settings.sim_speed or math.inf
    speed = Speed(FIRST_TOKEN_S / times, TOKENS_PER_S * times)
    return show_plan(made, settings.max_executors, settings.model_settings(), speed, price_usd)


def warn(loaded: LoadedSettings) -> None:
    for text in loaded.warnings:
        tell(f"warning: {text}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; the one place where errors are caught."""
    args = list(sys.argv[1:] if argv is None else argv)
    handlers = Handlers(run, plan, resume, runs, simulated_api)
    around = Surroundings(os.environ, Path.cwd(), sys.stdin.buffer if sys.stdin else None)
    logging.basicConfig(level=logging.DEBUG if "--debug" in args else logging.CRITICAL)
    try:
        with all_raise():
            return run_cli(build_cli(handlers, around, VERSION), args, Path(sys.argv[0]).name)
    except (KeyboardInterrupt, RunInterrupted):
        tell("Interrupted.")
        return RunInterrupted.exit_code
    except Exception as exc:  # noqa: BLE001 - the program's end: one message, not a traceback
        return tell_error(exc, debug="--debug" in args)


if __name__ == "__main__":
    sys.exit(main())

"""The command line: from a prompt to a project. Options and wiring, exit codes, and the one catch.

Only here is it known which concrete classes were chosen.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from backends import backend_class
from backends.base import Backend, Site
from claude.client import Hooks, connect
from claude.governor import Governor
from claude.preflight import find_problems
from claude.prices import price_usd
from claude.simulation.latency import FIRST_TOKEN_S, TOKENS_PER_S
from config import LoadedSettings, Settings, load_settings
from core.clock import SystemClock
from core.credentials import Credentials
from core.errors import OrchestratorError, UsageError, refuse_if
from core.events import EventSink
from core.plan import Plan, render_plan
from core.wire import write_atomic
from engine.approval import approved, check_can_ask, show_plan
from engine.cli_options import Handlers, Surroundings, build_cli, run_cli
from engine.delivery import check_target
from engine.forecast import Speed
from engine.interrupts import all_raise
from engine.listing import list_runs, render_runs
from engine.rundir import RunDir, RunFacts, create_run, find_run, new_run_id, runs_in, slug
from engine.session import Session, end_session, open_session
from engine.steps import (
    announce,
    deliver,
    exit_code,
    last_delivery,
    read_plan,
    run_plan,
    settle_plan,
)
from engine.summary import render_outcome, render_summary
from engine.tally import Tally
from engine.terms import Pacing
from engine.ui import View, make_view, say, tell, tell_error
from engine.wording import called_as
from executor_agent import ThreadWorker
from planner_agent import PlannerAgent

VERSION = "0.1.0"
CLOCK = SystemClock()
GOVERNOR = Governor()  # one for the planner and all executors of this process
OUTCOMES = {0: "succeeded", 1: "finished with problems", 4: "stopped", 130: "interrupted"}


@dataclass(frozen=True)
class Work:
    """One run as this process will carry it out; made by `prepare`, before anything is written."""

    settings: Settings
    facts: RunFacts
    directory: RunDir
    credentials: Credentials
    backend: Backend


def run(loaded: LoadedSettings, prompt: str) -> int:
    settings = loaded.settings
    plan_given = read_plan(settings.plan) if settings.plan else None
    prompt = prompt or (plan_given.summary if plan_given else "")
    run_id = new_run_id(CLOCK.time())
    target = settings.output_dir or Path.cwd() / "outputs" / f"{slug(prompt)}-{run_id}"
    simulated = not settings.real
    facts = RunFacts(run_id, prompt, str(target), CLOCK.time(), loaded.kept(), simulated)
    work = prepare(loaded, facts, RunDir(settings.work_dir / "runs" / run_id))
    directory = create_run(settings.work_dir, facts)
    if plan_given is not None:
        write_atomic(directory.plan, render_plan(plan_given))
    return carry_out(work)


def resume(loaded: LoadedSettings, name: str) -> int:
    directory = find_run(loaded.settings.work_dir, name)
    facts = directory.read_facts()
    loaded = load_settings(
        loaded.given, os.environ, Path.cwd(), saved=facts.settings, saved_by=facts.run
    )
    target = str(loaded.settings.output_dir or facts.target)
    simulated = not loaded.settings.real
    facts = replace(facts, target=target, settings=loaded.kept(), simulated=simulated)
    return carry_out(prepare(loaded, facts, directory))


def plan(loaded: LoadedSettings, prompt: str, output: Path | None) -> int:
    settings = loaded.settings
    warn(loaded)
    credentials = settings.credentials(os.environ)
    refuse_if(find_problems(settings.model_settings(), credentials))
    if output is not None and not output.absolute().parent.is_dir():
        raise UsageError(f"The directory {output.parent} does not exist.", "Make it first.")
    hooks = Hooks() if settings.quiet or settings.json_lines else Hooks(on_progress=tell)
    made = ask_for_plan(settings, credentials, prompt, hooks)
    if output is not None:
        write_atomic(output, render_plan(made))
    say(render_plan(made) if settings.json_lines else plan_text(settings, made))
    return 0


def runs(loaded: LoadedSettings) -> int:
    rows = list_runs(runs_in(loaded.settings.work_dir), price_usd)
    say(render_runs(rows, as_json=loaded.settings.json_lines))
    return 0


def simulated_api(loaded: LoadedSettings, port: int) -> int:
    from claude.simulation.server import serve

    simulation = loaded.settings.model_settings().simulation
    if simulation is None:
        raise UsageError("The simulated API cannot be real.", "Leave out --real.")
    with serve(port, simulation, CLOCK) as server:
        say(f"The simulated Claude listens on {server.base_url}; Ctrl-C ends it.\n")
        while True:
            CLOCK.sleep(3600)


def prepare(loaded: LoadedSettings, facts: RunFacts, directory: RunDir) -> Work:
    """Everything that can be known to be wrong is found here; nothing is written."""
    settings = loaded.settings
    warn(loaded)
    if settings.approve:
        check_can_ask(sys.stdin)
    check_target(Path(facts.target), last_delivery(directory, facts), settings.work_dir)
    credentials = settings.credentials(os.environ)
    work = ThreadWorker(credentials, GOVERNOR)
    site = Site(directory.root, credentials, CLOCK, work, settings.model_dump())
    backend = backend_class(settings.backend).build(site)
    refuse_if([*find_problems(settings.model_settings(), credentials), *backend.preflight()])
    return Work(settings, facts, directory, credentials, backend)


def carry_out(work: Work) -> int:
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
            say(
                render_outcome(tally) + "\n"
                if settings.quiet
                else "\n" + render_summary(tally, called_as(sys.argv[0]))
            )


def go(session: Session, work: Work, view: View) -> int:
    """The run itself: make the plan, approve, execute, merge, and say how it ended."""
    settings = work.settings
    announce(session, settings.backend, settings.model, settings.max_executors)
    try:
        hooks = Hooks(session.spent, session.progress)
        asked = partial(ask_for_plan, settings, work.credentials, work.facts.prompt, hooks)
        made = settle_plan(session, asked)
        if settings.approve and not approved(
            view, plan_text(settings, made), sys.stdin, sys.stdout
        ):
            end_session(session, 0, "not approved")
            return 0
        outcome = run_plan(
            session,
            made,
            work.backend,
            model=settings.model_settings(),
            limits=settings.limits(),
            pacing=Pacing(
                settings.max_executors,
                settings.task_timeout,
                progress_s=None if settings.quiet else 0.5,
            ),
            max_attempts=settings.max_retries,
        )
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


def ask_for_plan(settings: Settings, credentials: Credentials, prompt: str, hooks: Hooks) -> Plan:
    with connect(
        settings.model_settings(),
        credentials,
        clock=CLOCK,
        governor=GOVERNOR,
        limits=settings.limits(),
        hooks=hooks,
    ) as claude:
        return PlannerAgent(claude, on_progress=hooks.on_progress).plan(prompt)


def plan_text(settings: Settings, made: Plan) -> str:
    model = settings.model_settings()
    speed = Speed(FIRST_TOKEN_S, TOKENS_PER_S)
    return show_plan(made, settings.max_executors, model, speed, price_usd)


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
            return run_cli(build_cli(handlers, around, VERSION), args)
    except KeyboardInterrupt:
        tell("Interrupted.")
        return 130
    except Exception as exc:  # noqa: BLE001 - the program's end: one message, not a traceback
        return tell_error(exc, debug="--debug" in args)


if __name__ == "__main__":
    sys.exit(main())
